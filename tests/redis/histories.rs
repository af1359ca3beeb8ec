//! A linearizability-style check of claims and commits: several brokers with random delays, judged by Redis's own clock.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use reveille::{
    domain::{counter::Counter, queue::Lane, record::Revision},
    ports::{Store, records::Committed},
};

use crate::{items::*, redis_server::RedisServer, rig::*};

const DEVICES: usize = 120;
const BROKERS: u64 = 4;
/// Settlements of each device that end its life.
const LIVES: u32 = 4;
const LEASE: Duration = Duration::from_millis(150);

/// One claim as its broker saw it, by Redis's clock: surely held from when it was answered until its end or its settlement.
struct Held {
    from_micros: i64,
    until_micros: i64,
    settled: bool,
}

type History = Arc<Mutex<HashMap<String, Vec<Held>>>>;

fn redis_micros(server: &RedisServer) -> i64 {
    let (seconds, micros): (i64, i64) = server.ask(&["TIME"]);
    seconds * 1_000_000 + micros
}

/// Claims, dawdles, and settles until nothing is left; brokers that dawdle too long find their lease lost.
async fn broker(server: Arc<RedisServer>, store: Arc<dyn Store>, seed: u64, history: History) {
    let mut random = StdRng::seed_from_u64(seed);
    let queue = direct(Lane::Normal);
    let settled = Counter::Closed("accepted");
    let all = i64::try_from(DEVICES).unwrap() * i64::from(LIVES);
    while count(&store, &settled).await < all {
        let claimed = claim(&store, &queue, random.random_range(1..20)).await;
        let from_micros = redis_micros(&server);
        for claimed in claimed {
            if random.random_bool(0.3) {
                tokio::time::sleep(Duration::from_millis(random.random_range(0..60))).await;
            }
            let (old, lease) = (claimed.stored.revision.0, &claimed.lease);
            let next = replace(&claimed.key, old, old + 1)
                .under(lease)
                .moving(settled.clone(), 1);
            let next = if old < LIVES {
                next.to(&queue, now())
            } else {
                next
            };
            let before_micros = redis_micros(&server);
            let answer = commit_one(&store, next).await;
            // A claim that was lost was held until its lease ended, or somebody else could not have settled it.
            let (until_micros, settled) = match answer {
                Committed::Done => (before_micros, true),
                Committed::LeaseLost(_) | Committed::Conflict(_) => (before_micros, false),
                Committed::Listed => panic!("there are no lists"),
            };
            let end = i64::try_from(lease.token).unwrap();
            let device = claimed.key.device.to_string();
            let held = Held {
                from_micros,
                until_micros: until_micros.min(end),
                settled,
            };
            if held.until_micros < held.from_micros {
                // It was answered after its lease had ended: nobody can tell that it was held at all.
                continue;
            }
            history
                .lock()
                .unwrap()
                .entry(device)
                .or_default()
                .push(held);
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(0..10))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_push_is_held_by_two_brokers_at_once_and_none_is_lost() {
    // given devices that must be settled several times, and brokers that are sometimes too slow for their leases
    let server = Arc::new(RedisServer::start(&[]));
    let history = History::default();
    let mut stores = Vec::new();
    for _ in 0..BROKERS {
        let mut options = single(&server);
        options.lease = LEASE;
        stores.push(open(options).await);
    }
    open_pushes(&stores[0], &keys(DEVICES), &direct(Lane::Normal)).await;

    // when they work at the same time
    let brokers = (0..).zip(&stores).map(|(seed, store)| {
        tokio::spawn(broker(server.clone(), store.clone(), seed, history.clone()))
    });
    let brokers: Vec<_> = brokers.collect();
    for broker in brokers {
        tokio::time::timeout(Duration::from_secs(60), broker)
            .await
            .unwrap()
            .unwrap();
    }

    // then every device has had each of its settlements once, one after the other
    let history = history.lock().unwrap();
    assert_eq!(history.len(), DEVICES);
    for (device, claims) in history.iter() {
        let settled = claims.iter().filter(|held| held.settled).count();
        assert_eq!(settled, usize::try_from(LIVES).unwrap(), "{device}");
        let mut claims: Vec<_> = claims.iter().collect();
        claims.sort_by_key(|held| held.from_micros);
        for pair in claims.windows(2) {
            assert!(
                pair[0].until_micros <= pair[1].from_micros,
                "{device} was held twice at once"
            );
        }
    }
    let wanted = Revision(LIVES + 1);
    let found = stores[0].read(&keys(DEVICES)).await.unwrap();
    assert!(
        found
            .iter()
            .all(|s| s.as_ref().is_some_and(|s| s.revision == wanted))
    );
}
