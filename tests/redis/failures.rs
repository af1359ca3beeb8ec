//! A server that forgets its scripts, is busy, stops, restarts, or whose clock steps: nothing accepted is lost, nothing hangs.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use reveille::{
    adapters::clock::SystemClock,
    domain::queue::Lane,
    ports::{
        clock::Clock,
        error::StoreError,
        queues::Selector,
        records::{Committed, Urgency},
    },
};

use crate::{items::*, redis_server::RedisServer, rig::*};

/// An answer "at once": far less than the store's timeout, generous for a busy machine.
const AT_ONCE: Duration = Duration::from_millis(900);

#[tokio::test]
async fn scripts_are_sent_again_when_the_server_has_forgotten_them() {
    let server = RedisServer::start(&[]);
    let (store, queue) = (open(single(&server)).await, direct(Lane::Normal));
    open_pushes(&store, &keys(10), &queue).await;
    server.ask::<()>(&["SCRIPT", "FLUSH"]);

    let claimed = claim(&store, &queue, 10).await;
    server.ask::<()>(&["SCRIPT", "FLUSH"]);
    let settle = claimed
        .iter()
        .map(|c| replace(&c.key, 1, 2).under(&c.lease));
    apply(&store, settle.collect()).await;

    assert_eq!(claimed.len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_server_is_waited_for_but_not_for_ever() {
    let server = RedisServer::start(&["--busy-reply-threshold", "50"]);
    let store = open(single(&server)).await;
    apply(&store, vec![create(&key("a"), 1)]).await;
    let port = server.port;
    let hog = std::thread::spawn(move || {
        let client = redis::Client::open(("127.0.0.1", port)).unwrap();
        let mut connection = client.get_connection().unwrap();
        let endless = redis::cmd("EVAL")
            .arg("while true do end")
            .arg(0)
            .query::<()>(&mut connection);
        assert!(endless.is_err(), "it was killed");
    });
    tokio::time::sleep(Duration::from_millis(150)).await;

    // while the script runs, a call gives up soon
    let begun = Instant::now();
    let busy = store.read(&[key("a")]).await;
    assert!(
        matches!(busy, Err(StoreError::Unavailable { .. })),
        "{busy:?}"
    );
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());

    // one that is under way when it ends succeeds
    let waiting = {
        let store = store.clone();
        tokio::spawn(async move { read_one(&store, &key("a")).await })
    };
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.ask::<()>(&["SCRIPT", "KILL"]);
    assert_eq!(waiting.await.unwrap(), Some(stored(1)));
    hog.join().unwrap();
}

#[tokio::test]
async fn a_restart_loses_nothing_and_calls_fail_at_once_meanwhile() {
    let mut server = RedisServer::durable();
    let (store, queue) = (open(single(&server)).await, direct(Lane::Normal));
    open_pushes(&store, &keys(100), &queue).await;
    let claimed = claim(&store, &queue, 40).await;
    let mut wakes = store.wakes();

    server.kill();
    for _ in 0..5 {
        let begun = Instant::now();
        let refused = store.read(&keys(1)).await;
        assert!(matches!(
            refused,
            Err(StoreError::Unavailable {
                retry_after: Some(_),
                ..
            })
        ));
        assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    }
    server.run();

    // it resumes by itself and says that there is work
    let wake = soon(wakes.recv()).await.unwrap();
    assert_eq!(wake.queue, queue);
    let settle = claimed
        .iter()
        .map(|c| replace(&c.key, 1, 2).under(&c.lease));
    apply(&store, settle.collect()).await;
    assert_eq!(claim(&store, &queue, 256).await.len(), 60);
}

#[tokio::test]
async fn a_server_that_is_loading_its_data_refuses_at_once_and_then_has_everything() {
    let mut server = RedisServer::durable();
    let (store, queue) = (open(single(&server)).await, direct(Lane::Normal));
    open_pushes(&store, &keys(256), &queue).await;
    server.ask::<()>(&["BGREWRITEAOF"]);
    eventually("a file of whole keys", async || {
        let info: String = server.ask(&["INFO", "persistence"]);
        info.contains("aof_rewrite_in_progress:0") && info.contains("aof_rewrite_scheduled:0")
    })
    .await;
    server.kill();

    // every key takes its time, and clients are looked at meanwhile
    server.argue(&["--key-load-delay", "10000"]);
    server.argue(&["--loading-process-events-interval-bytes", "1024"]);
    server.spawn();
    eventually("a refusal because the server is loading", async || {
        let begun = Instant::now();
        let refused = store.read(&keys(1)).await;
        assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
        matches!(refused, Err(StoreError::Unavailable { detail, .. }) if detail.contains("loading"))
    })
    .await;

    // nothing is missing afterwards
    eventually("an answer", async || store.read(&keys(1)).await.is_ok()).await;
    let taken = std::cell::Cell::new(0);
    eventually("all that was open", async || {
        taken.set(taken.get() + claim(&store, &queue, 256).await.len());
        taken.get() == 256
    })
    .await;
}

#[tokio::test]
async fn a_server_that_becomes_a_replica_refuses_writes_and_takes_them_when_it_leads_again() {
    let server = RedisServer::start(&[]);
    let (store, queue) = (open(single(&server)).await, direct(Lane::Normal));
    open_pushes(&store, &keys(10), &queue).await;
    let claimed = claim(&store, &queue, 10).await;

    server.ask::<()>(&["REPLICAOF", "127.0.0.1", "1"]);
    eventually("a refusal because the server is a replica", async || {
        let items = vec![create(&key("new"), 1).to(&queue, now())];
        let refused = store.commit(items, Urgency::Open, None).await;
        matches!(refused, Err(StoreError::Unavailable { detail, .. }) if detail.contains("replica"))
    })
    .await;
    server.ask::<()>(&["REPLICAOF", "NO", "ONE"]);

    for claimed in &claimed {
        let settle = replace(&claimed.key, 1, 2).under(&claimed.lease);
        assert_eq!(commit_surely(&store, settle).await, Committed::Done);
    }
    assert_eq!(read_one(&store, &key("new")).await, None);
}

#[tokio::test]
async fn a_stopped_server_hangs_no_call_and_goes_on_afterwards() {
    let server = RedisServer::start(&[]);
    let mut options = single(&server);
    options.timeout = Duration::from_millis(400);
    let store = open(options).await;
    apply(&store, vec![create(&key("a"), 1)]).await;

    server.signal("STOP");
    let begun = Instant::now();
    assert!(store.read(&[key("a")]).await.is_err());
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
    eventually("a refusal at once", async || {
        let begun = Instant::now();
        store.read(&[key("a")]).await.is_err() && begun.elapsed() < Duration::from_millis(50)
    })
    .await;
    server.signal("CONT");

    eventually("an answer", async || store.read(&[key("a")]).await.is_ok()).await;
    assert_eq!(read_one(&store, &key("a")).await, Some(stored(1)));
}

#[tokio::test]
async fn news_that_were_lost_with_a_connection_are_asked_for() {
    let server = RedisServer::start(&[]);
    let (store, queue) = (open(single(&server)).await, direct(Lane::Urgent));
    let other = open(single(&server)).await;
    let (mut wakes, mut appended) = (other.wakes(), other.appended());
    appended.mark_unchanged();

    // every connection is cut, and something is due before the listener is back
    server.ask::<()>(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    apply(
        &store,
        vec![
            create(&key("a"), 1)
                .to(&queue, now())
                .saying(event(&key("a"), 1)),
        ],
    )
    .await;

    assert_eq!(soon(wakes.recv()).await.unwrap().queue, queue);
    soon(appended.changed()).await.unwrap();
}

#[tokio::test]
async fn a_step_back_of_the_clock_costs_repeats_and_no_losses() {
    // given a store of one shard, with times that a clock gave which was an hour ahead: due, parked, and leased
    const HOUR_MICROS: i64 = 3_600_000_000;
    let server = RedisServer::start(&[]);
    let (mut options, alarms) = listening(single(&server));
    options.shards = Some(1);
    let store = open(options).await;
    let (queue, parked) = (direct(Lane::Bulk), flow_of("c", Lane::Bulk));
    let keys = keys(720);
    open_pushes(&store, &keys[..10], &queue).await;
    let leased = claim(&store, &queue, 10).await;
    let set = "rv:{s00}:q:contoso:bulk:direct";
    for claimed in &leased {
        let by = (HOUR_MICROS - 61_000_000).to_string();
        server.ask::<String>(&["ZINCRBY", set, &by, claimed.key.device.as_str()]);
    }
    let ahead = now() + Duration::from_secs(3_599);
    for part in keys[10..700].chunks(256) {
        let items = part.iter().map(|key| create(key, 1).to(&queue, ahead));
        apply(&store, items.collect()).await;
    }
    let sleeping = keys[700..]
        .iter()
        .map(|key| create(key, 1).to(&parked, ahead));
    apply(&store, sleeping.collect()).await;
    let (tenant, flow) = (contoso(), Some(parked.flow.clone()));
    let selector = Selector { tenant, flow };
    store.park(&selector).await.unwrap();
    let seen = now().as_microsecond() + HOUR_MICROS;
    server.ask::<()>(&["HSET", "rv:{s00}:meta", "clock", &seen.to_string()]);

    // when somebody claims by the clock that has stepped back
    claim(&store, &queue, 256).await;

    // then everything is due in time
    let taken = std::cell::Cell::new(0);
    eventually("all that was due by the old clock", async || {
        taken.set(taken.get() + claim(&store, &queue, 256).await.len());
        taken.get() == 700
    })
    .await;
    store.unpark(&selector).await.unwrap();
    assert_eq!(claim(&store, &parked, 256).await.len(), 20);
    let alarms = alarms.lock().unwrap();
    assert!(
        alarms.iter().any(|a| a.contains("stepped back by 3")),
        "{alarms:?}"
    );
    // and the leases that were lowered do not settle any more
    drop(alarms);
    let late = commit_one(
        &store,
        replace(&leased[0].key, 1, 2).under(&leased[0].lease),
    )
    .await;
    assert_eq!(late, Committed::LeaseLost(Some(stored(1))));
}

#[tokio::test]
async fn a_clock_that_is_not_that_of_redis_raises_an_alarm() {
    // given a broker whose clock is ten seconds ahead
    let server = RedisServer::start(&[]);
    let (mut options, alarms) = listening(single(&server));
    options.clock = Arc::new(Ahead);
    let store = open(options).await;

    // when time passes
    let warns = || {
        alarms
            .lock()
            .unwrap()
            .iter()
            .any(|a| a.contains("differ by"))
    };
    eventually("the alarm", async || warns()).await;

    // then whoever asks hears of it too
    let health = store.probe().await.unwrap();
    assert!(health.warnings.iter().any(|w| w.contains("differ by")));
}

struct Ahead;

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        SystemClock.now() + Duration::from_secs(10)
    }
}
