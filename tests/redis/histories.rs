//! A linearizability-style check of claims and commits: several brokers with random delays, and a console that changes what they
//! hold, judged by Redis's own clock.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use reveille::{
    domain::{counter::Counter, id::DeviceKey, queue::Lane, record::Revision},
    ports::{
        Store,
        queues::Claimed,
        records::{Change, Committed, Expect, Item, Stored},
    },
};

use crate::{items::*, redis_server::RedisServer, rig::*};

const DEVICES: usize = 120;
const BROKERS: u64 = 4;
/// Settlements of each device that end its life.
const LIVES: u32 = 4;
const LEASE: Duration = Duration::from_millis(150);
const PATIENCE: Duration = Duration::from_secs(60);

/// One claim as its broker saw it, by Redis's clock: surely held from when it was answered until its end or its settlement.
struct Held {
    from_micros: i64,
    until_micros: i64,
    settled: bool,
}

/// What all have seen.
#[derive(Default)]
struct History {
    claims: HashMap<DeviceKey, Vec<Held>>,
    /// Changes of the console that were applied.
    changes: HashMap<DeviceKey, u32>,
    /// Claims that were settled too late.
    lost: u32,
    /// Settlements that met a change of the console under their lease.
    met: u32,
}

type Shared = Arc<Mutex<History>>;

fn redis_micros(server: &RedisServer) -> i64 {
    let (seconds, micros): (i64, i64) = server.ask(&["TIME"]);
    seconds * 1_000_000 + micros
}

/// How often a device has been settled, which its record tells; its revision counts all changes.
fn lives(stored: &Stored) -> u32 {
    let text = std::str::from_utf8(&stored.bytes).unwrap();
    text.parse().unwrap()
}

/// The next version of a record.
fn next(key: &DeviceKey, old: &Stored, lives: u32) -> Item {
    let bytes = Bytes::from(lives.to_string());
    let change = Change::Put(Revision(old.revision.0 + 1), bytes);
    item(key, Expect::Revision(old.revision), change)
}

fn settled() -> Counter {
    Counter::Closed("accepted")
}

async fn all_is_settled(store: &Arc<dyn Store>) -> bool {
    let all = i64::try_from(DEVICES).unwrap() * i64::from(LIVES);
    count(store, &settled()).await >= all
}

/// Claims, dawdles, and settles until nothing is left; brokers that dawdle too long find their lease lost.
async fn broker(server: Arc<RedisServer>, store: Arc<dyn Store>, seed: u64, history: Shared) {
    let mut random = StdRng::seed_from_u64(seed);
    while !all_is_settled(&store).await {
        let claimed = claim(&store, &direct(Lane::Normal), random.random_range(1..20)).await;
        let from_micros = redis_micros(&server);
        for claimed in claimed {
            if random.random_bool(0.3) {
                tokio::time::sleep(Duration::from_millis(random.random_range(0..60))).await;
            }
            let (before_micros, settled) = settle(&server, &store, &claimed, &history).await;
            // A claim that was lost was held until its lease ended, or somebody else could not have settled it.
            let end = i64::try_from(claimed.lease.token).unwrap();
            let held = Held {
                from_micros,
                until_micros: before_micros.min(end),
                settled,
            };
            if held.until_micros < held.from_micros {
                // It was answered after its lease had ended: nobody can tell that it was held at all.
                continue;
            }
            let mut history = history.lock().unwrap();
            history.claims.entry(claimed.key).or_default().push(held);
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(0..10))).await;
    }
}

/// Settles a claim, on the newer record where the console was faster. Gives the time before the last try, and whether it was done.
async fn settle(
    server: &RedisServer,
    store: &Arc<dyn Store>,
    claimed: &Claimed,
    history: &Shared,
) -> (i64, bool) {
    let mut old = claimed.stored.clone();
    loop {
        let lives = lives(&old) + 1;
        let next = next(&claimed.key, &old, lives).under(&claimed.lease);
        let next = next.moving(settled(), 1);
        let next = match lives < LIVES {
            true => next.to(&direct(Lane::Normal), now()),
            false => next,
        };
        let before_micros = redis_micros(server);
        match commit_one(store, next).await {
            Committed::Done => return (before_micros, true),
            Committed::LeaseLost(_) => {
                history.lock().unwrap().lost += 1;
                return (before_micros, false);
            }
            Committed::Conflict(newer) => {
                history.lock().unwrap().met += 1;
                old = newer.expect("nobody deletes");
            }
            Committed::Listed => panic!("there are no lists"),
        }
    }
}

/// Registers devices and asks again for those that wait, whoever holds them.
async fn console(store: Arc<dyn Store>, history: Shared) {
    let mut random = StdRng::seed_from_u64(BROKERS);
    let keys = keys(DEVICES);
    while !all_is_settled(&store).await {
        let key = &keys[random.random_range(0..DEVICES)];
        let old = read_one(&store, key).await.unwrap();
        let lives = lives(&old);
        let queue = direct(Lane::Normal);
        let next = match lives < LIVES {
            true => next(key, &old, lives).from(&queue).to(&queue, now()),
            false => next(key, &old, lives),
        };
        if commit_one(&store, next).await == Committed::Done {
            let mut history = history.lock().unwrap();
            *history.changes.entry(key.clone()).or_default() += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_push_is_held_by_two_brokers_at_once_and_no_change_is_lost() {
    // given devices that must be settled several times, and brokers that are sometimes too slow for their leases
    let server = Arc::new(RedisServer::start(&[]));
    let history = Shared::default();
    let mut stores = Vec::new();
    for _ in 0..BROKERS {
        let mut options = single(&server);
        options.lease = LEASE;
        stores.push(open(options).await);
    }
    let (all, queue) = (keys(DEVICES), direct(Lane::Normal));
    let first = |key| item(key, Expect::Absent, Change::Put(Revision(1), "0".into()));
    let items = all.iter().map(|key| first(key).to(&queue, now()));
    apply(&stores[0], items.collect()).await;

    // when they work at the same time, and a console changes what they hold
    let brokers = (0..).zip(&stores).map(|(seed, store)| {
        tokio::spawn(broker(server.clone(), store.clone(), seed, history.clone()))
    });
    let mut everybody: Vec<_> = brokers.collect();
    everybody.push(tokio::spawn(console(stores[0].clone(), history.clone())));
    for one in everybody {
        tokio::time::timeout(PATIENCE, one).await.unwrap().unwrap();
    }

    // then every device has had each of its settlements once, one after the other, and each change of the console
    let found = stores[0].read(&all).await.unwrap();
    let mut history = Arc::into_inner(history).unwrap().into_inner().unwrap();
    println!("{} leases lost, {} changes met", history.lost, history.met);
    assert!(history.lost > 0, "no broker was too slow");
    assert!(history.met > 0, "the console changed nothing under a lease");
    assert_eq!(history.claims.len(), DEVICES);
    for (key, found) in all.iter().zip(found) {
        let claims = history.claims.get_mut(key).unwrap();
        let settled = claims.iter().filter(|held| held.settled).count();
        assert_eq!(settled, usize::try_from(LIVES).unwrap(), "{key:?}");
        claims.sort_by_key(|held| held.from_micros);
        for pair in claims.windows(2) {
            assert!(
                pair[0].until_micros <= pair[1].from_micros,
                "{key:?} was held twice at once"
            );
        }
        let changes = history.changes.get(key).copied().unwrap_or(0);
        let found = found.unwrap();
        assert_eq!(lives(&found), LIVES, "{key:?}");
        assert_eq!(found.revision, Revision(1 + LIVES + changes), "{key:?}");
    }
}
