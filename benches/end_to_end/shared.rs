//! What brokers that share a Redis cost a push, beside one on the embedded store: all of them on one CPU, in the same rounds.

use std::{fs, path::Path};

use crate::{
    Broker, DURABLE, Options, PACE_MAX, Setup, push, redis_server::RedisServer, register,
    sink::Sink,
};

/// Brokers of each arrangement; none stands for one on the embedded store.
const ARRANGEMENTS: [usize; 4] = [0, 1, 2, 4];

/// CPU of a push in µs.
#[derive(Clone, Copy)]
struct Round {
    brokers: f64,
    redis: f64,
    per_second: f64,
}

/// Prints a table of medians, and how far the rounds are apart.
pub(crate) async fn measure(options: &Options, sink: &Sink, dir: &Path) {
    let mut rounds: Vec<[Round; ARRANGEMENTS.len()]> = Vec::new();
    for number in 0..options.rounds {
        let mut round = Vec::new();
        for brokers in ARRANGEMENTS {
            let dir = dir.join(format!("{number}-{brokers}"));
            fs::create_dir(&dir).expect("a folder");
            let cost = one(options, sink, &dir, brokers).await;
            eprintln!(
                "round {number}, {}: brokers {:.1} µs, redis {:.1} µs a push, {:.0}/s",
                name(brokers),
                cost.brokers,
                cost.redis,
                cost.per_second
            );
            round.push(cost);
        }
        rounds.push(round.try_into().ok().expect("one of each"));
    }
    println!(
        "\n| store | brokers' CPU µs a push | / embedded's | Redis's CPU µs a push | pushes/s |"
    );
    println!("|---|---|---|---|---|");
    for (at, brokers) in ARRANGEMENTS.into_iter().enumerate() {
        let of = |pick: fn(&Round) -> f64| spread(rounds.iter().map(|r| pick(&r[at])).collect());
        // Of the same round: what disturbs one disturbs the other.
        let ratio = rounds.iter().map(|r| r[at].brokers / r[0].brokers);
        let (own, ratio) = (of(|r| r.brokers), spread(ratio.collect()));
        let (redis, rate) = (of(|r| r.redis), of(|r| r.per_second));
        println!(
            "| {} | {:.1} ({:.1} to {:.1}) | {:.2} ({:.2} to {:.2}) | {:.1} ({:.1} to {:.1}) | {:.0} |",
            name(brokers),
            own[1],
            own[0],
            own[2],
            ratio[1],
            ratio[0],
            ratio[2],
            redis[1],
            redis[0],
            redis[2],
            rate[1]
        );
    }
}

fn name(brokers: usize) -> String {
    match brokers {
        0 => "embedded, 1 broker".to_owned(),
        1 => "Redis, 1 broker".to_owned(),
        more => format!("Redis, {more} brokers"),
    }
}

/// Least, median and most.
fn spread(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [
        values[0],
        values[values.len() / 2],
        values[values.len() - 1],
    ]
}

async fn one(options: &Options, sink: &Sink, dir: &Path, brokers: usize) -> Round {
    let server = RedisServer::start(&DURABLE);
    let setup = match brokers {
        0 => Setup::embedded(dir, PACE_MAX),
        _ => Setup::on_redis(dir, &server),
    };
    let mut started = Vec::new();
    for _ in 0..brokers.max(1) {
        started.push(Broker::start(options, sink.address(), &setup).await);
    }
    register(&started[0], sink, options.devices).await;
    let before = server.cpu_seconds();
    let cost = push(&started, options.devices).await;
    Round {
        brokers: cost.cpu_us,
        redis: (server.cpu_seconds() - before) / options.devices as f64 * 1e6,
        per_second: cost.per_second,
    }
}
