//! The use cases alone: no socket, no HTTP, no JSON.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, TryStreamExt, stream};
use reveille::{
    adapters::{
        clock::SystemClock,
        embedded::{EmbeddedOptions, EmbeddedStore},
    },
    domain::{
        ask::{Class, Goal},
        id::{DeviceId, TenantId},
        schedule::{Rules, later},
        wns::channel_uri::{ChannelUri, HostPolicy},
    },
    ports::{clock::Clock, error::StoreError},
    service::{channels, desk::Desk, pushes},
    telemetry::Telemetry,
};

use crate::{Cost, name, uri, usage};

/// As the API cuts and overlaps its batches.
const BATCH: usize = 512;
const AT_ONCE: usize = 4;

/// Registers and pushes the devices; what each step cost.
pub(crate) fn measure(devices: usize) -> [Cost; 2] {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let options = EmbeddedOptions::new(folder.path().join("data"), clock.clone());
    let store = EmbeddedStore::open(options).expect("the store opens");
    let desk = Desk {
        store,
        clock,
        rules: Arc::new(Rules::default()),
        telemetry: Telemetry::new(Duration::from_secs(60)),
        fence: None,
    };
    let tenant = TenantId::new("bench").expect("a name");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let wish = pushes::Wish {
        class: Class::Bulk,
        goal: Goal::CheckIn,
        deadline: later(desk.clock.now(), jiff::SignedDuration::from_hours(24)),
        reason: None,
        register_unknown: false,
    };
    let device = |at: usize| DeviceId::new(&name(at)).expect("an id");
    let hosts = HostPolicy::default();
    let register = async |from: usize, to: usize| -> Result<(), StoreError> {
        let report = |at| {
            let uri = ChannelUri::parse(&uri(at), &hosts).expect("a channel URI");
            (device(at), uri)
        };
        let reports = (from..to).map(report).collect();
        channels::register(&desk, &tenant, reports).await.map(drop)
    };
    let open = async |from: usize, to: usize| -> Result<(), StoreError> {
        let devices = (from..to).map(|at| (device(at), None)).collect();
        pushes::open(&desk, &tenant, &wish, devices).await.map(drop)
    };
    [
        runtime.block_on(step(devices, register)),
        runtime.block_on(step(devices, open)),
    ]
}

async fn step(devices: usize, batch: impl AsyncFn(usize, usize) -> Result<(), StoreError>) -> Cost {
    let (cpu, began) = (usage("self").0, tokio::time::Instant::now());
    let starts = stream::iter((0..devices).step_by(BATCH));
    let batches = starts.map(|from| batch(from, (from + BATCH).min(devices)));
    let done = batches.buffer_unordered(AT_ONCE).try_collect::<Vec<()>>();
    done.await.expect("the store takes it");
    let (cpu_after, resident_mb) = usage("self");
    Cost {
        seconds: began.elapsed().as_secs_f64(),
        cpu_seconds: cpu_after - cpu,
        resident_mb,
    }
}
