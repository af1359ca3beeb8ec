//! A fleet moves from one store to another and back, and a broker goes on where it was.

use std::{path::Path, process::Stdio};

use reqwest::Method;
use reveille::sandbox::Behaviour;
use serde_json::{Value, json};

use crate::{
    redis_server::RedisServer,
    rig::{Rig, TENANT, until},
    streams::on_redis,
};

const DEVICES: u32 = 120;

/// Runs `reveille store copy`; gives its exit code and what it said on standard output and error.
async fn copy(from: &str, to: &str, more: &[&str]) -> (Option<i32>, String, String) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_reveille"));
    command
        .args(["store", "copy", "--from", from, "--to", to])
        .args(more);
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = output.await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

async fn copied(from: &str, to: &str, more: &[&str]) -> Value {
    let (code, out, err) = copy(from, to, &[&["--json"], more].concat()).await;
    assert_eq!(code, Some(0), "{err}");
    serde_json::from_str(&out).unwrap()
}

async fn post(rig: &Rig, path: &str, body: Value) -> Value {
    let request = rig.http.request(Method::POST, rig.url(path)).json(&body);
    let answer = request.send().await.unwrap();
    let status = answer.status();
    let text = answer.text().await.unwrap();
    assert!(status.is_success(), "{path}: {status} {text}");
    serde_json::from_str(&text).unwrap_or(Value::Null)
}

fn shown(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_moves_between_stores_and_its_open_pushes_are_sent_from_the_last() {
    // given open pushes, a campaign that runs and one that stands still, in a folder that a broker uses
    let mut rig = Rig::new(DEVICES, Behaviour::default());
    let folder = rig.dir.path().join("data");
    rig.start().await;
    rig.register_all().await;
    post(&rig, &format!("/v1/apps/{TENANT}/pause"), json!({})).await;
    let devices: Vec<String> = rig
        .sandbox
        .channels(TENANT)
        .map(|(device, _)| device.to_string())
        .collect();
    let wish = json!({ "devices": devices[..50], "reason": "before the move" });
    post(&rig, &format!("/v1/tenants/{TENANT}/pushes"), wish).await;
    let mut campaigns = Vec::new();
    for name in ["runs", "stands"] {
        let all = json!({ "name": name, "targets": "all", "goal": "accepted" });
        let made = post(&rig, &format!("/v1/tenants/{TENANT}/campaigns"), all).await;
        let path = format!(
            "/v1/tenants/{TENANT}/campaigns/{}",
            made["id"].as_str().unwrap()
        );
        post(&rig, &format!("{path}/start"), json!({})).await;
        until("its targets are open", async || {
            rig.get(&path).await["counts"]["open"] == DEVICES
        })
        .await;
        campaigns.push(path);
    }
    post(&rig, &format!("{}/pause", campaigns[1]), json!({})).await;
    until("its targets are held", async || {
        rig.get(&campaigns[1]).await["counts"]["held"] == DEVICES
    })
    .await;
    let before = rig.get(&format!("/v1/tenants/{TENANT}")).await;

    // when it moves to Redis, to a Redis with other shards, and back to a folder
    let server = RedisServer::start(&[]);
    let other = RedisServer::start(&[]);
    let (first, second) = [&server, &other]
        .map(|server| format!("redis://127.0.0.1:{}/0", server.port))
        .into();
    let (code, _, said) = copy(shown(&folder), &first, &[]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("is used by a broker"), "{said}");
    rig.signal("-TERM");
    rig.ended().await;

    let to_redis = copied(shown(&folder), &first, &[]).await;
    let (code, _, said) = copy(shown(&folder), &first, &[]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("has a tenant contoso already"), "{said}");
    let to_other = copied(&first, &second, &["--shards", "8"]).await;
    let back = rig.dir.path().join("back");
    let to_folder = copied(&second, shown(&back), &[]).await;

    // then each is what the one before it was
    let sums = &to_redis["tenants"][TENANT];
    assert_eq!(sums["devices"], DEVICES);
    assert_eq!(sums["pushes_open"], DEVICES);
    assert_eq!(sums["asks_open"], DEVICES * 2 + 50);
    assert_eq!(sums["campaigns"], 2);
    assert!(
        sums["events"].as_u64().unwrap() >= u64::from(DEVICES),
        "{sums}"
    );
    assert_eq!(to_redis, to_other);
    assert_eq!(to_redis, to_folder);

    // and a broker on the first copy knows everything, and sends what was open
    on_redis(&mut rig, &server);
    rig.start().await;
    let after = rig.get(&format!("/v1/tenants/{TENANT}")).await;
    assert_eq!(before["devices"], after["devices"]);
    assert_eq!(before["pushes"], after["pushes"]);
    assert_eq!(rig.sandbox.ledger().requests, 0, "the app is still paused");
    assert_eq!(rig.get(&campaigns[1]).await["state"], "paused");
    post(&rig, &format!("/v1/apps/{TENANT}/resume"), json!({})).await;
    until("the running campaign is finished", async || {
        // A machine that is busy may make the broker answer 503 for a moment.
        let answer = rig.http.get(rig.url(&campaigns[0])).send().await.unwrap();
        let campaign: Value = answer.json().await.unwrap();
        campaign["state"] == "finished"
    })
    .await;
    let counts = rig.get(&campaigns[0]).await["counts"].clone();
    let closed = |reason| counts[reason].as_u64().unwrap_or(0);
    // Some devices check in before the broker that has woken them can note it.
    let woken = closed("accepted") + closed("checked_in");
    assert_eq!(woken, u64::from(DEVICES), "{counts}");
    assert_eq!(rig.sandbox.ledger().devices.accepted, u64::from(DEVICES));
    assert_eq!(rig.get(&campaigns[1]).await["counts"]["held"], DEVICES);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_copied_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("nothing");
    let empty = RedisServer::start(&[]);
    let url = format!("redis://127.0.0.1:{}/0", empty.port);
    let gone = "redis://127.0.0.1:1/0";

    let cases = [
        (shown(&missing), url.as_str(), 2, "there is no folder"),
        (&url, &url, 2, "are the same store"),
        (&url, shown(&missing), 1, "the source is empty"),
        ("http://example", &url, 2, "a store is a folder, a URL"),
        (gone, &url, 1, "cannot open the store"),
    ];
    for (from, to, exit, wanted) in cases {
        let (code, _, said) = copy(from, to, &[]).await;
        assert_eq!(code, Some(exit), "{said}");
        assert!(said.contains(wanted), "{said}");
    }
}
