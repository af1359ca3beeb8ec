//! What the embedded store's real operations cost, and what the same reads and writes would cost on other engines.
//!
//! ```text
//! cargo bench --bench store                          the operations through the ports, 1,000,000 devices
//! cargo bench --bench store -- --engine fjall        the same reads and durable writes on fjall (or redb)
//! options: --devices N  --batch N  --callers N  --folder PATH
//! ```
//! Wall time and CPU time of the whole process, background threads included, per device. Run one at a time.

mod engines;
mod operations;

use std::{path::PathBuf, time::Duration};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What is measured.
#[derive(Clone, Debug)]
struct Plan {
    engine: String,
    devices: u32,
    batch: usize,
    callers: u32,
    folder: Option<PathBuf>,
}

fn main() {
    let mut plan = Plan {
        engine: "ports".to_owned(),
        devices: 1_000_000,
        batch: 256,
        callers: 8,
        folder: None,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().expect("a value for the option");
        match word.as_str() {
            "--engine" => plan.engine = value(),
            "--devices" => plan.devices = value().parse().expect("a number of devices"),
            "--batch" => plan.batch = value().parse().expect("a number of items"),
            "--callers" => plan.callers = value().parse().expect("a number of callers"),
            "--folder" => plan.folder = Some(value().into()),
            "--bench" => {}
            other => panic!("unknown option {other}"),
        }
    }
    let temporary = match &plan.folder {
        Some(parent) => tempfile::tempdir_in(parent),
        None => tempfile::tempdir(),
    };
    let temporary = temporary.expect("a temporary folder");
    println!("{plan:?}");
    println!("| step | wall µs | cpu µs | per second | RSS MiB |");
    println!("|---|---|---|---|---|");
    match plan.engine.as_str() {
        "ports" => operations::measure(&plan, temporary.path()),
        "fjall" => engines::measure(&plan, &mut engines::Fjall::open(temporary.path())),
        "redb" => engines::measure(&plan, &mut engines::Redb::open(temporary.path())),
        other => panic!("unknown engine {other}"),
    }
}

/// Runs a step and prints its line.
fn step<T>(name: &str, count: u32, work: impl FnOnce() -> T) -> T {
    let (wall, cpu) = (now(), cpu_time());
    let done = work();
    let (wall, cpu) = (now() - wall, cpu_time() - cpu);
    let each = |span: Duration| span.as_secs_f64() * 1e6 / f64::from(count);
    let rate = f64::from(count) / wall.as_secs_f64();
    let (wall, cpu, rss) = (each(wall), each(cpu), rss_mib());
    println!("| {name} | {wall:.2} | {cpu:.2} | {rate:.0} | {rss} |");
    done
}

/// Time since some begin, by the monotonic clock.
fn now() -> Duration {
    rustix::time::clock_gettime(rustix::time::ClockId::Monotonic)
        .try_into()
        .expect("monotonic time is positive")
}

/// User and system time of the process.
fn cpu_time() -> Duration {
    rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime)
        .try_into()
        .expect("CPU time is positive")
}

fn rss_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|l| l.starts_with("VmRSS"));
    let kib = line.and_then(|l| l.split_whitespace().nth(1));
    kib.and_then(|n| n.parse::<u64>().ok()).expect("a number") / 1024
}

/// A random order of all devices: the same in each run.
fn shuffled(devices: u32, seed: u64) -> Vec<u32> {
    let mut order: Vec<u32> = (0..devices).collect();
    let mut state = seed | 1;
    for place in (1..order.len()).rev() {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let other = (state >> 33) % (place as u64 + 1);
        order.swap(place, other as usize);
    }
    order
}

/// A device id of 36 bytes, as most consoles use.
fn device_name(n: u32) -> String {
    let hash = u64::from(n).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    format!(
        "{n:08x}-{:04x}-4000-8000-{:012x}",
        hash >> 48,
        hash & 0xFFFF_FFFF_FFFF
    )
}

/// A record as the broker writes it: a channel with a URI of 230 bytes, with or without an open push.
fn record(n: u32, open: bool) -> String {
    let token = device_name(n).repeat(5);
    let uri = format!("https://db5p.notify.windows.com/w/?token={}", &token[..180]);
    let channel = format!("1|\nc|1|l|1790000000000|1790000000000|{uri}");
    if !open {
        return channel;
    }
    let push = "\np|1790000000000|0|0|0|1790000000000";
    let ask = "\nk|d|n|a|1790000000000|1790086400000|w|0|0|renew certificate";
    format!("{channel}{push}{ask}")
}
