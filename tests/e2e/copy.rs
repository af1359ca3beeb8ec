//! A fleet moves from one store to another, and a broker on the copy goes on where the last one ended.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::{
    redis_server::RedisServer,
    rig::{Rig, TENANT, folder, redis, silent, until},
};

const DEVICES: u32 = 120;
/// Exit code where a store did not answer.
const UNAVAILABLE: i32 = 4;
/// Devices that somebody has asked for beside the campaigns.
const ASKED: usize = 50;

/// Where a fleet is.
pub(crate) struct Place {
    /// As `reveille store copy` takes it.
    pub(crate) name: String,
    /// As `[store]` has it.
    pub(crate) store: String,
}

fn in_redis(server: &RedisServer) -> Place {
    Place {
        name: format!("redis://127.0.0.1:{}/0", server.port),
        store: redis(server.port),
    }
}

pub(crate) fn in_folder(rig: &Rig, name: &str) -> Place {
    let path = rig.dir.path().join(name);
    Place {
        name: path.to_str().unwrap().to_owned(),
        store: folder(&path),
    }
}

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

/// Copies what no broker works with any more, once more where a store was too slow; gives the sums.
pub(crate) async fn copied(from: &Place, to: &Place, more: &[&str]) -> Value {
    let mut sums = Value::Null;
    until("the lease of the broker has ended", async || {
        let (code, out, err) = copy(&from.name, &to.name, &[&["--json"], more].concat()).await;
        if code == Some(UNAVAILABLE) || err.contains("is used by a broker") {
            return false;
        }
        assert_eq!(code, Some(0), "{err}");
        sums = serde_json::from_str(&out).unwrap();
        true
    })
    .await;
    sums
}

fn devices(rig: &Rig) -> Vec<String> {
    let channels = rig.sandbox.channels(TENANT);
    channels.map(|(device, _)| device.to_string()).collect()
}

/// What a console sees of a fleet.
#[derive(Debug, PartialEq)]
struct Seen {
    tenant: Value,
    devices: Vec<Value>,
    campaigns: Vec<Value>,
}

async fn seen(rig: &Rig, campaigns: &[String; 2]) -> Seen {
    let of = |what: &str| format!("/v1/tenants/{TENANT}{what}");
    let mut seen = Seen {
        tenant: rig.get(&of("")).await,
        devices: Vec::new(),
        campaigns: Vec::new(),
    };
    for device in devices(rig) {
        seen.devices
            .push(rig.get(&of(&format!("/devices/{device}"))).await);
    }
    for campaign in campaigns {
        seen.campaigns
            .push(rig.get(campaign).await["counts"].clone());
    }
    seen
}

/// Pushes that cannot go out, a campaign that runs and one that is paused. Gives the paths of the campaigns.
async fn open_work(rig: &Rig) -> [String; 2] {
    rig.register_all().await;
    let pause = format!("/v1/apps/{TENANT}/pause");
    rig.post(&pause, json!({})).await;
    let wish = json!({ "devices": devices(rig)[..ASKED], "reason": "before the move" });
    rig.post(&format!("/v1/tenants/{TENANT}/pushes"), wish)
        .await;
    let mut paths = Vec::new();
    for name in ["runs", "stands"] {
        let all = json!({ "name": name, "targets": "all", "goal": "accepted" });
        let path = format!("/v1/tenants/{TENANT}/campaigns");
        let made = rig.post(&path, all).await;
        let path = format!("{path}/{}", made["id"].as_str().unwrap());
        rig.post(&format!("{path}/start"), json!({})).await;
        until("its targets are open", async || {
            rig.get(&path).await["counts"]["open"] == DEVICES
        })
        .await;
        paths.push(path);
    }
    rig.post(&format!("{}/pause", paths[1]), json!({})).await;
    until("its targets are held", async || {
        rig.get(&paths[1]).await["counts"]["held"] == DEVICES
    })
    .await;
    paths.try_into().unwrap()
}

/// Moves a fleet with open work and lets a broker go on with the copy.
async fn moved(rig: &mut Rig, from: &Place, to: &Place) {
    // given open work in a store that a broker uses
    rig.store.clone_from(&from.store);
    rig.start().await;
    let campaigns = open_work(rig).await;
    let before = seen(rig, &campaigns).await;
    let (code, _, said) = copy(&from.name, &to.name, &[]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("is used by a broker"), "{said}");

    // when the broker stops and the fleet is copied
    rig.signal("-TERM");
    assert_eq!(rig.ended().await, Some(0));
    let sums = copied(from, to, &[]).await;
    let (code, _, said) = copy(&from.name, &to.name, &[]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("has a tenant contoso already"), "{said}");

    // then all of it has come along, and a broker goes on with it
    let sums = &sums["tenants"][TENANT];
    assert_eq!(sums["devices"], DEVICES);
    assert_eq!(sums["pushes_open"], DEVICES);
    assert_eq!(sums["asks_open"], u64::from(DEVICES) * 2 + ASKED as u64);
    assert_eq!(sums["campaigns"], 2);
    rig.store.clone_from(&to.store);
    rig.start().await;
    assert_eq!(seen(rig, &campaigns).await, before);
    assert_eq!(rig.sandbox.ledger().requests, 0, "the app is still paused");

    goes_on(rig, &campaigns).await;
}

/// What was open is sent, and credited to both campaigns: one notification serves all who have asked for the device.
async fn goes_on(rig: &Rig, campaigns: &[String; 2]) {
    rig.post(&format!("/v1/apps/{TENANT}/resume"), json!({}))
        .await;
    rig.until_all_closed().await;
    for path in campaigns {
        until("the campaign is finished", async || {
            rig.get(path).await["state"] == "finished"
        })
        .await;
        let counts = &rig.get(path).await["counts"];
        assert_eq!(counts["accepted"], DEVICES, "{counts}");
    }
    assert_eq!(rig.sandbox.ledger().devices.accepted, u64::from(DEVICES));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_moves_from_a_folder_to_redis_and_its_open_work_goes_on() {
    let server = RedisServer::start(&[]);
    let mut rig = Rig::new(DEVICES, silent());
    let from = in_folder(&rig, "data");

    moved(&mut rig, &from, &in_redis(&server)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_moves_from_redis_to_a_folder_and_its_open_work_goes_on() {
    let server = RedisServer::start(&[]);
    let mut rig = Rig::new(DEVICES, silent());
    let to = in_folder(&rig, "data");

    moved(&mut rig, &in_redis(&server), &to).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_copy_of_a_copy_is_the_same_whatever_the_number_of_shards() {
    let (first, second) = (RedisServer::start(&[]), RedisServer::start(&[]));
    let mut rig = Rig::new(DEVICES, silent());
    let (from, back) = (in_folder(&rig, "data"), in_folder(&rig, "back"));
    let (first, second) = (in_redis(&first), in_redis(&second));
    rig.start().await;
    open_work(&rig).await;
    rig.signal("-TERM");
    assert_eq!(rig.ended().await, Some(0));

    let to_redis = copied(&from, &first, &[]).await;
    let to_other = copied(&first, &second, &["--shards", "8"]).await;
    let to_folder = copied(&second, &back, &[]).await;

    assert_eq!(to_redis, to_other);
    assert_eq!(to_redis, to_folder);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_copied_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("nothing");
    let missing = missing.to_str().unwrap();
    let server = RedisServer::start(&[]);
    let url = in_redis(&server).name;
    let gone = "redis://127.0.0.1:1/0";

    let cases = [
        (missing, url.as_str(), 2, "there is no folder"),
        (&url, &url, 2, "are the same store"),
        (&url, missing, 1, "there is no store"),
        ("http://example", &url, 2, "a store is a folder, a URL"),
        (gone, &url, 1, "cannot open the store"),
    ];
    for (from, to, exit, wanted) in cases {
        let (code, _, said) = copy(from, to, &[]).await;
        assert_eq!(code, Some(exit), "{said}");
        assert!(said.contains(wanted), "{said}");
    }
}
