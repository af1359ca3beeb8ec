//! Opens stores and says in few words what the tests do with them.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::Timestamp;
use reveille::{
    adapters::{
        clock::SystemClock,
        redis::{Address, Arrangement, Login, RedisOptions, RedisStore},
    },
    domain::{id::DeviceKey, queue::Queue},
    ports::{
        Store,
        clock::Clock,
        records::{Committed, Item, Urgency},
    },
};
use secrecy::SecretString;

use crate::{items::*, redis_server::RedisServer};

/// What a store has alarmed about.
pub type Alarms = Arc<Mutex<Vec<String>>>;

pub fn address(port: u16) -> Address {
    let host = "127.0.0.1".to_owned();
    Address { host, port }
}

pub fn options(arrangement: Arrangement) -> RedisOptions {
    let clock = Arc::new(SystemClock);
    let options = RedisOptions::at(address(0), clock, Arc::new(|_| ()));
    RedisOptions {
        arrangement,
        ..options
    }
}

pub fn single(server: &RedisServer) -> RedisOptions {
    options(Arrangement::Single(address(server.port)))
}

/// Opens a store as the ports see it.
pub async fn open(options: RedisOptions) -> Arc<dyn Store> {
    RedisStore::connect(options).await.unwrap()
}

/// Makes a user who may do no more than documented, and gives its login.
pub fn documented_user(server: &RedisServer) -> Login {
    let rules = "+@all -@admin -@dangerous +info +config|get +cluster|slots";
    let words = "ACL SETUSER broker on >secret ~rv:* &rv:*".split(' ');
    let words: Vec<&str> = words.chain(rules.split(' ')).collect();
    server.ask::<()>(&words);
    Login {
        user: Some("broker".to_owned()),
        password: Some(SecretString::from("secret")),
    }
}

/// Collects what the store alarms about.
pub fn listening(options: RedisOptions) -> (RedisOptions, Alarms) {
    let alarms = Alarms::default();
    let heard = alarms.clone();
    let alarm = Arc::new(move |text: &str| heard.lock().unwrap().push(text.to_owned()));
    (RedisOptions { alarm, ..options }, alarms)
}

pub fn now() -> Timestamp {
    SystemClock.now()
}

/// Creates devices that are due now.
pub async fn open_pushes(store: &Arc<dyn Store>, keys: &[DeviceKey], queue: &Queue) {
    let now = now();
    for part in keys.chunks(256) {
        let items = part.iter().map(|key| create(key, 1).to(queue, now));
        apply(store, items.collect()).await;
    }
}

/// Commits until the store takes it; an answer that was lost is found out by reading.
pub async fn commit_surely(store: &Arc<dyn Store>, item: Item) -> Committed {
    loop {
        let tried = store
            .commit(vec![item.clone()], Urgency::Settle, None)
            .await;
        match tried {
            Ok(mut answers) => return answers.remove(0),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Waits for something of the store to come true, at most half a minute.
pub async fn eventually(what: &str, mut done: impl AsyncFnMut() -> bool) {
    for _ in 0..600 {
        if done().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what} never comes true");
}
