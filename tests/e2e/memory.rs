//! What a broker needs for a campaign does not grow with its targets: they are listed, counted and reported as streams.

use serde_json::json;

use crate::{
    redis_server::RedisServer,
    rig::{Rig, TENANT, redis, silent, until},
};

/// Length of the devices' ids: the longest there may be, so that keeping them would show.
const ID_BYTES: usize = 128;
const FEW: u64 = 20_000;
const MANY: u64 = 200_000;

/// The most memory that the broker has had, in bytes.
fn peak(rig: &Rig) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", rig.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.unwrap().trim().strip_suffix(" kB").unwrap();
    kib.parse::<u64>().unwrap() * 1024
}

/// Lists targets, asks what they would come to, starts, and takes the whole report.
async fn campaign(rig: &Rig, targets: u64) {
    let all = format!("/v1/tenants/{TENANT}/campaigns");
    let definition = json!({ "name": "many", "goal": "check_in", "pace": { "per_second": 20 } });
    let made = rig.post(&all, definition).await;
    let one = format!("{all}/{}", made["id"].as_str().unwrap());
    let line = |n| format!("{{\"device\":\"{n:0width$}\"}}", width = ID_BYTES);
    let path = format!("{one}/targets?register_unknown=true");
    let (_, added) = rig
        .post_pieces(&path, (0..targets).map(line), "added")
        .await;
    assert_eq!(added, targets);

    let run = rig.post(&format!("{one}/dry-run"), json!({})).await;
    assert_eq!(run["targets"], targets);
    rig.post(&format!("{one}/start"), json!({})).await;
    until("targets are released", async || {
        rig.get(&one).await["counts"]["blocked"].as_u64() > Some(20)
    })
    .await;
    let report = rig.url(&format!("{one}/targets?format=csv"));
    let mut report = rig.http.get(report).send().await.unwrap();
    let mut lines = 0;
    while let Some(piece) = report.chunk().await.unwrap() {
        lines += piece.iter().filter(|byte| **byte == b'\n').count() as u64;
    }
    assert_eq!(lines, targets + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_times_the_targets_need_no_more_memory() {
    // The store is another process, so what the broker has is its own.
    let server = RedisServer::start(&[]);
    let mut rig = Rig::new(1, silent());
    rig.store = redis(server.port);
    rig.start().await;

    campaign(&rig, FEW).await;
    let few = peak(&rig);
    campaign(&rig, MANY).await;
    let many = peak(&rig);

    let kept = (MANY - FEW) * ID_BYTES as u64;
    let grown = many - few;
    assert!(
        grown < kept / 2,
        "{grown} bytes more than {few}; the ids alone have {kept}"
    );
}
