//! A broker dies in the middle of a campaign that it was working at.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::{
    broker::until,
    leases::{leases, queues},
    redis_server::RedisServer,
    rig::{Chaos, IN_FLIGHT, Plan, TENANT},
    shares::shares,
};

const DEVICES: u32 = 12_000;
const BROKERS: usize = 3;
const PACE: u32 = 300;

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_goes_on_at_another_broker_when_the_one_that_releases_it_dies() {
    // given a campaign over brokers that all send, and one of them releases its targets
    let redis = RedisServer::durable();
    let (mut chaos, names) = start(&redis).await;
    let all = json!({ "name": "all", "targets": "all", "goal": "accepted" });
    let path = format!("/v1/tenants/{TENANT}/campaigns");
    let made = chaos.post(0, &path, all).await;
    let path = format!("{path}/{}", made["id"].as_str().unwrap());
    chaos.post(0, &format!("{path}/start"), json!({})).await;
    chaos.until_woken(2_000).await;

    // when that one dies
    let holder = holder(&redis, &names).expect("a broker works at the campaign");
    chaos.brokers[holder].kill();
    let leased: HashSet<_> = leases([&redis]).into_keys().collect();
    let others: Vec<_> = (0..BROKERS).filter(|other| *other != holder).collect();
    let counts = chaos.brokers[others[0]].get(&path).await["counts"].clone();
    assert_ne!(counts["waiting"], 0, "all was released before: {counts}");

    // then another one goes on with it until every target is done, and repeats only what had been leased
    until("another broker works at the campaign", async || {
        self::holder(&redis, &names).is_some_and(|now| now != holder)
    })
    .await;
    chaos.until_woken(u64::from(DEVICES)).await;
    until("the campaign is finished", async || {
        chaos.brokers[others[0]].get(&path).await["state"] == "finished"
    })
    .await;
    for other in others {
        let counts = chaos.brokers[other].get(&path).await["counts"].clone();
        assert_eq!(
            counted(&counts),
            [("accepted", DEVICES), ("targets", DEVICES)]
        );
        let closed = chaos.closed(other).await;
        assert_eq!(closed, [("accepted".to_owned(), u64::from(DEVICES))]);
    }
    let repeated = chaos.assert_all_woken();
    let odd: Vec<_> = repeated.iter().filter(|d| !leased.contains(*d)).collect();
    assert_eq!(odd, [""; 0], "repeated although no lease had ended");
    assert_eq!(queues([&redis]), [""; 0]);
}

/// Brokers and registered devices; and the brokers' names, which they give to themselves and tell Redis with their shares.
async fn start(redis: &RedisServer) -> (Chaos, Vec<String>) {
    let mut chaos = Chaos::prepare(&Plan {
        devices: DEVICES,
        brokers: BROKERS,
        pace: PACE,
        in_flight: IN_FLIGHT,
        store: &format!("url = \"redis://127.0.0.1:{}\"", redis.port),
    });
    let mut names = Vec::new();
    for number in 0..BROKERS {
        let command = chaos.command(number);
        chaos.brokers[number].spawn(command);
        until("the broker has a share", async || {
            let new = shares(redis).into_keys().find(|name| !names.contains(name));
            names.extend(new);
            names.len() > number
        })
        .await;
        chaos.brokers[number].ready().await;
    }
    chaos.register_all().await;
    (chaos, names)
}

/// Which broker has the lease of the campaign.
fn holder(redis: &RedisServer, names: &[String]) -> Option<usize> {
    let keys: Vec<String> = redis.ask(&["KEYS", "rv:{s*}:lease:campaign/*"]);
    let owner: String = redis.ask(&["HGET", keys.first()?, "owner"]);
    names.iter().position(|name| owner.starts_with(name))
}

/// The counts that are not zero.
fn counted(counts: &Value) -> Vec<(&str, u32)> {
    let counts = counts.as_object().unwrap().iter();
    let counts = counts.filter_map(|(name, n)| Some((name.as_str(), n.as_u64()? as u32)));
    counts.filter(|(_, n)| *n > 0).collect()
}
