//! What a console and an operator see of a broker whose Redis is away, full, or not as it should be.

use std::time::{Duration, Instant};

use reqwest::{Response, StatusCode};
use serde_json::json;

use crate::{
    redis_server::RedisServer,
    rig::{Rig, TENANT, redis, silent, until},
};

/// So long a call may take at most while nobody answers; the broker gives up sooner.
const AT_ONCE: Duration = Duration::from_secs(5);

/// A broker on a server of its own, with its devices registered.
async fn on(server: &RedisServer, devices: u32) -> Rig {
    let mut rig = Rig::new(devices, silent());
    rig.store = redis(server.port);
    rig.start().await;
    rig.register_all().await;
    rig
}

/// Asks for a push of the first device, once.
async fn push(rig: &Rig) -> Response {
    let (device, _) = rig.sandbox.channels(TENANT).next().unwrap();
    let url = rig.url(&format!("/v1/tenants/{TENANT}/pushes"));
    let body = json!({ "devices": [device] });
    rig.http.post(url).json(&body).send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn while_redis_is_away_calls_are_refused_at_once_and_all_resumes_by_itself() {
    let mut server = RedisServer::durable();
    let rig = on(&server, 3).await;

    server.kill();
    for _ in 0..3 {
        let begun = Instant::now();
        let refused = push(&rig).await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(refused.headers().contains_key("retry-after"));
        assert!(begun.elapsed() < AT_ONCE, "it took {:?}", begun.elapsed());
    }
    let ready = rig.http.get(rig.url("/readyz")).send().await.unwrap();
    assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
    server.run();

    until("a push is taken again", async || {
        push(&rig).await.status() == StatusCode::ACCEPTED
    })
    .await;
    rig.until_all_closed().await;
    assert_eq!(rig.reached(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_redis_takes_no_new_work_and_what_is_open_goes_out() {
    let server = RedisServer::durable();
    let mut rig = on(&server, 40).await;
    let order = |what| format!("/v1/apps/{TENANT}/{what}");
    rig.post(&order("pause"), json!({})).await;
    let devices: Vec<String> = rig
        .sandbox
        .channels(TENANT)
        .map(|(device, _)| device.to_string())
        .collect();
    let wish = json!({ "devices": devices[1..] });
    rig.post(&format!("/v1/tenants/{TENANT}/pushes"), wish)
        .await;
    rig.post(&order("resume"), json!({})).await;

    server.ask::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    let refused = push(&rig).await;

    assert_eq!(refused.status(), StatusCode::INSUFFICIENT_STORAGE);
    // Another broker takes over there, too.
    rig.kill();
    rig.start().await;
    rig.until_all_closed().await;
    // With an idempotency key each, of which a full store keeps none.
    rig.post(&order("pause"), json!({})).await;
    rig.post(&order("resume"), json!({})).await;
    let check_in = format!("/v1/tenants/{TENANT}/check-ins");
    rig.post(&check_in, json!({ "device": devices[1] })).await;
    assert_eq!(rig.reached(), devices.len() as u64 - 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_what_a_202_is_worth_and_refuses_a_server_that_evicts() {
    let fleeting = RedisServer::start(&[]);
    let evicting = RedisServer::start(&["--maxmemory-policy", "allkeys-lru"]);
    let mut rig = Rig::new(1, silent());

    rig.store = redis(fleeting.port);
    let (code, told, _) = rig.ends("check", &[]).await;
    assert_eq!(code, Some(0), "{told}");
    for words in ["acknowledged work is in memory only", "set appendonly yes"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert!(told.contains("there is no store yet"), "{told}");
    assert_eq!(fleeting.ask::<u64>(&["DBSIZE"]), 0, "check made a store");
    rig.start().await;
    let (code, told, _) = rig.ends("check", &[]).await;
    assert_eq!(code, Some(0), "{told}");
    assert!(!told.contains("there is no store yet"), "{told}");
    rig.store = redis(evicting.port);
    let (code, told, _) = rig.ends("check", &[]).await;
    assert_eq!(code, Some(1), "{told}");
    assert!(
        told.contains("allkeys-lru") && told.contains("noeviction"),
        "{told}"
    );
}
