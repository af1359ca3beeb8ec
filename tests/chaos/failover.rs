//! A master dies, in a cluster or under Sentinel, while pushes are opened and sent; a replica has what was acknowledged.

use std::{ops::Range, sync::Arc, time::Duration};

use reqwest::StatusCode;
use serde_json::Value;

use crate::{
    leases::queues,
    redis_cluster::{RedisCluster, Watched, wait_until},
    redis_server::RedisServer,
    rig::{Chaos, IN_FLIGHT, Plan},
};

const DEVICES: u32 = 10_000;
const PACE: u32 = 1_000;
/// Devices asked for with one request.
const PART: u32 = 100;
/// Devices asked for before the master dies.
const BEFORE: u32 = 3_000;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_cluster_acknowledged_is_woken_although_a_master_dies() {
    // given a cluster of three with a replica each, and three brokers that send
    let mut cluster = RedisCluster::start(3, 1, &["--appendonly", "yes"]);
    let store = format!(
        "url = \"redis://127.0.0.1:{}\"\nmore_urls = [\"redis://127.0.0.1:{}\"]\ntopology = \"cluster\"\nmin_replicas_to_ack = 1",
        cluster.masters[0].port, cluster.masters[2].port
    );
    let chaos = start(&store).await;

    // when a master dies while more is asked for, and comes back as the replica of its successor
    cluster.masters[1].kill();
    let opening = tokio::spawn(open(chaos.clone(), BEFORE..DEVICES));
    wait_until_master(&cluster.replicas[1]);
    cluster.masters[1].run();
    let again = opening.await.unwrap();

    // then all that was acknowledged is woken, and nothing is left
    assert_done(&chaos, again).await;
    let holders = [
        &cluster.masters[0],
        &cluster.replicas[1],
        &cluster.masters[2],
    ];
    assert_eq!(queues(holders), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_under_sentinel_is_woken_although_the_master_dies() {
    // given a master and a replica under Sentinel, and three brokers that send
    let mut watched = Watched::start();
    let store = format!(
        "url = \"redis://127.0.0.1:{}\"\ntopology = \"sentinel\"\nsentinel_master = \"main\"\nmin_replicas_to_ack = 1",
        watched.sentinel.port
    );
    let chaos = start(&store).await;

    // when the master dies while more is asked for, and Sentinel makes it the replica of its successor
    watched.master.kill();
    let opening = tokio::spawn(open(chaos.clone(), BEFORE..DEVICES));
    wait_until_master(&watched.replica);
    watched.master.run();
    let again = opening.await.unwrap();

    // then all that was acknowledged is woken, and nothing is left
    assert_done(&chaos, again).await;
    assert_eq!(queues([&watched.replica]), [""; 0]);
}

/// Three brokers in the middle of their work.
async fn start(store: &str) -> Arc<Chaos> {
    let chaos = Chaos::start(&Plan {
        devices: DEVICES,
        brokers: 3,
        pace: PACE,
        in_flight: IN_FLIGHT,
        store,
    })
    .await;
    chaos.register_all().await;
    let chaos = Arc::new(chaos);
    assert_eq!(open(chaos.clone(), 0..BEFORE).await, 0);
    chaos.until_woken(500).await;
    chaos
}

/// Asks for devices at one broker after the other, until they are acknowledged. Gives how many were asked for again.
async fn open(chaos: Arc<Chaos>, devices: Range<u32>) -> u64 {
    let mut again = 0;
    for (turn, first) in devices.step_by(PART as usize).enumerate() {
        again += ask(&chaos, turn % 3, first).await;
    }
    again
}

async fn ask(chaos: &Chaos, broker: usize, first: u32) -> u64 {
    let mut again = 0;
    loop {
        let answer = chaos
            .push(broker, first..first + PART, "priority=bulk")
            .await;
        if let Some((StatusCode::ACCEPTED, body)) = &answer {
            let count = |what: &str| body[what].as_u64().unwrap();
            assert_eq!(count("opened") + count("merged"), u64::from(PART), "{body}");
            return again;
        }
        assert_refused(answer.as_ref());
        again += u64::from(PART);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The store being away is the only reason not to take work.
fn assert_refused(answer: Option<&(StatusCode, Value)>) {
    if let Some((status, body)) = answer {
        assert_eq!(*status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
    }
}

fn wait_until_master(server: &RedisServer) {
    wait_until("the promotion", || server.is_master());
}

/// Everything was woken and closed; repeated was at most what was leased or asked for again.
async fn assert_done(chaos: &Chaos, again: u64) {
    chaos.until_all_closed(0).await;
    let repeated = chaos.assert_all_woken();
    let most = chaos.claims_max() + again;
    assert!(repeated.len() as u64 <= most, "{} repeats", repeated.len());
    let closed = chaos.closed(0).await;
    let [(reason, count)] = &closed[..] else {
        panic!("{closed:?}");
    };
    let asked = u64::from(DEVICES);
    assert_eq!(reason, "accepted");
    assert!(
        (asked..=asked + again).contains(count),
        "{closed:?}, {again} again"
    );
    for broker in 1..3 {
        assert_eq!(chaos.closed(broker).await, closed);
    }
}
