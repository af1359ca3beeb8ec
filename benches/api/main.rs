//! How fast the message API takes a fleet in: channels and pushes as NDJSON over one connection, into a broker process with
//! the embedded store, beside the same use cases without HTTP and JSON in this process.
//!
//! ```text
//! cargo bench --bench api -- --devices 1000000
//! ```
//! CPU is that of the broker alone; the ratio of the two rows says what the API costs.

mod broker;
mod floor;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Options {
    /// Devices, each registered once and pushed once.
    #[arg(long, default_value_t = 1_000_000)]
    devices: usize,
    /// Passed by cargo; ignored.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What one step cost.
struct Cost {
    seconds: f64,
    cpu_seconds: f64,
    resident_mb: f64,
}

fn main() {
    let options = Options::parse();
    println!("| step | lines/s | CPU µs a line | resident MB |");
    println!("|---|---|---|---|");
    let floor = floor::measure(options.devices);
    print("channels, use case alone", options.devices, &floor[0]);
    print("pushes, use case alone", options.devices, &floor[1]);
    let broker = broker::Broker::start();
    let channels = broker.post("/v1/tenants/bench/channels", options.devices, channel_line);
    print("channels over the API", options.devices, &channels);
    let path = "/v1/tenants/bench/pushes?priority=bulk&goal=check_in";
    let pushes = broker.post(path, options.devices, push_line);
    print("pushes over the API", options.devices, &pushes);
    let ratio = |api: &Cost, alone: &Cost| api.cpu_seconds / alone.cpu_seconds;
    println!(
        "\nCPU of the API over the use case alone: channels {:.2}, pushes {:.2}",
        ratio(&channels, &floor[0]),
        ratio(&pushes, &floor[1])
    );
}

fn print(step: &str, devices: usize, cost: &Cost) {
    let devices = devices as f64;
    println!(
        "| {step} | {:.0} | {:.1} | {:.0} |",
        devices / cost.seconds,
        cost.cpu_seconds / devices * 1e6,
        cost.resident_mb
    );
}

/// A channel URI of the usual length, the same for a device in every run.
fn uri(device: usize) -> String {
    let token = device.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    format!(
        "https://wns2-pn1p.notify.windows.com/?token={}{token:016x}{}",
        "AwYAAAB2lVGnbXkO0u1J".repeat(4),
        "c2VjcmV0LXNlY3JldC1zZWNyZXQ%3d".repeat(3)
    )
}

fn name(device: usize) -> String {
    format!("device-{device:08}")
}

fn channel_line(device: usize) -> String {
    format!(
        "{{\"device\":\"{}\",\"uri\":\"{}\"}}\n",
        name(device),
        uri(device)
    )
}

fn push_line(device: usize) -> String {
    format!("{{\"device\":\"{}\"}}\n", name(device))
}

/// CPU seconds of a process so far, user and system, and its resident memory in MB.
fn usage(process: &str) -> (f64, f64) {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{process}/{file}"));
    let stat = read("stat").expect("the process runs");
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or("")
        .split_whitespace()
        .collect();
    let ticks = |at: usize| fields[at].parse::<f64>().expect("ticks");
    let status = read("status").expect("the process runs");
    let line = status.lines().find(|l| l.starts_with("VmRSS:"));
    let kilobytes = line.and_then(|l| l.split_whitespace().nth(1)?.parse::<f64>().ok());
    // The kernel counts a hundred ticks a second.
    (
        (ticks(11) + ticks(12)) / 100.0,
        kilobytes.unwrap_or(0.0) / 1024.0,
    )
}
