//! A broker that freezes in the middle of an inbox, whose messages another one does meanwhile.

use std::time::Duration;

use crate::{
    broker::within,
    redis_server::RedisServer,
    rig::{Chaos, IN_FLIGHT, Plan, TENANT, id},
};

const DEVICES: u32 = 400;
const INBOX: &str = "rv:{t:contoso}:inbox";
const PATIENCE: Duration = Duration::from_secs(180);

/// Adds a registration of every device; a check-in after each keeps the broker from doing many at once.
fn register_all(redis: &RedisServer, token: &str) {
    let messages = (0..DEVICES).map(id).flat_map(|device| {
        let uri = format!("https://db5p.notify.windows.com/?token=AwYAAAB{device}{token}");
        let register = format!(r#"{{"device":"{device}","uri":"{uri}"}}"#);
        let check_in = format!(r#"{{"device":"{device}"}}"#);
        [("register", register), ("check_in", check_in)]
    });
    let messages: Vec<_> = messages.collect();
    let entries = messages
        .iter()
        .map(|(command, body)| vec!["command", command, "body", body.as_str()]);
    redis.add_all(INBOX, entries);
}

fn left(redis: &RedisServer) -> u64 {
    redis.ask(&["XLEN", INBOX])
}

/// All records as they are kept.
fn records(redis: &RedisServer) -> Vec<String> {
    let keys: Vec<String> = redis.ask(&["KEYS", &format!("rv:*:dev:{TENANT}")]);
    let records = keys
        .iter()
        .flat_map(|key| redis.ask::<Vec<String>>(&["HVALS", key]));
    records.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_froze_in_the_middle_of_an_inbox_undoes_nothing_when_it_goes_on() {
    // given a broker in the middle of old registrations, and another one beside it
    let redis = RedisServer::durable();
    let store = format!(
        "url = \"redis://127.0.0.1:{}\"\n[streams]\ntenants = [\"{TENANT}\"]",
        redis.port
    );
    let mut chaos = Chaos::prepare(&Plan {
        devices: 1,
        brokers: 2,
        pace: 900,
        in_flight: IN_FLIGHT,
        store: &store,
    });
    register_all(&redis, "-old");
    let all = left(&redis);
    let command = chaos.command(0);
    chaos.brokers[0].spawn(command);
    within(PATIENCE, "some are registered", async || left(&redis) < all).await;
    chaos.brokers[0].signal("-STOP");
    let frozen_at = left(&redis);
    assert!(frozen_at > 0, "it was frozen too late");
    let command = chaos.command(1);
    chaos.brokers[1].spawn(command);

    // when the other one has done these and newer ones, and the first goes on
    register_all(&redis, "-new");
    within(PATIENCE, "all is done", async || left(&redis) == 0).await;
    chaos.brokers[0].signal("-CONT");
    chaos.brokers[0].ready().await;
    chaos.brokers[0].signal("-TERM");
    assert_eq!(chaos.brokers[0].ended().await, Some(0));

    // then the newer ones stand
    println!("frozen with {frozen_at} of {all} messages left");
    let records = records(&redis);
    assert_eq!(records.len(), DEVICES as usize);
    let old = records.iter().filter(|record| !record.contains("-new"));
    assert_eq!(old.count(), 0, "old registrations came back");
    assert_eq!(redis.ask::<u64>(&["XLEN", "rv:{t:contoso}:dead"]), 0);
}
