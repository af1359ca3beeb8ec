//! End to end: API → store → claim → TLS POST → settle → metrics, against nginx as WNS, beside h2load and the npm package
//! `wns` in the same run, or one to four brokers over a Redis beside one on the embedded store. CPU per push as ratios; these
//! machines are noisy, ratios hold.
//!
//! `cargo bench --bench end_to_end -- --devices 100000` (needs nginx and h2load; `--npm` also node and npm; `--redis` instead of
//! both needs redis-server).

#![allow(clippy::disallowed_methods, reason = "a benchmark lives in real time")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on ends")]

mod fleet;
mod latency;
mod peers;
#[path = "../../tests/support/redis_server.rs"]
#[expect(dead_code, reason = "shared with the tests")]
mod redis_server;
mod shared;
mod sink;
mod slow_wns;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use clap::Parser;

use crate::{peers::Cost, redis_server::RedisServer, sink::Sink};

/// CPU that runs the program under test; the sink has the other.
const CLIENT_CPU: &str = "0";
const SINK_CPU: &str = "1";
/// Faster than any machine: the pace is not what is measured.
const PACE_MAX: u32 = 1_000_000;
/// A Redis that keeps what it acknowledges.
const DURABLE: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "everysec"];
/// The kernel's clock ticks a second in `/proc/<pid>/stat`.
const TICKS_PER_SECOND: f64 = 100.0;

#[derive(Clone, Parser)]
struct Options {
    /// Devices, each pushed once.
    #[arg(long, default_value_t = 100_000)]
    devices: usize,
    /// Speak HTTP/2 to the sink; otherwise HTTP/1.1.
    #[arg(long)]
    http2: bool,
    /// Measure the npm package `wns` as well.
    #[arg(long)]
    npm: bool,
    /// Rounds; medians are printed.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Requests in flight at most, for all alike: more connections cost more on either side, and a sink without latency needs few.
    #[arg(long, default_value_t = 32)]
    in_flight: usize,
    /// Measure instead how a fleet of so many devices is taken in, what it weighs, and how long a restart takes.
    #[arg(long)]
    fleet: Option<usize>,
    /// Measure instead how long urgent pushes take, and what a slow WNS costs in throughput; with `--redis`, how long idle brokers take.
    #[arg(long)]
    latency: bool,
    /// Measure instead what brokers that share a Redis cost, beside one on the embedded store.
    #[arg(long)]
    redis: bool,
    /// The program to measure; another build of it can be compared.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_reveille"))]
    broker: PathBuf,
    /// Passed by cargo; ignored.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let options = Options::parse();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    runtime.block_on(run(&options));
}

async fn run(options: &Options) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    if options.latency {
        return latency::measure(options, dir.path()).await;
    }
    let sink = Sink::start(dir.path(), options.http2).await;
    if let Some(devices) = options.fleet {
        return fleet::measure(options, &sink, dir.path(), devices).await;
    }
    if options.redis {
        return shared::measure(options, &sink, dir.path()).await;
    }
    let (mut broker, mut h2load, mut npm) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=options.rounds {
        h2load.push(peers::h2load(&sink, options.devices, options.http2));
        broker.push(one_broker(&sink, dir.path(), round, options).await);
        if options.npm {
            npm.push(peers::npm_wns(&sink, options.devices.min(20_000)));
        }
    }
    let reference = median(&h2load);
    let ours = median(&broker);
    println!("\n| program | CPU µs a push | pushes/s | CPU / h2load's |");
    println!("|---|---|---|---|");
    println!(
        "| h2load | {:.1} | {:.0} | 1 |",
        reference.cpu_us, reference.per_second
    );
    println!(
        "| reveille | {:.1} | {:.0} | {:.2} |",
        ours.cpu_us,
        ours.per_second,
        ours.cpu_us / reference.cpu_us
    );
    if options.npm {
        let npm = median(&npm);
        println!(
            "| npm wns | {:.1} | {:.0} | {:.2} |",
            npm.cpu_us,
            npm.per_second,
            npm.cpu_us / reference.cpu_us
        );
        println!(
            "\nreveille does {:.1} x the pushes per CPU second of npm wns",
            npm.cpu_us / ours.cpu_us
        );
    }
}

fn median(costs: &[Cost]) -> Cost {
    let middle = |pick: fn(&Cost) -> f64| {
        let mut values: Vec<f64> = costs.iter().map(pick).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Cost {
        cpu_us: middle(|c| c.cpu_us),
        per_second: middle(|c| c.per_second),
    }
}

/// A broker process on a fresh store, killed when dropped.
struct Broker {
    process: Child,
    url: String,
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// What a broker is started with.
struct Setup<'a> {
    /// Where its files are.
    dir: &'a Path,
    /// The lines of `[store]`.
    store: String,
    /// Requests a second.
    pace: u32,
}

impl<'a> Setup<'a> {
    /// On a store of its own in `dir`.
    fn embedded(dir: &'a Path, pace: u32) -> Self {
        let store = format!("path = \"{}\"", dir.join("data").display());
        Self { dir, store, pace }
    }

    /// Over a server.
    fn on_redis(dir: &'a Path, server: &RedisServer) -> Self {
        let url = format!("redis://127.0.0.1:{}/0", server.port);
        Self {
            dir,
            store: format!("kind = \"redis\"\nurl = \"{url}\""),
            pace: PACE_MAX,
        }
    }
}

impl Broker {
    /// Starts one on the CPU of clients, with a WNS on the other: its port and certificate.
    async fn start(options: &Options, wns: (u16, &Path), setup: &Setup<'_>) -> Self {
        let port = free_port();
        let config = setup.dir.join(format!("reveille-{port}.toml"));
        let log = setup.dir.join(format!("broker-{port}.log"));
        fs::write(&config, configuration(wns, setup, port, options.in_flight))
            .expect("the configuration is written");
        let process = Command::new("taskset")
            .args(["-c", CLIENT_CPU])
            .arg(&options.broker)
            .args(["serve", "--config"])
            .arg(&config)
            .env("BENCH_SECRET", "secret")
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).expect("a log file"))
            .spawn()
            .expect("the broker starts");
        let broker = Self {
            process,
            url: format!("http://127.0.0.1:{port}"),
        };
        for _ in 0..600 {
            let ready = reqwest::get(format!("{}/readyz", broker.url)).await;
            if ready.is_ok_and(|r| r.status().is_success()) {
                return broker;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the broker did not become ready: see {}", log.display());
    }

    /// CPU seconds used so far, user and system.
    fn cpu_seconds(&self) -> f64 {
        let stat =
            fs::read_to_string(format!("/proc/{}/stat", self.process.id())).expect("it runs");
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap_or("")
            .split_whitespace()
            .collect();
        let ticks = |at: usize| fields[at].parse::<f64>().expect("ticks");
        (ticks(11) + ticks(12)) / TICKS_PER_SECOND
    }

    fn resident_mb(&self) -> f64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("it runs");
        let line = status
            .lines()
            .find(|l| l.starts_with("VmRSS:"))
            .unwrap_or("VmRSS: 0 kB");
        line.split_whitespace()
            .nth(1)
            .and_then(|kb| kb.parse::<f64>().ok())
            .unwrap_or(0.0)
            / 1024.0
    }

    async fn post(&self, path: &str, body: String) -> serde_json::Value {
        let client = reqwest::Client::new();
        loop {
            let request = client.post(format!("{}{path}", self.url));
            let answer = request
                .header("content-type", "application/x-ndjson")
                .body(body.clone())
                .send()
                .await;
            let answer = answer.expect("the broker answers");
            // A crowded machine may let a server of its own be too slow for a moment; repeating is harmless.
            if answer.status() == reqwest::StatusCode::SERVICE_UNAVAILABLE {
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
            assert!(answer.status().is_success(), "{path}: {}", answer.status());
            return answer.json().await.expect("the answer is JSON");
        }
    }

    async fn accepted(&self) -> u64 {
        let metrics = reqwest::get(format!("{}/metrics", self.url))
            .await
            .expect("metrics");
        let text = metrics.text().await.expect("metrics are text");
        let line = text.lines().find(|l| {
            l.starts_with("reveille_asks_closed_total{") && l.contains("reason=\"accepted\"")
        });
        let value = line
            .and_then(|l| l.rsplit(' ').next())
            .and_then(|v| v.parse::<f64>().ok());
        value.map_or(0, |v| v as u64)
    }
}

fn configuration(
    (wns_port, ca): (u16, &Path),
    setup: &Setup<'_>,
    port: u16,
    in_flight: usize,
) -> String {
    let ca = ca.display();
    let (store, pace) = (&setup.store, setup.pace);
    format!(
        r#"
[server]
listen = "127.0.0.1:{port}"
[store]
{store}
[wns]
sandbox_hosts = ["localhost:{wns_port}"]
ca_file = "{ca}"
[limits]
in_flight_max = {in_flight}
in_flight_host_percent = 100
[log]
level = "warn"
[[apps]]
id = "bench"
pfn = "52314publisher.testwns_t6e9vsyjkrw9w"
package_sid = "ms-app://S-1-15-2-3928704574-477015729-2320265743-508859788-3584887706-656216416-1642263338"
secret_env = "BENCH_SECRET"
token_url = "https://localhost:{wns_port}/accesstoken.srf"
[apps.pace]
start_per_second = {pace}
ceiling_per_second = {pace}
"#
    )
}

async fn one_broker(sink: &Sink, dir: &Path, round: usize, options: &Options) -> Cost {
    let dir: PathBuf = dir.join(format!("round{round}"));
    fs::create_dir(&dir).expect("a folder");
    let broker = [Broker::start(options, sink.address(), &Setup::embedded(&dir, PACE_MAX)).await];
    register(&broker[0], sink, options.devices).await;
    let cost = push(&broker, options.devices).await;
    eprintln!(
        "round {round}: {:.1} µs a push, {:.0}/s, {:.0} MB resident",
        cost.cpu_us,
        cost.per_second,
        broker[0].resident_mb()
    );
    cost
}

/// Registers every device.
async fn register(broker: &Broker, sink: &Sink, devices: usize) {
    let line = |n| {
        let uri = sink.channel(n);
        format!("{{\"device\":\"device-{n:07}\",\"uri\":\"{uri}\"}}\n")
    };
    let lines = (0..devices).map(line).collect();
    broker.post("/v1/tenants/bench/channels", lines).await;
}

/// Pushes every device once, through the first of the brokers that share a store; the cost is that of all brokers.
async fn push(brokers: &[Broker], devices: usize) -> Cost {
    let line = |n| format!("{{\"device\":\"device-{n:07}\"}}\n");
    let lines = (0..devices).map(line).collect();
    let cpu_seconds = || brokers.iter().map(Broker::cpu_seconds).sum::<f64>();
    let (cpu, began) = (cpu_seconds(), tokio::time::Instant::now());
    brokers[0]
        .post("/v1/tenants/bench/pushes?priority=bulk", lines)
        .await;
    loop {
        let mut accepted = 0;
        for broker in brokers {
            accepted += broker.accepted().await;
        }
        if accepted >= devices as u64 {
            break;
        }
        let stuck = began.elapsed() > Duration::from_secs(300);
        assert!(!stuck, "pushes are stuck: {accepted} of {devices}");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let (cpu, wall) = (cpu_seconds() - cpu, began.elapsed().as_secs_f64());
    let pushes = devices as f64;
    Cost {
        cpu_us: cpu / pushes * 1e6,
        per_second: pushes / wall,
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}
