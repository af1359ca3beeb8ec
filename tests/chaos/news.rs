//! How soon brokers hear of one another: pauses, throttles, urgent pushes, and the share of one that died.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    broker::{until, within},
    leases::micros,
    redis_server::RedisServer,
    rig::{Chaos, IN_FLIGHT, Plan, TENANT, id},
    shares::{are_shared, is_one_brokers, shares},
};

/// So long nothing arrives at WNS any more.
const QUIET: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(120);
/// Most that two brokers may send in a second, and what may be on the wire.
fn seconds_worth(pace: u32) -> u64 {
    u64::from(pace + 4 * IN_FLIGHT)
}

async fn two(redis: &RedisServer, devices: u32, pace: u32) -> Chaos {
    let chaos = Chaos::start(&Plan {
        devices,
        brokers: 2,
        pace,
        in_flight: IN_FLIGHT,
        store: &format!("url = \"redis://127.0.0.1:{}\"", redis.port),
    })
    .await;
    chaos.register_all().await;
    chaos
}

/// Waits until nothing arrives any more; gives how long something did, and how many did.
async fn until_quiet(chaos: &Chaos) -> (Duration, u64) {
    let begun = Instant::now();
    let before = chaos.sandbox.ledger().requests;
    let (mut last, mut seen) = (begun, before);
    within(PATIENCE, "nothing is sent", async || {
        let requests = chaos.sandbox.ledger().requests;
        if requests != seen {
            (last, seen) = (Instant::now(), requests);
        }
        last.elapsed() > QUIET
    })
    .await;
    (last - begun, seen - before)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_at_one_broker_stops_the_other_and_either_may_resume() {
    // given two brokers that send
    const PACE: u32 = 400;
    const DEVICES: u32 = 5_000;
    let redis = RedisServer::start(&[]);
    let chaos = two(&redis, DEVICES, PACE).await;
    chaos.push_all().await;
    chaos.until_woken(500).await;

    // when one of them is told to pause
    chaos.order(0, "pause").await;
    let (took, sent) = until_quiet(&chaos).await;

    // then both stop within a second's worth
    println!("paused after {took:?} and {sent} more");
    assert!(
        sent <= seconds_worth(PACE),
        "{sent} were sent after the pause"
    );
    assert!(chaos.sandbox.ledger().devices.accepted < u64::from(DEVICES));

    // and the other one may let both go on
    chaos.order(1, "resume").await;
    chaos.until_all_closed(0).await;
    assert_eq!(chaos.assert_all_woken(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_that_is_paused_or_cancelled_at_one_broker_stops_at_the_other_within_a_second() {
    // given two brokers that send for one campaign
    const PACE: u32 = 400;
    const DEVICES: u32 = 6_000;
    let redis = RedisServer::start(&[]);
    let chaos = two(&redis, DEVICES, PACE).await;
    let all = json!({ "name": "all", "targets": "all", "goal": "accepted" });
    let path = format!("/v1/tenants/{TENANT}/campaigns");
    let made = chaos.post(0, &path, all).await;
    let path = format!("{path}/{}", made["id"].as_str().unwrap());
    chaos.post(0, &format!("{path}/start"), json!({})).await;
    until("both brokers send", async || {
        chaos.sandbox.ledger().requests > 500 && are_shared(&redis, 2)
    })
    .await;

    // when one of them is told to pause it
    let woken = async |order: &str, broker: usize| {
        chaos
            .post(broker, &format!("{path}/{order}"), json!({}))
            .await;
        until_quiet(&chaos).await
    };
    let (paused, sent) = woken("pause", 1).await;

    // then both stop within a second's worth, also where another is told to cancel it
    println!("campaign paused after {paused:?} and {sent} more");
    assert!(sent <= seconds_worth(PACE), "{sent} after the pause");
    let before = chaos.sandbox.ledger().requests;
    chaos.post(0, &format!("{path}/resume"), json!({})).await;
    until("it goes on", async || {
        chaos.sandbox.ledger().requests > before + 500
    })
    .await;
    let (cancelled, sent) = woken("cancel", 0).await;
    println!("campaign cancelled after {cancelled:?} and {sent} more");
    assert!(sent <= seconds_worth(PACE), "{sent} after the end");
    assert!(chaos.sandbox.ledger().devices.accepted < u64::from(DEVICES));
    chaos.until_all_closed(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttle_that_one_broker_meets_stops_the_other() {
    // given two brokers that send
    const PACE: u32 = 400;
    const DEVICES: u32 = 1_200;
    let redis = RedisServer::start(&[]);
    let chaos = two(&redis, DEVICES, PACE).await;
    chaos.push_all().await;
    chaos.until_woken(300).await;

    // when WNS throttles the app
    let mut behaviour = chaos.sandbox.behaviour();
    let generous = behaviour.clone();
    let ceiling = behaviour.app_ceiling.as_mut().unwrap();
    (ceiling.per_second, ceiling.burst) = (1.0, Some(1));
    ceiling.penalty.0 = Duration::from_secs(6);
    chaos.sandbox.set_behaviour(behaviour).unwrap();
    within(PATIENCE, "the throttle", async || {
        chaos.sandbox.ledger().apps[0].penalties > 0
    })
    .await;
    chaos.sandbox.set_behaviour(generous).unwrap();
    let (took, sent) = until_quiet(&chaos).await;

    // then both stop within a second's worth, and go on when it is over
    println!("throttled after {took:?} and {sent} more");
    let ledger = chaos.sandbox.ledger();
    assert!(
        sent <= seconds_worth(PACE),
        "{sent} were sent after the throttle"
    );
    assert_eq!(ledger.apps[0].penalties, 1, "{ledger:?}");
    chaos.until_all_closed(0).await;
    assert_eq!(chaos.sandbox.ledger().devices.accepted, u64::from(DEVICES));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_urgent_push_opened_at_a_broker_that_cannot_send_goes_out_through_the_other_at_once() {
    // given two idle brokers, of which the first has no token
    const DEVICES: u32 = 20;
    /// Far less than the time after which brokers look by themselves.
    const SOON: Duration = Duration::from_millis(1_500);
    let redis = RedisServer::start(&[]);
    let mut chaos = Chaos::prepare(&Plan {
        devices: DEVICES,
        brokers: 2,
        pace: 900,
        in_flight: IN_FLIGHT,
        store: &format!("url = \"redis://127.0.0.1:{}\"", redis.port),
    });
    let mut wrong = chaos.command(0);
    wrong.env("CHAOS_WNS_SECRET", "not-the-secret");
    chaos.brokers[0].spawn(wrong);
    let command = chaos.command(1);
    chaos.brokers[1].spawn(command);
    for broker in &chaos.brokers {
        broker.ready().await;
    }
    chaos.register_all().await;

    // when urgent pushes are opened there, one after the other
    let mut took = Vec::new();
    for (number, device) in (0..DEVICES).zip(1..) {
        let begun = Instant::now();
        let answer = chaos.push(0, number..number + 1, "priority=urgent").await;
        assert_eq!(answer.unwrap().1["opened"], 1);
        while chaos.sandbox.ledger().requests < device {
            assert!(begun.elapsed() < PATIENCE, "{} was not woken", id(number));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        took.push(begun.elapsed());
        // Until the brokers are idle again.
        tokio::time::sleep(Duration::from_millis(150)).await;
    }

    // then the other one sends them as soon as it hears of them
    took.sort_unstable();
    let median = took[took.len() / 2];
    println!(
        "urgent: median {median:?}, longest {:?}",
        took[took.len() - 1]
    );
    assert!(median < SOON, "{took:?}");
    chaos.until_all_closed(1).await;
    assert_eq!(chaos.assert_all_woken(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_share_of_a_broker_that_died_is_free_after_a_second() {
    // given two brokers that share a pace which does not serve all
    const PACE: u32 = 200;
    let redis = RedisServer::start(&[]);
    let mut chaos = two(&redis, 20_000, PACE).await;
    chaos.push_all().await;
    until("both have a share", async || are_shared(&redis, 2)).await;

    // when one dies
    chaos.brokers[0].kill();
    let (died, shares_then) = (micros(&redis), shares(&redis));

    // then no share lasts longer than a second, and the whole pace goes to the one that is left
    for share in shares_then.values() {
        let left = share.until - died;
        assert!(left <= 1_000_000, "a share lasts {left} µs");
    }
    let mut sums = Vec::new();
    until("the whole pace goes to the one that is left", async || {
        let granted = shares(&redis).into_values().map(|share| share.granted);
        sums.push(granted.sum::<f64>());
        is_one_brokers(&redis, PACE)
    })
    .await;
    println!(
        "taken over {} ms after the death",
        (micros(&redis) - died) / 1_000
    );
    let most = sums.into_iter().fold(0.0, f64::max);
    assert!(most <= f64::from(PACE) + 0.001, "{most} were granted");
}
