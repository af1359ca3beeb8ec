//! Copies between kinds of stores, copies that are interrupted, and targets that hold something already. What a broker makes of a
//! copy is tested with a broker.

use std::sync::Arc;

use jiff::SignedDuration;
use reveille::{
    adapters::{
        clock::SystemClock,
        embedded::{EmbeddedOptions, EmbeddedStore},
        redis::RedisOptions,
    },
    domain::{
        ask::{Class, Goal},
        id::{DeviceId, DeviceKey, TenantId},
        queue::Lane,
        wns::channel_uri::{ChannelUri, HostPolicy},
    },
    ports::{Store, documents::Precondition, feed::After},
    service::{
        channels,
        copy::{CopyError, Copying, Step, UNFINISHED},
        pushes::{self, Wish},
    },
};
use tempfile::TempDir;
use tokio::sync::Notify;

use crate::{inbox::desk, items::*, redis_server::RedisServer, rig::*};

const DEVICES: usize = 300;

/// A store beside others on one server.
async fn store(server: &RedisServer, prefix: &str, shards: usize) -> Arc<dyn Store> {
    open(RedisOptions {
        prefix: prefix.to_owned(),
        shards: Some(shards),
        ..single(server)
    })
    .await
}

/// A store in a folder.
fn embedded(folder: &TempDir) -> Arc<dyn Store> {
    let options = EmbeddedOptions::new(folder.path().join("store"), Arc::new(SystemClock));
    EmbeddedStore::open(options).unwrap()
}

fn device_of(at: usize) -> DeviceId {
    DeviceId::new(&format!("d{at}")).unwrap()
}

/// Registers devices of a tenant and opens pushes for them.
async fn populate(store: &Arc<dyn Store>, tenant: &TenantId, count: usize) {
    let desk = desk(store.clone());
    let devices: Vec<DeviceId> = (0..count).map(device_of).collect();
    let reports = devices.iter().map(|device| {
        let uri = format!("https://db5p.notify.windows.com/?token=AwYAAAB{device}");
        let uri = ChannelUri::parse(&uri, &HostPolicy::default()).unwrap();
        (device.clone(), uri)
    });
    channels::register(&desk, tenant, reports.collect())
        .await
        .unwrap();
    let wish = Wish {
        class: Class::Normal,
        goal: Goal::Accepted,
        deadline: now() + SignedDuration::from_hours(1),
        reason: None,
        register_unknown: false,
    };
    let untraced = devices.into_iter().map(|device| (device, None)).collect();
    pushes::open(&desk, tenant, &wish, untraced).await.unwrap();
}

fn copying(source: &Arc<dyn Store>, target: &Arc<dyn Store>) -> Copying {
    Copying {
        source: source.clone(),
        target: target.clone(),
        name: "the source".to_owned(),
        add: false,
        told: Box::new(|_| ()),
    }
}

/// Copies until a step, and breaks off there.
async fn interrupted(mut copying: Copying, at: fn(Step) -> bool) {
    let reached = Arc::new(Notify::new());
    let noting = reached.clone();
    copying.told = Box::new(move |step| {
        if at(step) {
            noting.notify_one();
        }
    });
    tokio::select! {
        biased;
        () = reached.notified() => {}
        ended = copying.run() => panic!("it was not interrupted: {ended:?}"),
    }
}

#[tokio::test]
async fn a_fleet_goes_from_a_folder_to_redis_and_back_whole() {
    let (server, here, there) = (
        RedisServer::start(&[]),
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
    );
    let (first, last) = (embedded(&here), embedded(&there));
    let middle = store(&server, "a", 16).await;
    populate(&first, &contoso(), DEVICES).await;

    let to_redis = copying(&first, &middle).run().await.unwrap();
    let to_folder = copying(&middle, &last).run().await.unwrap();

    assert_eq!(to_redis, to_folder);
    assert_eq!(to_redis.tenants[&contoso()].devices, DEVICES as u64);
    let keys: Vec<DeviceKey> = (0..DEVICES)
        .map(|at| DeviceKey::new(contoso(), device_of(at)))
        .collect();
    let records = async |store: &Arc<dyn Store>| {
        let stored = store.read(&keys).await.unwrap();
        let bytes = stored.into_iter().map(|stored| stored.unwrap().bytes);
        bytes.collect::<Vec<_>>()
    };
    let original = records(&first).await;
    for copy in [&middle, &last] {
        assert_eq!(records(copy).await, original);
        let (events, _) = copy
            .events(&contoso(), &After::Oldest, 1_024)
            .await
            .unwrap();
        assert_eq!(events.len(), DEVICES);
        let mut claimed = Vec::new();
        eventually("every open push is claimed", async || {
            claimed.extend(claim(copy, &direct(Lane::Normal), 256).await);
            claimed.len() == DEVICES
        })
        .await;
    }
}

#[tokio::test]
async fn an_interrupted_copy_is_finished_by_repeating_it_and_has_nothing_twice() {
    let server = RedisServer::start(&[]);
    let (source, target) = (store(&server, "a", 4).await, store(&server, "b", 16).await);
    populate(&source, &contoso(), DEVICES).await;

    interrupted(copying(&source, &target), |step| {
        matches!(step, Step::Devices(_))
    })
    .await;
    assert!(target.get(UNFINISHED).await.unwrap().is_some());
    interrupted(copying(&source, &target), |step| {
        matches!(step, Step::Events(_))
    })
    .await;
    let sums = copying(&source, &target).run().await.unwrap();

    let sums = &sums.tenants[&contoso()];
    assert_eq!((sums.devices, sums.pushes_open), (300, 300));
    assert_eq!(sums.events, 300);
    assert_eq!(target.get(UNFINISHED).await.unwrap(), None);
    let due = target.ready().await.unwrap();
    assert_eq!(due.len(), 1, "{due:?}");
    let (events, _) = target
        .events(&contoso(), &After::Oldest, 1_024)
        .await
        .unwrap();
    assert_eq!(events.len(), DEVICES);
}

#[tokio::test]
async fn a_target_that_differs_in_the_end_is_told_and_stays_unfinished() {
    let server = RedisServer::start(&[]);
    let (source, target) = (store(&server, "a", 4).await, store(&server, "b", 16).await);
    populate(&source, &contoso(), 10).await;
    interrupted(copying(&source, &target), |step| {
        matches!(step, Step::Devices(_))
    })
    .await;
    // Somebody writes to the target meanwhile.
    populate(&target, &contoso(), 11).await;

    let refused = copying(&source, &target).run().await.unwrap_err();

    assert!(matches!(&refused, CopyError::Differs(_)), "{refused}");
    assert!(target.get(UNFINISHED).await.unwrap().is_some());
    let half = copying(&target, &store(&server, "c", 4).await).run().await;
    assert!(matches!(half, Err(CopyError::HalfSource(_))), "{half:?}");
    let mut other = copying(&source, &target);
    other.name = "another".to_owned();
    let told = other.run().await;
    assert!(matches!(told, Err(CopyError::OtherCopy(_))), "{told:?}");
}

#[tokio::test]
async fn tenants_are_added_to_a_store_only_where_that_is_asked_for_and_never_merged() {
    let server = RedisServer::start(&[]);
    let (source, target) = (store(&server, "a", 4).await, store(&server, "b", 16).await);
    populate(&source, &contoso(), 10).await;
    populate(&target, &tenant("fabrikam"), 5).await;
    let decision = "app/shared";
    for (store, text) in [(&source, "old"), (&target, "new")] {
        let any = Precondition::Any;
        store.put(decision, text.into(), any, None).await.unwrap();
    }

    let refused = copying(&source, &target).run().await.unwrap_err();
    assert!(matches!(&refused, CopyError::NotEmpty { .. }), "{refused}");
    let adding = || Copying {
        add: true,
        ..copying(&source, &target)
    };
    let sums = adding().run().await.unwrap();
    let again = adding().run().await.unwrap_err();

    assert_eq!(sums.tenants[&contoso()].devices, 10);
    assert_eq!(again, CopyError::TenantThere(contoso()));
    let kept = target.get(decision).await.unwrap().unwrap();
    assert_eq!(kept.bytes, "new", "what the target knew of apps stands");
    let both = [contoso(), tenant("fabrikam")];
    assert_eq!(target.tenants().await.unwrap(), both);
}
