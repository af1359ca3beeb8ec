//! A million devices in one broker: how fast they are registered and their pushes opened, what they weigh, and how long a
//! broker that was killed takes until it serves again.

use std::path::Path;

use tokio::time::Instant;

use crate::{Broker, Options, Setup, sink::Sink};

/// Lines in one request.
const PIECE_LINES: usize = 100_000;
/// So slow that hardly a push leaves while they are opened.
const PACE: u32 = 1;

/// Prints a table of rates, memory and times.
pub(crate) async fn measure(options: &Options, sink: &Sink, dir: &Path, devices: usize) {
    let setup = Setup::embedded(dir, PACE);
    let broker = Broker::start(options, sink.address(), &setup).await;
    let channels = pieces(devices, |n| {
        let uri = sink.channel(n);
        format!("{{\"device\":\"device-{n:07}\",\"uri\":\"{uri}\"}}\n")
    });
    let register = timed(&broker, "channels", channels, devices).await;
    let registered = broker.resident_mb();
    let pushes = pieces(devices, |n| format!("{{\"device\":\"device-{n:07}\"}}\n"));
    let open = timed(&broker, "pushes?priority=bulk", pushes, devices).await;
    let opened = broker.resident_mb();
    // Dropping it is a kill -9.
    drop(broker);
    let began = Instant::now();
    let broker = Broker::start(options, sink.address(), &setup).await;
    let ready = began.elapsed();
    println!("\n| {devices} devices | |\n|---|---|");
    println!("| registered | {register:.0}/s, {registered:.0} MB resident |");
    println!("| pushes opened | {open:.0}/s, {opened:.0} MB resident |");
    println!(
        "| killed and started again | ready after {:.1} s, {:.0} MB resident |",
        ready.as_secs_f64(),
        broker.resident_mb()
    );
}

/// The bodies of the requests, made before anything is measured.
fn pieces(devices: usize, line: impl Fn(usize) -> String) -> Vec<String> {
    let piece = |from: usize| (from..devices.min(from + PIECE_LINES)).map(&line).collect();
    (0..devices).step_by(PIECE_LINES).map(piece).collect()
}

async fn timed(broker: &Broker, path: &str, pieces: Vec<String>, devices: usize) -> f64 {
    let began = Instant::now();
    for piece in pieces {
        let report = broker
            .post(&format!("/v1/tenants/bench/{path}"), piece)
            .await;
        assert_eq!(report["refused"], 0, "{path}: {report}");
    }
    devices as f64 / began.elapsed().as_secs_f64()
}
