//! The Redis store under the suite: a server of its own for each case, one shard layout as in production.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use reveille::{
    adapters::{
        clock::SystemClock,
        redis::{Address, RedisOptions, RedisStore},
    },
    ports::Store,
};

use crate::{Start, backend::Backend, redis_server::RedisServer};

const EVENTS_MAX: usize = 32;
/// Far longer than a crowded machine needs between an event and a look at it.
const FEED_AGE_MAX: Duration = Duration::from_secs(4);

/// A durable server and two brokers.
pub struct Redis {
    server: RedisServer,
    store: Arc<RedisStore>,
    other: Arc<RedisStore>,
}

async fn open(server: &RedisServer) -> Arc<RedisStore> {
    let address = Address {
        host: "127.0.0.1".to_owned(),
        port: server.port,
    };
    let mut options = RedisOptions::at(address, Arc::new(SystemClock), Arc::new(|_| ()));
    options.lease = Duration::from_millis(1_200);
    options.feed_events_max = EVENTS_MAX * 64;
    options.feed_age_max = FEED_AGE_MAX;
    RedisStore::connect(options).await.unwrap()
}

impl Start for Redis {
    async fn start() -> Self {
        let server = RedisServer::durable();
        let (store, other) = (open(&server).await, open(&server).await);
        Self {
            server,
            store,
            other,
        }
    }
}

#[async_trait]
impl Backend for Redis {
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
        let (seconds, micros): (i64, i64) = self.server.ask(&["TIME"]);
        Timestamp::from_microsecond(seconds * 1_000_000 + micros).unwrap()
    }

    fn tick(&self) -> Duration {
        Duration::from_millis(100)
    }

    fn lease(&self) -> Duration {
        Duration::from_millis(1_200)
    }

    async fn pass(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }

    async fn crash(&mut self) {
        self.server.kill();
        self.server.run();
        self.store = open(&self.server).await;
        self.other = open(&self.server).await;
    }

    async fn fill(&mut self) {
        self.server.ask::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    }

    fn feed_events_max(&self) -> usize {
        EVENTS_MAX
    }

    fn feed_age_max(&self) -> Duration {
        FEED_AGE_MAX
    }
}
