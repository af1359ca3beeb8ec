//! Many brokers, one Redis: every port over Redis 7 or Valkey, as one server, under Sentinel or as a cluster.
//!
//! The store is divided into shards; each has a fixed, small set of keys under one hash tag, and every change is one script on
//! one shard, atomic, with all its keys declared; on one server it may concern several shards, and a tenant's counters are in one of
//! them. What spans shards is summed or merged by the reader. Redis's clock judges leases and what is due. `docs/redis.md` has the
//! table of keys.

mod answers;
mod batch;
mod claim;
mod client;
mod documents;
mod errors;
mod feed;
mod firsts;
mod gather;
mod hints;
mod keys;
mod leases;
mod link;
mod lists;
mod many;
mod news;
mod options;
mod pack;
mod pages;
mod probe;
mod queues;
mod reading;
mod reckoning;
mod records;
mod replicas;
mod script;
mod section;
mod shares;
mod step;
mod streams;
mod tables;
mod tally;
mod tick;
mod topology;
mod whole;
mod writes;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::{broadcast, watch},
    task::AbortHandle,
};

use self::{
    batch::CommitJob,
    client::Client,
    errors::unavailable,
    gather::Gate,
    hints::Hints,
    keys::Keys,
    probe::Subject,
    reading::ReadJob,
    script::{STORE_OPEN, ScriptCall},
};
pub use self::{
    keys::SHARDS_MAX,
    options::{Address, Alarm, Arrangement, Login, RedisOptions, SHARDS_DEFAULT, Tls},
};
use crate::{
    domain::{id::DeviceKey, queue::Queue},
    ports::{
        error::{StoreError, StoreHealth},
        queues::Wake,
    },
};

/// The layout of keys that this broker reads and writes.
const SCHEMA: u32 = 1;
/// Wakes that a slow listener may fall behind.
const WAKES_MAX: usize = 4096;
/// Longest wait for the servers at start.
const START_PATIENCE: Duration = Duration::from_secs(5);

/// Why a store could not be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The options cannot be used.
    #[error("redis options: {0}")]
    Options(String),
    /// The server cannot be reached or does not work.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store there was created by a newer broker.
    #[error("the store has schema {found}, this broker knows {known}: update the broker")]
    Schema {
        /// What the store says.
        found: u32,
        /// What the broker knows.
        known: u32,
    },
    /// The store there has another number of shards than configured; it cannot be changed.
    #[error(
        "the store was created with {found} shards, {wanted} are configured: the number is fixed"
    )]
    Shards {
        /// What the store says.
        found: usize,
        /// What is configured.
        wanted: usize,
    },
    /// There is no store, and none was to be made.
    #[error("there is no store")]
    Missing {
        /// How the servers are.
        health: Box<StoreHealth>,
    },
    /// The server would lose or refuse data under this setting.
    #[error("redis at {place} is not fit for a store: {why}")]
    Unfit {
        /// Which server.
        place: String,
        /// What to change.
        why: String,
    },
}

/// Every store port over Redis. Cheap to share; its tasks end when it is dropped.
pub struct RedisStore {
    core: Arc<Core>,
    tasks: Vec<AbortHandle>,
}

/// What the ports and the tasks share.
struct Core {
    options: RedisOptions,
    client: Arc<Client>,
    store_id: String,
    hints: Hints,
    wakes: broadcast::Sender<Wake>,
    appended: watch::Sender<u64>,
    changed: watch::Sender<u64>,
    reads: Vec<Arc<Gate<ReadJob>>>,
    commits: Vec<Arc<Gate<CommitJob>>>,
    /// Servers whose announcements are heard.
    heard: watch::Sender<usize>,
    epoch: tick::Epoch,
    warnings: probe::Warnings,
    writes: writes::Writes,
    waiters: streams::Waiters,
    leases: leases::Taken,
    /// The number of the next call that renews shares; begins where that of no process before can be.
    share_calls: AtomicU64,
    closed: AtomicBool,
}

impl RedisStore {
    /// Opens the store, creating it if there is none.
    ///
    /// # Errors
    /// [`ConnectError`]; in particular when a server evicts keys, when the number of shards differs, or when a newer broker
    /// has created the store.
    pub async fn connect(options: RedisOptions) -> Result<Arc<Self>, ConnectError> {
        if let Some(objection) = options.objection() {
            return Err(ConnectError::Options(objection.to_owned()));
        }
        let (shards, store_id) = open_store(&options).await?;
        let keys = Keys::new(&options.prefix, shards).with_streams(&options.streams);
        let client = Client::start(&options, keys).await?;
        client.connected(START_PATIENCE).await?;
        probe::refuse_unfit(&client, &options).await?;
        let gates = client.gates();
        let core = Arc::new(Core {
            client,
            store_id,
            hints: Hints::new(shards, gates),
            wakes: broadcast::Sender::new(WAKES_MAX),
            appended: watch::Sender::new(0),
            changed: watch::Sender::new(0),
            reads: (0..gates).map(|_| Arc::new(Gate::default())).collect(),
            commits: (0..gates).map(|_| Arc::new(Gate::default())).collect(),
            heard: watch::Sender::new(0),
            epoch: tick::Epoch::default(),
            warnings: probe::Warnings::default(),
            writes: writes::Writes::default(),
            waiters: streams::Waiters::default(),
            leases: leases::Taken::default(),
            share_calls: AtomicU64::new(begins_at(options.clock.now())),
            closed: AtomicBool::new(false),
            options,
        });
        let home = core.client.home();
        let tasks = vec![
            home.spawn(news::listening(core.clone())).abort_handle(),
            home.spawn(tick::ticking(core.clone())).abort_handle(),
        ];
        let store = Arc::new(Self { core, tasks });
        store.listening().await?;
        Ok(store)
    }
}

impl RedisStore {
    /// Waits until nothing that is announced goes unheard.
    async fn listening(&self) -> Result<(), StoreError> {
        let client = &self.core.client;
        let shards = self.core.shards();
        let announces = |node| client.places_of(node).iter().any(|place| *place < shards);
        let servers = client
            .holders()
            .iter()
            .filter(|node| announces(node))
            .count();
        let mut heard = self.core.heard.subscribe();
        let all = heard.wait_for(|heard| *heard >= servers);
        match tokio::time::timeout(START_PATIENCE, all).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(unavailable(
                "redis takes no subscriptions: the user of an access list needs the channels, &rv:*",
            )),
        }
    }
}

impl Drop for RedisStore {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Core {
    fn keys(&self) -> &Keys {
        &self.client.keys
    }

    fn shards(&self) -> usize {
        self.keys().shards()
    }

    /// Where jobs about a device gather.
    fn gate_of(&self, key: &DeviceKey) -> usize {
        self.client.gate_of(self.keys().shard_of(key))
    }

    /// Refuses calls of a store that has been closed, or is not there any more.
    fn open(&self) -> Result<(), StoreError> {
        self.not_closed()?;
        match self.warnings.of(Subject::Replaced) {
            Some(why) => Err(unavailable(why)),
            None => Ok(()),
        }
    }

    fn not_closed(&self) -> Result<(), StoreError> {
        match self.closed.load(Ordering::Relaxed) {
            true => Err(unavailable("the store has been closed")),
            false => Ok(()),
        }
    }

    /// Notes that a queue's first time in a shard has moved forward, and tells listeners if that concerns the whole queue.
    fn announce(&self, shard: usize, queue: &Queue, first_micros: i64, as_of: i64) {
        let away = |shard| self.client.is_away(shard);
        if self.hints.moved(shard, queue, (first_micros, as_of), away) {
            self.wake(queue, first_micros);
        }
    }

    fn wake(&self, queue: &Queue, first_micros: i64) {
        let wake = Wake {
            queue: queue.clone(),
            earliest: time_of(first_micros),
        };
        // Nobody may be listening.
        let _listeners = self.wakes.send(wake);
    }
}

/// Describes the store at its first opening; returns its number of shards and its id.
async fn open_store(options: &RedisOptions) -> Result<(usize, String), ConnectError> {
    let client = Client::start(options, Keys::control_only(&options.prefix)).await?;
    client.connected(START_PATIENCE).await?;
    let wanted = options.shards.unwrap_or(SHARDS_DEFAULT);
    let mut known = redis::cmd("EXISTS");
    known.arg(client.keys.own(client.keys.control(), "store"));
    if client.run(client.keys.control(), known).await? == redis::Value::Int(0) {
        check_before_making(options, wanted).await?;
    }
    let call = ScriptCall::new(&STORE_OPEN)
        .key(client.keys.own(client.keys.control(), "store"))
        .number(SCHEMA)
        .arg(wanted.to_string())
        .arg(uuid::Uuid::new_v4().simple().to_string());
    let answer = client.run(client.keys.control(), call).await?;
    let strange = || errors::damaged("the description of the store cannot be read");
    let (schema, shards, id): (u32, usize, String) =
        redis::from_redis_value(answer).map_err(|_| strange())?;
    if schema > SCHEMA {
        return Err(ConnectError::Schema {
            found: schema,
            known: SCHEMA,
        });
    }
    if shards == 0 || shards > SHARDS_MAX {
        return Err(strange().into());
    }
    match options.shards {
        Some(wanted) if wanted != shards => Err(ConnectError::Shards {
            found: shards,
            wanted,
        }),
        Some(_) | None => Ok((shards, id)),
    }
}

/// Makes sure that a store of so many shards should be made on these servers.
async fn check_before_making(options: &RedisOptions, shards: usize) -> Result<(), ConnectError> {
    let client = Client::start(options, Keys::new(&options.prefix, shards)).await?;
    client.connected(START_PATIENCE).await?;
    probe::refuse_unfit(&client, options).await?;
    if options.existing_only {
        let health = Box::new(probe::health(&client, options).await?);
        return Err(ConnectError::Missing { health });
    }
    Ok(())
}

/// The first number of a process that begins now, in µs.
fn begins_at(now: Timestamp) -> u64 {
    u64::try_from(now.as_microsecond()).unwrap_or_default()
}

/// A time of the store; one that cannot be is the end of time.
fn time_of(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX)
}

/// The score of something due at `at`: whole milliseconds in µs, so even. Leases are odd.
fn due_score(at: Timestamp) -> i64 {
    at.as_millisecond().clamp(1, MILLIS_MAX) * 1000
}

/// The last millisecond whose µs a score can hold exactly (2^53 / 1000).
const MILLIS_MAX: i64 = 9_007_199_254_740;
