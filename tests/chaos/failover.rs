//! A master dies, in a cluster or under Sentinel, while pushes are opened and sent; a replica has what was acknowledged.

use std::{collections::HashSet, ops::Range, sync::Arc, time::Duration};

use reqwest::StatusCode;
use tokio::{sync::watch, task::JoinHandle, time::timeout};

use crate::{
    broker::until,
    leases::{frozen_leases, queues, until_over},
    redis_cluster::{RedisCluster, Watched},
    redis_server::RedisServer,
    rig::{Chaos, IN_FLIGHT, Plan, id},
};

const BROKERS: usize = 3;
/// Devices asked for with one request.
const PART: u32 = 100;
/// So many devices more than were woken are asked for, so that the asking lasts as long as the sending.
const AHEAD: u32 = 4_000;
/// Devices woken, and asked for, between two blows.
const SOME: u32 = 1_000;
/// After this the console takes a broker that says nothing for lost.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Longest wait for the end of the asking: pushes that a dead broker had claimed may have to come first.
const ASKING_MAX: Duration = Duration::from_secs(600);

#[tokio::test(flavor = "multi_thread")]
async fn what_a_cluster_acknowledged_is_woken_although_a_master_and_brokers_die_and_freeze() {
    // given a cluster of three with a replica each, and a console that asks for more while three brokers send, for longer
    // than leases last
    let mut cluster = RedisCluster::start(3, 1, &["--appendonly", "yes"]);
    let store = format!(
        "url = \"redis://127.0.0.1:{}\"\nmore_urls = [\"redis://127.0.0.1:{}\"]\ntopology = \"cluster\"\nmin_replicas_to_ack = 1",
        cluster.masters[0].port, cluster.masters[2].port
    );
    let chaos = start(&store, 50_000, 600).await;
    let console = Console::begin(&chaos, 1);
    console.goes_on().await;

    // when a master dies, with the broker that the console asks
    cluster.masters[1].kill();
    chaos.brokers[1].signal("-KILL");
    until_master(&cluster.replicas[1]).await;
    cluster.masters[1].run();
    console.goes_on().await;

    // and, the master being back as the replica of its successor, another broker stops until its leases have ended
    let masters = &cluster.masters;
    let holders = [&masters[0], &cluster.replicas[1], &masters[2]];
    chaos.brokers[2].signal("-STOP");
    let frozen = frozen_leases(&chaos, holders).await;
    until_over(&frozen, holders).await;
    console.goes_on().await;
    chaos.brokers[2].signal("-CONT");
    let mut again = console.end().await;

    // then all that was acknowledged is woken, and nothing is left
    again.devices.extend(frozen.into_keys());
    assert_done(&chaos, &again, &[0, 2]).await;
    assert_eq!(queues(holders), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_under_sentinel_is_woken_although_the_master_dies() {
    // given a master and a replica under Sentinel, and a console that asks for more while three brokers send
    let mut watched = Watched::start();
    let store = format!(
        "url = \"redis://127.0.0.1:{}\"\ntopology = \"sentinel\"\nsentinel_master = \"main\"\nmin_replicas_to_ack = 1",
        watched.sentinel.port
    );
    let chaos = start(&store, 20_000, 1_000).await;
    let console = Console::begin(&chaos, 0);
    console.goes_on().await;

    // when the master dies, and comes back as the replica of its successor when Sentinel names that one
    watched.master.kill();
    let successor = watched.replica.port.to_string();
    until("the sentinel's word", async || {
        let of_master = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main"];
        let (_host, port): (String, String) = watched.sentinel.ask(&of_master);
        port == successor
    })
    .await;
    let follows = ["--replicaof", "127.0.0.1", &successor];
    watched.master.argue(&follows);
    watched.master.run();
    console.goes_on().await;
    let again = console.end().await;

    // then all that was acknowledged is woken, and nothing is left
    assert_done(&chaos, &again, &[0, 1, 2]).await;
    assert_eq!(queues([&watched.replica]), [""; 0]);
}

/// Three brokers and registered devices.
async fn start(store: &str, devices: u32, pace: u32) -> Arc<Chaos> {
    let chaos = Chaos::start(&Plan {
        devices,
        brokers: BROKERS,
        pace,
        in_flight: IN_FLIGHT,
        store,
    })
    .await;
    chaos.register_all().await;
    Arc::new(chaos)
}

async fn until_master(server: &RedisServer) {
    until("the promotion", async || server.is_master()).await;
}

/// Asks for all devices, one part after the other, and counts those that were acknowledged.
struct Console {
    chaos: Arc<Chaos>,
    acknowledged: watch::Receiver<u32>,
    asking: JoinHandle<Again>,
}

/// What a console asked for again, since it was not acknowledged, and so may be woken and closed again.
#[derive(Default)]
struct Again {
    devices: HashSet<String>,
    /// Each as often as it was repeated.
    asks: u64,
}

impl Console {
    fn begin(chaos: &Arc<Chaos>, broker: usize) -> Self {
        let (tell, acknowledged) = watch::channel(0);
        Self {
            chaos: chaos.clone(),
            acknowledged,
            asking: tokio::spawn(ask_for_all(chaos.clone(), broker, tell)),
        }
    }

    /// Waits until some more have been acknowledged and some woken since, in the middle of both.
    async fn goes_on(&self) {
        let acknowledged = || *self.acknowledged.borrow();
        let woken = || self.chaos.sandbox.ledger().devices.accepted;
        let (before, woken_before) = (acknowledged(), woken());
        until("more is acknowledged and woken", async || {
            assert!(!self.asking.is_finished(), "all was asked for before");
            acknowledged() >= before + SOME && woken() >= woken_before + u64::from(SOME)
        })
        .await;
    }

    /// Waits until all are acknowledged.
    async fn end(self) -> Again {
        let again = timeout(ASKING_MAX, self.asking).await.unwrap().unwrap();
        assert_eq!(*self.acknowledged.borrow(), self.chaos.devices);
        again
    }
}

async fn ask_for_all(
    chaos: Arc<Chaos>,
    mut broker: usize,
    acknowledged: watch::Sender<u32>,
) -> Again {
    let mut again = Again::default();
    for first in (0..chaos.devices).step_by(PART as usize) {
        let woken = u64::from(first.saturating_sub(AHEAD));
        while chaos.sandbox.ledger().devices.accepted < woken {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let part = first..first + PART;
        let repeated = ask(&chaos, &mut broker, part.clone()).await;
        if repeated > 0 {
            again.devices.extend(part.map(id));
            again.asks += repeated * u64::from(PART);
        }
        acknowledged.send_replace(first + PART);
    }
    again
}

/// Asks until a part is acknowledged, and turns to another broker when one does not answer. Gives how often it was repeated.
async fn ask(chaos: &Chaos, broker: &mut usize, part: Range<u32>) -> u64 {
    let mut repeated = 0;
    loop {
        let asking = chaos.push(*broker, part.clone(), "priority=bulk");
        match timeout(ANSWER_MAX, asking).await.ok().flatten() {
            Some((StatusCode::ACCEPTED, body)) => {
                let count = |what: &str| body[what].as_u64().unwrap();
                assert_eq!(count("opened") + count("merged"), u64::from(PART), "{body}");
                return repeated;
            }
            // The store being away is the only reason not to take work.
            Some((status, body)) => {
                assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            None => *broker = (*broker + 1) % BROKERS,
        }
        repeated += 1;
    }
}

/// Everything was woken and closed, by the word of these brokers. What was repeated had been leased when the master died, or may
/// be.
async fn assert_done(chaos: &Chaos, may_be: &Again, brokers: &[usize]) {
    chaos.until_all_closed(0).await;
    let repeated = chaos.assert_all_woken();
    let beside = repeated.iter().filter(|d| !may_be.devices.contains(*d));
    let beside = beside.count();
    println!("{beside} beside {} that may be", may_be.devices.len());
    assert!(
        beside as u64 <= chaos.claims_max(),
        "{beside} were repeated"
    );
    let closed = chaos.closed(0).await;
    let [(reason, count)] = &closed[..] else {
        panic!("{closed:?}");
    };
    let asked = u64::from(chaos.devices);
    assert_eq!(reason, "accepted");
    assert!(
        (asked..=asked + may_be.asks).contains(count),
        "{closed:?}, {} again",
        may_be.asks
    );
    for broker in brokers {
        assert_eq!(chaos.closed(*broker).await, closed);
    }
}
