//! The streams' part of a broker on a thread of its own, and the console's side of the streams.

use std::{collections::HashMap, sync::Arc, thread::JoinHandle, time::Duration};

use reveille::{
    actors::supervise::{Exit, Watch},
    adapters::{
        clock::SystemClock,
        redis::{RedisOptions, RedisStore},
    },
    domain::{id::DeviceId, record::DeviceRecord, schedule::Rules, wns::channel_uri::HostPolicy},
    inbox::{Inbox, Parts, Settings},
    ports::{Store, clock::Clock},
    service::{command::push::Lifetimes, desk::Desk, devices},
    telemetry::{ActorKind, Telemetry},
};
use tokio::{sync::oneshot, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{items::*, redis_server::RedisServer, rig::*};

pub const INBOX: &str = "rv:{t:contoso}:inbox";
pub const DEAD: &str = "rv:{t:contoso}:dead";
pub const OUTBOX: &str = "rv:{t:contoso}:outbox";
pub const SECRET: &str = "AwYAAABsecretsecret";

struct NoDeaths;

impl Watch for NoDeaths {
    fn exited(&self, _: ActorKind, exit: Exit, _: u32, _: Duration) {
        panic!("the inbox ended: {exit:?}");
    }
    fn gave_up(&self, _: ActorKind, _: u32) {}
}

pub enum End {
    Drain,
    Kill,
}

/// The streams' part of a broker, on a thread with a store of its own.
pub struct Broker {
    end: Option<oneshot::Sender<End>>,
    thread: Option<JoinHandle<()>>,
}

impl Broker {
    pub fn start(name: &str, options: &RedisOptions) -> Self {
        Self::with_clock(name, options, Arc::new(SystemClock))
    }

    pub fn with_clock(name: &str, options: &RedisOptions, clock: Arc<dyn Clock>) -> Self {
        let (end, ended) = oneshot::channel();
        let (name, mut options) = (name.to_owned(), options.clone());
        options.streams = vec![contoso()];
        let thread = std::thread::spawn(move || {
            actix_rt::System::new().block_on(run(name, options, clock, ended));
        });
        Self {
            end: Some(end),
            thread: Some(thread),
        }
    }

    pub fn end(&mut self, how: End) {
        self.end.take().unwrap().send(how).ok().unwrap();
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

pub fn desk(store: Arc<dyn Store>) -> Desk {
    Desk {
        store,
        clock: Arc::new(SystemClock),
        rules: Arc::new(Rules::default()),
        telemetry: Telemetry::new(Duration::from_secs(60)),
        fence: None,
    }
}

async fn run(
    name: String,
    options: RedisOptions,
    clock: Arc<dyn Clock>,
    ended: oneshot::Receiver<End>,
) {
    let store = RedisStore::connect(options).await.unwrap();
    let settings = Settings {
        broker: name,
        tenants: vec![contoso()],
        outbox: true,
        message_bytes_max: 2_048,
        dead_letters_max: 100,
        outbox_length_max: 1_000,
        lifetimes: Lifetimes {
            default: Duration::from_secs(3_600),
            max: Duration::from_secs(86_400),
        },
        lease: Duration::from_secs(2),
    };
    let parts = Parts {
        streams: store.clone(),
        desk: Desk {
            clock,
            ..desk(store)
        },
        hosts: HostPolicy::default(),
        settings: Arc::new(settings),
        stop: CancellationToken::new(),
    };
    let metrics = parts.desk.telemetry.actor(ActorKind::Inbox, Instant::now());
    let running = Inbox::new(parts, metrics).start(Arc::new(NoDeaths));
    if let Ok(End::Drain) = ended.await {
        running.drain(Duration::from_secs(10)).await;
    }
}

pub fn add(server: &RedisServer, command: &str, body: &str) -> String {
    server.ask(&["XADD", INBOX, "*", "command", command, "body", body])
}

pub fn uri(token: &str) -> String {
    format!("https://db5p.notify.windows.com/?token={SECRET}{token}")
}

pub fn register(server: &RedisServer, device: &str, token: &str) -> String {
    let uri = uri(token);
    let body = format!(r#"{{"device":"{device}","uri":"{uri}"}}"#);
    add(server, "register", &body)
}

pub fn length(server: &RedisServer, stream: &str) -> u64 {
    server.ask(&["XLEN", stream])
}

pub async fn until_empty(server: &RedisServer) {
    eventually("the inbox is empty", async || {
        server
            .try_ask::<u64>(&["XLEN", INBOX])
            .is_ok_and(|n| n == 0)
    })
    .await;
}

pub async fn record_of(store: &Arc<dyn Store>, id: &str) -> Option<DeviceRecord> {
    let id = DeviceId::new(id).unwrap();
    devices::get(&desk(store.clone()), &contoso(), &id)
        .await
        .unwrap()
}

/// Fields of the entries of a stream, oldest first.
pub fn entries(server: &RedisServer, stream: &str) -> Vec<HashMap<String, String>> {
    let entries: Vec<(String, HashMap<String, String>)> = server.ask(&["XRANGE", stream, "-", "+"]);
    entries.into_iter().map(|(_, fields)| fields).collect()
}

pub fn reason_of(server: &RedisServer, id: &str) -> String {
    let dead = entries(server, DEAD);
    let letter = dead.iter().find(|letter| letter["id"] == id);
    letter.unwrap_or_else(|| panic!("{id} is not dead: {dead:?}"))["reason"].clone()
}
