//! The Redis store under the suite: servers of its own for each case, one shard layout as in production. Alone, in a cluster, and
//! with a replica under Sentinel.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use reveille::{
    adapters::{
        clock::SystemClock,
        redis::{Address, Arrangement, RedisOptions, RedisStore},
    },
    ports::Store,
};

use crate::{
    Start,
    backend::Backend,
    redis_cluster::{RedisCluster, Watched},
    redis_server::RedisServer,
};

const EVENTS_MAX: usize = 32;
/// Far longer than a crowded machine needs between an event and a look at it.
const FEED_AGE_MAX: Duration = Duration::from_secs(4);
/// Arguments of a server that keeps what it acknowledges.
const DURABLE: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

/// Servers that a store can be kept on.
pub trait Servers: Send + Sync + Sized {
    fn start() -> Self;

    fn arrangement(&self) -> Arrangement;

    /// Replicas that must have a write before it is acknowledged.
    fn replicas_to_ack(&self) -> u32;

    /// Those that take writes now.
    fn masters(&self) -> impl Iterator<Item = &RedisServer>;

    /// A span that the store surely tells from none.
    fn tick(&self) -> Duration {
        Duration::from_millis(400)
    }

    /// Ends them without notice, and returns when the store can be used again.
    fn crash(&mut self);
}

fn address(server: &RedisServer) -> Address {
    Address {
        host: "127.0.0.1".to_owned(),
        port: server.port,
    }
}

/// A server that writes down what it acknowledges.
pub struct Single(RedisServer);

impl Servers for Single {
    fn start() -> Self {
        Self(RedisServer::durable())
    }

    fn arrangement(&self) -> Arrangement {
        Arrangement::Single(address(&self.0))
    }

    fn replicas_to_ack(&self) -> u32 {
        0
    }

    fn masters(&self) -> impl Iterator<Item = &RedisServer> {
        std::iter::once(&self.0)
    }

    fn tick(&self) -> Duration {
        Duration::from_millis(100)
    }

    fn crash(&mut self) {
        self.0.kill();
        self.0.run();
    }
}

/// Three of them that share the slots.
pub struct Cluster(RedisCluster);

impl Servers for Cluster {
    fn start() -> Self {
        Self(RedisCluster::start(3, 0, &DURABLE))
    }

    fn arrangement(&self) -> Arrangement {
        Arrangement::Cluster {
            seeds: self.masters().map(address).collect(),
        }
    }

    fn replicas_to_ack(&self) -> u32 {
        0
    }

    fn masters(&self) -> impl Iterator<Item = &RedisServer> {
        self.0.masters.iter()
    }

    fn crash(&mut self) {
        self.0.crash();
    }
}

/// A master and a replica, which takes the place of a master that dies.
pub struct Sentinel(Watched);

impl Servers for Sentinel {
    fn start() -> Self {
        Self(Watched::patient())
    }

    fn arrangement(&self) -> Arrangement {
        Arrangement::Sentinel {
            sentinels: vec![address(&self.0.sentinel)],
            master: "main".to_owned(),
        }
    }

    fn replicas_to_ack(&self) -> u32 {
        1
    }

    fn masters(&self) -> impl Iterator<Item = &RedisServer> {
        std::iter::once(&self.0.master)
    }

    /// The former master comes back as the replica of the new one.
    fn crash(&mut self) {
        self.0.fail_over();
    }
}

/// A durable store and two brokers.
pub struct Redis<S> {
    servers: S,
    store: Arc<RedisStore>,
    other: Arc<RedisStore>,
}

/// How long claims are valid.
fn lease(servers: &impl Servers) -> Duration {
    servers.tick() * 12
}

async fn open(servers: &impl Servers) -> Arc<RedisStore> {
    let first = address(servers.masters().next().unwrap());
    let mut options = RedisOptions::at(first, Arc::new(SystemClock), Arc::new(|_| ()));
    options.arrangement = servers.arrangement();
    options.min_replicas_to_ack = servers.replicas_to_ack();
    options.lease = lease(servers);
    options.feed_events_max = EVENTS_MAX * 64;
    options.feed_age_max = FEED_AGE_MAX;
    RedisStore::connect(options).await.unwrap()
}

impl<S: Servers> Start for Redis<S> {
    async fn start() -> Self {
        let servers = S::start();
        let (store, other) = (open(&servers).await, open(&servers).await);
        Self {
            servers,
            store,
            other,
        }
    }
}

#[async_trait]
impl<S: Servers> Backend for Redis<S> {
    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    fn other(&self) -> Arc<dyn Store> {
        self.other.clone()
    }

    fn shards(&self) -> usize {
        64
    }

    async fn now(&self) -> Timestamp {
        let master = self.servers.masters().next().unwrap();
        let (seconds, micros): (i64, i64) = master.ask(&["TIME"]);
        Timestamp::from_microsecond(seconds * 1_000_000 + micros).unwrap()
    }

    fn tick(&self) -> Duration {
        self.servers.tick()
    }

    fn lease(&self) -> Duration {
        lease(&self.servers)
    }

    async fn pass(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }

    async fn crash(&mut self) {
        self.servers.crash();
        self.store = open(&self.servers).await;
        self.other = open(&self.servers).await;
    }

    async fn fill(&mut self) {
        for master in self.servers.masters() {
            master.ask::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
        }
    }

    fn feed_events_max(&self) -> usize {
        EVENTS_MAX
    }

    fn feed_age_max(&self) -> Duration {
        FEED_AGE_MAX
    }
}
