//! A storm of failures, and how much of it reaches the log.

use std::collections::BTreeMap;

use reveille::sandbox::Behaviour;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

use crate::rig::{Rig, until};

const DEVICES: u32 = 3_000;
/// Replies of the sandbox, as its ledger calls them, and the outcomes that they are.
const REFUSALS: [(&str, &str, &str); 5] = [
    ("dropped=40%", "dropped", "dropped"),
    (
        "channelthrottled=20%",
        "channelthrottled",
        "channel_throttled",
    ),
    ("503=20%", "5xx", "unavailable"),
    ("410=10%", "410", "channel_refused"),
    ("400=10%", "400", "our_fault"),
];
/// Requests that make a storm.
const STORM: u64 = 1_000;
/// Lines beside those about attempts: the start, tokens, pauses, the end.
const OTHER_LINES_MAX: usize = 60;

/// Callers that send no end of a head.
const MISFITS: usize = 200;
/// More than the HTTP server holds of a head.
const ENDLESS_BYTES: usize = 256 * 1024;

/// Failures of a class that the log tells of: in lines of their own, and counted in those or in summaries.
#[derive(Debug, Default)]
struct Logged {
    lines: usize,
    summaries: usize,
    failures: u64,
}

fn read(log: &str) -> (BTreeMap<String, Logged>, usize) {
    let (mut classes, mut others) = (BTreeMap::<String, Logged>::new(), 0);
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        if let Some(outcome) = line["outcome"].as_str() {
            let class = classes.entry(outcome.to_owned()).or_default();
            class.lines += 1;
            class.failures += 1 + line["suppressed"].as_u64().unwrap();
        } else if let Some(class) = line["class"].as_str() {
            let class = classes.entry(class.to_owned()).or_default();
            class.summaries += 1;
            class.failures += line["count"].as_u64().unwrap();
        } else {
            others += 1;
        }
    }
    (classes, others)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_writes_a_line_for_each_class_and_interval_and_loses_no_failure() {
    // given a WNS that takes nothing, for several reasons
    let behaviour = Behaviour {
        replies: REFUSALS
            .map(|(reply, _, _)| reply.parse().unwrap())
            .to_vec(),
        ..Behaviour::default()
    };
    let mut rig = Rig::new(DEVICES, behaviour);
    rig.extra = "[log]\nformat = \"json\"\nfailure_interval = \"1s\"\n\
                 targets = [\"reveille::telemetry::events::attempt=debug\"]\n"
        .to_owned();
    let began = Instant::now();
    rig.start().await;
    rig.register_all().await;

    // when a few thousand devices are pushed, and the broker ends in order
    rig.push_all("priority=urgent").await;
    until("it storms", async || rig.sandbox.ledger().requests >= STORM).await;
    rig.signal("-TERM");
    assert_eq!(rig.ended().await, Some(0));

    // then the log has few lines, and what they tell adds up to every reply
    let intervals = usize::try_from(began.elapsed().as_secs()).unwrap() + 1;
    let (classes, others) = read(&rig.logged());
    let replies = rig.sandbox.ledger().replies;
    for (_, reply, outcome) in REFUSALS {
        let logged = &classes[outcome];
        assert_eq!(logged.failures, replies[reply], "{outcome}: {logged:?}");
        // A line or a summary begins an interval, and tells of what was held back; the last summary comes at the end.
        let lines = logged.lines + logged.summaries;
        assert!(logged.failures > lines as u64, "{outcome}: {logged:?}");
        assert!(
            lines <= intervals + 1,
            "{outcome}: {logged:?} in {intervals} s"
        );
    }
    assert!(
        others <= OTHER_LINES_MAX,
        "{others} lines\n{}",
        rig.logged()
    );
}

/// Sends a head without an end until the broker hangs up.
async fn misbehave(address: &str) {
    let mut caller = TcpStream::connect(address).await.unwrap();
    let mut head = b"GET / HTTP/1.1\r\nx: ".to_vec();
    head.resize(ENDLESS_BYTES, b'a');
    drop(caller.write_all(&head).await);
    drop(caller.read_to_end(&mut Vec::new()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_http_server_says_of_misfits_is_written_once_and_summed_up() {
    // given a broker, and what its HTTP server logs by itself
    let mut rig = Rig::new(1, Behaviour::default());
    rig.extra = "[log]\nformat = \"json\"\nfailure_interval = \"1h\"\n".to_owned();
    rig.start().await;

    // when many callers misbehave, and the broker ends in order
    let address = rig.url("").replace("http://", "");
    for _ in 0..MISFITS {
        misbehave(&address).await;
    }
    rig.signal("-TERM");
    assert_eq!(rig.ended().await, Some(0));

    // then of each kind one line is there, and the others are counted
    let log = rig.logged();
    let lines = log.lines().map(|line| serde_json::from_str(line).unwrap());
    let (mut written, mut counted) = (0, 0);
    for line in lines.collect::<Vec<Value>>() {
        if line["target"].as_str().unwrap().starts_with("actix_http") {
            written += 1;
        } else if line["class"] == "library" {
            counted += usize::try_from(line["count"].as_u64().unwrap()).unwrap();
        }
    }
    assert!((1..=2).contains(&written), "{log}");
    assert!(written + counted >= MISFITS, "{written} + {counted}\n{log}");
}
