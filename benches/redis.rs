//! What a push costs the store: CPU of Redis and of the broker apart, over a push's whole life, beside the embedded store in the
//! same run; and what a device weighs in Redis.
//!
//! `cargo bench --bench redis -- --devices 200000` (needs redis-server). Registered, opened, claimed, settled (70 % accepted,
//! 10 % closed, 10 % dropped, 5 % throttled, 5 % gone) and checked in by the rules of the domain, with their counters, lists
//! and events, in calls of 256 devices of which 4 are in flight. Not what WNS and HTTP cost.

#![allow(clippy::disallowed_methods, reason = "a benchmark lives in real time")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on ends")]

#[path = "../tests/support/redis_server.rs"]
#[expect(dead_code, reason = "shared with the tests")]
mod redis_server;

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use clap::Parser;
use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;
use reveille::{
    adapters::{
        clock::SystemClock,
        embedded::{EmbeddedOptions, EmbeddedStore},
        redis::{Address, RedisOptions, RedisStore},
    },
    domain::{
        ask::{Class, Goal, Source},
        id::{DeviceId, DeviceKey, TenantId},
        item::{After, Before, Item, Lease, compose},
        queue::{Flow, Lane, Queue},
        record::{DeviceRecord, Revision, codec},
        schedule::Rules,
        transition::{self, AskRequest, Attempt, Step},
        wns::{
            channel_uri::ChannelUri,
            reply::{ChannelRefusal, Outcome, Trace},
            text::Text,
        },
    },
    ports::{
        Store,
        clock::Clock,
        queues::Want,
        records::{Committed, Stored, Urgency},
    },
};

use crate::redis_server::RedisServer;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The kernel's clock ticks a second in `/proc/self/stat`.
const TICKS_PER_SECOND: f64 = 100.0;
/// Most pushes of a claim.
const BATCH: usize = 256;

#[derive(Parser)]
struct Options {
    /// Devices, each pushed once.
    #[arg(long, default_value_t = 200_000)]
    devices: usize,
    /// Rounds; each is one life on Redis and one on the embedded store.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Devices of a call that registers, opens or checks in.
    #[arg(long, default_value_t = BATCH)]
    batch: usize,
    /// Calls in flight.
    #[arg(long, default_value_t = 4)]
    in_flight: usize,
    /// Shards of the store.
    #[arg(long)]
    shards: Option<usize>,
    /// Keep an append-only file, synced every second.
    #[arg(long)]
    append_only: bool,
    /// Passed by cargo; ignored.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime starts");
    runtime.block_on(run(&options));
}

async fn run(options: &Options) {
    let mut rounds = Vec::new();
    for round in 1..=options.rounds {
        let shared = with_redis(options, round == options.rounds).await;
        let alone = embedded(options).await;
        println!(
            "round {round}: redis {:.1} µs, broker {:.1} µs; embedded {:.1} µs; broker's ratio {:.2}",
            shared.0,
            shared.1,
            alone.1,
            shared.1 / alone.1
        );
        rounds.push([shared.0, shared.1, alone.1, shared.1 / alone.1]);
    }
    let names = ["redis, µs", "broker, µs", "embedded, µs", "broker's ratio"];
    println!(
        "whole life: median (least to most) of {} rounds",
        rounds.len()
    );
    for (at, name) in names.into_iter().enumerate() {
        let mut values: Vec<f64> = rounds.iter().map(|round| round[at]).collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (values[0], values[values.len() - 1]);
        println!(
            "  {name:15} {:6.2} ({least:.2} to {most:.2})",
            values[values.len() / 2]
        );
    }
}

async fn with_redis(options: &Options, last: bool) -> (f64, f64) {
    let arguments: &[&str] = match options.append_only {
        true => &["--appendonly", "yes", "--appendfsync", "everysec"],
        false => &[],
    };
    let server = RedisServer::start(arguments);
    let (host, port) = ("127.0.0.1".to_owned(), server.port);
    let mut redis = RedisOptions::at(
        Address { host, port },
        Arc::new(SystemClock),
        Arc::new(|text| eprintln!("{text}")),
    );
    redis.shards = options.shards;
    let redis: Arc<dyn Store> = RedisStore::connect(redis).await.expect("redis is opened");
    println!("redis: µs of CPU a push (redis, broker), bytes of redis a device");
    let cost = life(
        &redis,
        options,
        || server.cpu_seconds(),
        || server.used_memory(),
    )
    .await;
    drop(redis);
    if last {
        wake_latency(&server).await;
    }
    cost
}

async fn embedded(options: &Options) -> (f64, f64) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let embedded = EmbeddedOptions::new(folder.path().join("store"), Arc::new(SystemClock));
    let embedded: Arc<dyn Store> = EmbeddedStore::open(embedded).expect("the store is opened");
    println!("embedded: µs of CPU a push (none, broker)");
    life(&embedded, options, || 0.0, || 0.0).await
}

/// CPU of a phase a device, of the server and of this process, in µs.
struct Meter<'a> {
    server: &'a dyn Fn() -> f64,
    memory: &'a dyn Fn() -> f64,
    empty: f64,
    devices: f64,
    before: (f64, f64, Instant),
    sum: (f64, f64),
}

impl Meter<'_> {
    fn phase(&mut self, name: &str) {
        let (server, own) = ((self.server)(), own_cpu_seconds());
        let each = |seconds: f64| seconds / self.devices * 1e6;
        let (of_server, of_own) = (each(server - self.before.0), each(own - self.before.1));
        let rate = self.devices / self.before.2.elapsed().as_secs_f64();
        let bytes = ((self.memory)() - self.empty) / self.devices;
        println!("  {name:12} {of_server:6.2} {of_own:6.2}   {rate:8.0}/s   {bytes:4.0}");
        if name != "register" {
            self.sum = (self.sum.0 + of_server, self.sum.1 + of_own);
        }
        self.before = (server, own, now_instant());
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a measurement is about real time"
)]
fn now_instant() -> Instant {
    Instant::now()
}

fn own_cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("this is Linux");
    let after_name = stat.rsplit(") ").next().expect("a state follows the name");
    let fields: Vec<f64> = after_name
        .split(' ')
        .filter_map(|f| f.parse().ok())
        .collect();
    // The first field that is a number is the parent's id; user and system time are the 11th and 12th of these.
    (fields[10] + fields[11]) / TICKS_PER_SECOND
}

async fn life(
    store: &Arc<dyn Store>,
    options: &Options,
    server: impl Fn() -> f64,
    memory: impl Fn() -> f64,
) -> (f64, f64) {
    let mut meter = Meter {
        server: &server,
        memory: &memory,
        empty: memory(),
        devices: options.devices as f64,
        before: (server(), own_cpu_seconds(), now_instant()),
        sum: (0.0, 0.0),
    };
    let parts: Vec<Vec<usize>> = (0..options.devices)
        .collect::<Vec<_>>()
        .chunks(options.batch)
        .map(<[usize]>::to_vec)
        .collect();
    each(options, &parts, |part| async move {
        let items = part.iter().map(|n| {
            change(&key(*n), None, None, &|step, record| {
                register(step, record, *n)
            })
        });
        commit(store, items.collect(), Urgency::Open).await;
    })
    .await;
    meter.phase("register");
    each(options, &parts, |part| {
        edit(store, part, Urgency::Open, &open)
    })
    .await;
    meter.phase("read+open");
    let rounds: Vec<Vec<usize>> = vec![Vec::new(); options.in_flight];
    each(options, &rounds, |_| settle_all(store)).await;
    meter.phase("claim+settle");
    let woken: Vec<Vec<usize>> = parts
        .iter()
        .map(|part| part.iter().copied().filter(|n| n % 100 < 70).collect())
        .collect();
    each(options, &woken, |part| {
        edit(store, part, Urgency::Settle, &check_in)
    })
    .await;
    meter.phase("check-in");
    println!("  {:12} {:6.2} {:6.2}", "life", meter.sum.0, meter.sum.1);
    meter.sum
}

async fn each<'a, F: Future<Output = ()>>(
    options: &Options,
    parts: &'a [Vec<usize>],
    work: impl Fn(&'a [usize]) -> F,
) {
    stream::iter(parts)
        .for_each_concurrent(options.in_flight, |part| work(part))
        .await;
}

fn tenant() -> TenantId {
    TenantId::new("contoso").expect("it is an id")
}

fn key(number: usize) -> DeviceKey {
    let id = format!("5f0c7a1e-93b4-4d2a-8c6f-{number:012}");
    DeviceKey::new(tenant(), DeviceId::new(&id).expect("it is an id"))
}

type Transition<'a> = &'a dyn Fn(&Step<'_>, &mut DeviceRecord) -> transition::Effects;

fn change(
    key: &DeviceKey,
    before: Option<&Stored>,
    lease: Option<Lease>,
    apply: Transition<'_>,
) -> Item {
    let rules = Rules::default();
    let step = Step {
        rules: &rules,
        device: &key.device,
        now: SystemClock.now(),
        jitter: 0.5,
    };
    let old = before.map(|stored| codec::decode(&stored.bytes).expect("it was written here"));
    let mut record = old.clone().unwrap_or_default();
    let effects = apply(&step, &mut record);
    let revision = Revision(rand::random());
    let before = Before {
        revision: before.map(|stored| stored.revision),
        record: old.as_ref(),
    };
    compose(
        key.clone(),
        before,
        After {
            record: Some(record),
            revision,
            effects,
        },
        lease,
    )
}

fn register(step: &Step<'_>, record: &mut DeviceRecord, number: usize) -> transition::Effects {
    let uri = format!("https://db5p.notify.windows.com/?token={number:A>191}");
    let uri = ChannelUri::from_stored(&uri);
    let (_, mut effects) = transition::register(step, record, uri);
    // What a first registration tells is not part of a push.
    effects.events.clear();
    effects
}

fn open(step: &Step<'_>, record: &mut DeviceRecord) -> transition::Effects {
    let number: usize = step.device.as_str()[24..]
        .parse()
        .expect("it ends in a number");
    let request = AskRequest {
        source: Source::Direct,
        class: Class::Normal,
        goal: if number % 100 >= 90 {
            Goal::Accepted
        } else {
            Goal::CheckIn
        },
        deadline: step.now + Duration::from_secs(86_400),
        reason: None,
        trace: None,
    };
    transition::open(step, record, request)
        .expect("there is room for one")
        .1
}

fn check_in(step: &Step<'_>, record: &mut DeviceRecord) -> transition::Effects {
    transition::check_in(step, record, step.now).effects
}

fn settle(step: &Step<'_>, record: &mut DeviceRecord) -> transition::Effects {
    let number: usize = step.device.as_str()[24..]
        .parse()
        .expect("it ends in a number");
    let outcome = match number % 100 {
        70..80 => Outcome::Dropped,
        80..85 => Outcome::ChannelThrottled { retry_after: None },
        85..90 => Outcome::ChannelRefused {
            cause: ChannelRefusal::Gone,
        },
        _ => Outcome::Accepted {
            cached: false,
            stated: true,
        },
    };
    let trace = Trace {
        msg_id: Some(Text::known("29B7CF5C5E0A3B4D")),
        debug_trace: Some(Text::known("DB5SCH101110236")),
        ..Trace::default()
    };
    let attempt = Attempt {
        began_at: step.now,
        asks: record.asked(),
        generation: record.generation(),
        outcome,
        trace,
        ms_cv: Arc::from("0123456789012345678901.0"),
        ttl: Duration::from_secs(3600),
        wave: false,
    };
    transition::settle(step, record, &attempt)
}

async fn edit(store: &Arc<dyn Store>, part: &[usize], urgency: Urgency, apply: Transition<'_>) {
    let keys: Vec<DeviceKey> = part.iter().map(|n| key(*n)).collect();
    let found = store.read(&keys).await.expect("records are read");
    let items = keys
        .iter()
        .zip(&found)
        .map(|(key, stored)| change(key, stored.as_ref(), None, apply));
    commit(store, items.collect(), urgency).await;
}

async fn settle_all(store: &Arc<dyn Store>) {
    let queue = Queue {
        tenant: tenant(),
        lane: Lane::Normal,
        flow: Flow::Direct,
    };
    loop {
        let wants = [Want {
            queue: queue.clone(),
            limit: BATCH,
        }];
        let claimed = store.claim(&wants).await.expect("pushes are claimed");
        if claimed.is_empty() {
            return;
        }
        let items = claimed
            .into_iter()
            .map(|claim| change(&claim.key, Some(&claim.stored), Some(claim.lease), &settle));
        commit(store, items.collect(), Urgency::Settle).await;
    }
}

async fn commit(store: &Arc<dyn Store>, items: Vec<Item>, urgency: Urgency) {
    let answers = store
        .commit(items, urgency, None)
        .await
        .expect("items are committed");
    assert!(
        answers.iter().all(|answer| *answer == Committed::Done),
        "nobody else is here"
    );
}

/// From a commit on one broker to the claim on another that was told of it.
async fn wake_latency(server: &RedisServer) {
    let open = async || {
        let address = Address {
            host: "127.0.0.1".to_owned(),
            port: server.port,
        };
        let options = RedisOptions::at(address, Arc::new(SystemClock), Arc::new(|_| ()));
        RedisStore::connect(options).await.expect("redis is opened") as Arc<dyn Store>
    };
    let (store, other) = (open().await, open().await);
    let queue = Queue {
        tenant: tenant(),
        lane: Lane::Urgent,
        flow: Flow::Direct,
    };
    let mut wakes = other.wakes();
    let mut times = Vec::new();
    for number in 0..200 {
        let began = now_instant();
        let key = DeviceKey::new(
            tenant(),
            DeviceId::new(&format!("urgent-{number}")).expect("it is an id"),
        );
        let mut item = change(&key, None, None, &|_, _| transition::Effects::default());
        item.placement.to = Some(reveille::domain::queue::Due {
            queue: queue.clone(),
            at: Timestamp::UNIX_EPOCH,
        });
        let bytes = Bytes::from_static(b"1|");
        item.change = reveille::ports::records::Change::Put(Revision(1), bytes);
        commit(&store, vec![item], Urgency::Open).await;
        while wakes.recv().await.expect("the store lives").queue != queue {}
        let wants = [Want {
            queue: queue.clone(),
            limit: 1,
        }];
        assert_eq!(other.claim(&wants).await.expect("it is claimed").len(), 1);
        times.push(began.elapsed());
    }
    times.sort();
    println!(
        "from the commit of one to the claim of another: median {:?}, 99 % {:?}",
        times[100], times[198]
    );
}
