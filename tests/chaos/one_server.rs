//! One Redis with an append-only file: a broker is killed, another one stopped and continued, and Redis restarts.

use std::collections::HashSet;

use crate::{
    broker::until,
    leases::{frozen_leases, leases, queues, until_over},
    redis_server::RedisServer,
    rig::{Chaos, IN_FLIGHT, Plan},
};

const DEVICES: u32 = 50_000;
/// So many a second that the stopped broker still finds work after its leases have ended.
const PACE: u32 = 600;

#[tokio::test(flavor = "multi_thread")]
async fn every_device_is_woken_although_brokers_die_and_freeze_and_redis_restarts() {
    // given three brokers with many open pushes
    let mut redis = RedisServer::durable();
    let mut chaos = Chaos::start(&Plan {
        devices: DEVICES,
        brokers: 3,
        pace: PACE,
        in_flight: IN_FLIGHT,
        store: &format!("url = \"redis://127.0.0.1:{}\"", redis.port),
    })
    .await;
    chaos.register_all().await;
    chaos.push_all().await;
    let woken = chaos.sandbox.ledger().devices.accepted;
    chaos.until_woken(woken + 2_000).await;

    // when one is stopped in the middle of its work and one is killed, and a little later Redis is killed and comes back
    chaos.brokers[1].signal("-STOP");
    let mut held = frozen_leases(&chaos, [&redis]).await;
    println!("the stopped broker has {} leases", held.len());
    chaos.brokers[0].kill();
    held.extend(leases([&redis]));
    let woken = chaos.sandbox.ledger().devices.accepted;
    chaos.until_woken(woken + 2_000).await;
    redis.kill();
    let ready = chaos.brokers[2].url("/readyz");
    until("the broker tells that its store is away", async || {
        let answer = chaos.brokers[2].http.get(&ready).send().await;
        answer.is_ok_and(|answer| answer.status() == 503)
    })
    .await;
    redis.run();

    // and the stopped one goes on after all its leases have ended
    until_over(&held, [&redis]).await;
    let left = u64::from(DEVICES) - chaos.sandbox.ledger().devices.accepted;
    println!("{} leases have ended, {left} devices are left", held.len());
    assert!(left > 0, "the stopped broker finds no work");
    chaos.brokers[1].signal("-CONT");
    chaos.until_all_closed(2).await;
    chaos.brokers[1].ready().await;

    // then every device was woken, only what had been leased twice, and each ask was closed once
    let repeated = chaos.assert_all_woken();
    let leased: HashSet<_> = held.keys().collect();
    let odd: Vec<_> = repeated.iter().filter(|d| !leased.contains(d)).collect();
    assert_eq!(odd, [""; 0], "repeated although no lease had ended");
    for broker in [1, 2] {
        let closed = chaos.closed(broker).await;
        assert_eq!(closed, [("accepted".to_owned(), u64::from(DEVICES))]);
    }
    assert_eq!(queues([&redis]), [""; 0]);
}
