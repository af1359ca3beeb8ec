//! A broker that is cut off from a Redis which lives, while another one is not.

use std::{collections::HashSet, fmt::Write as _, time::Duration};

use reqwest::{Response, StatusCode};
use tokio::time::timeout;

use crate::{
    broker::{Broker, until},
    cable::Cable,
    leases::{frozen_leases, queues, until_over},
    redis_server::RedisServer,
    rig::{Chaos, IN_FLIGHT, Plan, TENANT},
    shares::{are_shared, is_one_brokers},
};

const DEVICES: u32 = 15_000;
const PACE: u32 = 400;
/// Devices that are woken once more when the link is mended.
const ROUND: u32 = 1_000;
/// A call that takes longer hangs.
const ANSWER_MAX: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_cut_off_says_so_and_undoes_nothing_when_it_is_back() {
    // given two brokers in the middle of their work, of which the second reaches Redis through a link
    let redis = RedisServer::durable();
    let cable = Cable::to(redis.port).await;
    let mut chaos = start(&redis, &cable).await;
    chaos.push_all().await;
    until("both brokers send", async || are_shared(&redis, 2)).await;
    chaos.until_woken(1_000).await;

    // when the link is cut, for longer than leases last
    cable.cut();
    let cut_off = &chaos.brokers[1];
    let frozen = frozen_leases(&chaos, [&redis]).await;
    assert_refuses(cut_off, &chaos).await;
    until("its share ends", async || is_one_brokers(&redis, PACE)).await;
    until_over(&frozen, [&redis]).await;
    chaos.until_all_closed(0).await;

    // then the other one has woken all, and only what was leased to the one that was cut off twice
    println!("{} leases were cut off", frozen.len());
    let leased: HashSet<_> = frozen.keys().collect();
    let repeated = chaos.assert_all_woken();
    let odd: Vec<_> = repeated.iter().filter(|d| !leased.contains(d)).collect();
    assert_eq!(odd, [""; 0], "repeated although no lease had ended");
    assert!(!repeated.is_empty(), "nothing is left to be settled late");
    let ledger = chaos.sandbox.ledger();
    assert_eq!(ledger.devices.most, 2, "sent again without a claim");
    assert_refuses(cut_off, &chaos).await;

    // and when the link is mended, the one that was cut off goes on alone, and what it settles late counts nothing twice
    cable.mend();
    cut_off.ready().await;
    chaos.brokers[0].signal("-TERM");
    assert_eq!(chaos.brokers[0].ended().await, Some(0));
    let (status, opened) = chaos.push(1, 0..ROUND, "priority=bulk").await.unwrap();
    assert_eq!(
        (status, &opened["opened"]),
        (StatusCode::ACCEPTED, &ROUND.into())
    );
    chaos.until_all_closed(1).await;
    let all = u64::from(DEVICES + ROUND);
    assert_eq!(chaos.closed(1).await, [("accepted".to_owned(), all)]);
    assert_eq!(queues([&redis]), [""; 0]);
    let since = chaos.sandbox.ledger().requests - ledger.requests;
    assert_eq!(since, u64::from(ROUND), "sent beside the second round");
    chaos.assert_all_woken();
}

/// Two brokers and registered devices.
async fn start(redis: &RedisServer, cable: &Cable) -> Chaos {
    let url = |port: u16| format!("redis://127.0.0.1:{port}");
    let mut chaos = Chaos::prepare(&Plan {
        devices: DEVICES,
        brokers: 2,
        pace: PACE,
        in_flight: IN_FLIGHT,
        store: &format!("url = \"{}\"", url(redis.port)),
    });
    let (direct, mut linked) = (chaos.command(0), chaos.command(1));
    linked.env("REVEILLE_STORE_URL", url(cable.port));
    for (broker, command) in chaos.brokers.iter_mut().zip([direct, linked]) {
        broker.spawn(command);
        broker.ready().await;
    }
    chaos.register_all().await;
    chaos
}

/// The broker answers that its store is away, and when to ask again, whatever it is asked.
async fn assert_refuses(broker: &Broker, chaos: &Chaos) {
    let ready = answer(broker.http.get(broker.url("/readyz"))).await;
    assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
    let tenant = broker.url(&format!("/v1/tenants/{TENANT}"));
    // What the device has registered already: the store may get it late, and it changes nothing.
    let mut line = String::new();
    let (device, uri) = chaos.sandbox.channels(TENANT).next().unwrap();
    write!(line, "{{\"device\":\"{device}\",\"uri\":\"{uri}\"}}").unwrap();
    let channels = broker.http.post(format!("{tenant}/channels")).body(line);
    let channels = channels.header("content-type", "application/x-ndjson");
    for call in [channels, broker.http.get(&tenant)] {
        let answer = answer(call).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(answer.headers().contains_key("retry-after"), "{answer:?}");
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Response {
    timeout(ANSWER_MAX, request.send())
        .await
        .expect("it hangs")
        .unwrap()
}
