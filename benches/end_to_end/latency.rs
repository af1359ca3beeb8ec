//! Time instead of CPU: from the 202 of an urgent push to its POST, idle and beside bulk, and what WNS's own latency costs in
//! throughput.

use std::{path::Path, time::Duration};

use tokio::time::{Instant, sleep};

use crate::{
    Broker, DURABLE, Options, PACE_MAX, Setup, redis_server::RedisServer, slow_wns::SlowWns,
};

/// What a round trip to WNS takes from a good network.
const ROUND_TRIP: Duration = Duration::from_millis(50);
/// In flight at most while WNS is slow: a round trip's worth of what a core can send.
const IN_FLIGHT: usize = 1_000;
/// Urgent pushes, one after the other, and the time between them.
const URGENT: usize = 300;
const GAP: Duration = Duration::from_millis(10);
/// Longest time for anything.
const PATIENCE: Duration = Duration::from_secs(120);

/// Prints the percentiles and the rates.
pub(crate) async fn measure(options: &Options, dir: &Path) {
    println!("| from the 202 of an urgent push to its POST | p50 | p99 |\n|---|---|---|");
    if options.redis {
        return idle_on_redis(options, dir).await;
    }
    let wns = SlowWns::start(dir, ROUND_TRIP).await;
    let broker = start(options, dir, &wns, "urgent").await;
    prepare(&broker, &wns).await;
    row("idle", urgent(&broker, &wns, 5..URGENT).await);
    // Long enough for all urgent ones.
    let bulk = options.devices * 3;
    register(&broker, &wns, "bulk", bulk).await;
    push(&broker, "bulk", "bulk", 0..bulk).await;
    row(
        "beside bulk",
        urgent(&broker, &wns, URGENT..URGENT * 2).await,
    );
    let left = bulk + URGENT * 2 - wns.count();
    assert!(left > 0, "the bulk run ended too soon: take more --devices");
    drop(broker);

    let bulk = options.devices;
    println!("\n| WNS answers after | pushes/s |\n|---|---|");
    for delay in [Duration::ZERO, ROUND_TRIP] {
        let wns = SlowWns::start(dir, delay).await;
        let name = format!("rate-{}ms", delay.as_millis());
        let broker = start(options, dir, &wns, &name).await;
        register(&broker, &wns, "bulk", bulk).await;
        let began = Instant::now();
        push(&broker, "bulk", "bulk", 0..bulk).await;
        wait_until(|| wns.count() == bulk).await;
        let rate = bulk as f64 / began.elapsed().as_secs_f64();
        println!("| {} ms | {rate:.0} |", delay.as_millis());
    }
}

/// One broker, and then one of two: what the other one opens, this one hears of through Redis.
async fn idle_on_redis(options: &Options, dir: &Path) {
    for brokers in [1, 2] {
        let server = RedisServer::start(&DURABLE);
        let wns = SlowWns::start(dir, ROUND_TRIP).await;
        let setup = Setup::on_redis(dir, &server);
        let mut started = Vec::new();
        for _ in 0..brokers {
            started.push(begin(options, &wns, &setup).await);
        }
        prepare(&started[0], &wns).await;
        let row_name = format!("idle, of {brokers} over one Redis");
        row(&row_name, urgent(&started[0], &wns, 5..URGENT).await);
    }
}

/// Registers what is pushed urgently; the first ones open a connection and fetch the token.
async fn prepare(broker: &Broker, wns: &SlowWns) {
    register(broker, wns, "urgent", URGENT * 2).await;
    urgent(broker, wns, 0..5).await;
}

async fn start(options: &Options, dir: &Path, wns: &SlowWns, name: &str) -> Broker {
    let dir = dir.join(name);
    std::fs::create_dir(&dir).expect("a folder");
    begin(options, wns, &Setup::embedded(&dir, PACE_MAX)).await
}

async fn begin(options: &Options, wns: &SlowWns, setup: &Setup<'_>) -> Broker {
    let options = Options {
        in_flight: IN_FLIGHT,
        ..options.clone()
    };
    Broker::start(&options, wns.address(), setup).await
}

async fn register(broker: &Broker, wns: &SlowWns, name: &str, count: usize) {
    let line = |n| {
        let device = format!("{name}-{n}");
        let uri = wns.channel(&device);
        format!("{{\"device\":\"{device}\",\"uri\":\"{uri}\"}}\n")
    };
    let lines = (0..count).map(line).collect();
    broker.post("/v1/tenants/bench/channels", lines).await;
}

async fn push(broker: &Broker, name: &str, priority: &str, numbers: std::ops::Range<usize>) {
    let line = |n| format!("{{\"device\":\"{name}-{n}\"}}\n");
    let path = format!("/v1/tenants/bench/pushes?priority={priority}");
    broker.post(&path, numbers.map(line).collect()).await;
}

/// Pushes one device after the other; the delays in order of size. A POST may be ahead of the 202 on its way here: that is 0.
async fn urgent(broker: &Broker, wns: &SlowWns, numbers: std::ops::Range<usize>) -> Vec<Duration> {
    let mut delays = Vec::with_capacity(numbers.len());
    for n in numbers {
        push(broker, "urgent", "urgent", n..n + 1).await;
        let answered = Instant::now();
        let name = format!("urgent-{n}");
        wait_until(|| wns.arrival(&name).is_some()).await;
        let came = wns.arrival(&name).expect("it has just been there");
        delays.push(came.saturating_duration_since(answered));
        sleep(GAP).await;
    }
    delays.sort_unstable();
    delays
}

async fn wait_until(mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < PATIENCE, "pushes are stuck");
        sleep(Duration::from_millis(1)).await;
    }
}

fn row(when: &str, delays: Vec<Duration>) {
    let at = |percent: usize| delays[(delays.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    println!("| {when} | {:.1} ms | {:.1} ms |", at(50), at(99));
}
