use super::*;
use crate::domain::{channel::EarlierUri, record::DeviceRecord, trace_context::TraceContext};

/// As brokers wrote it that knew nothing of traces.
const PLAIN: &str = "1|\np|1760000000000|0|0|0|1760000000000\nk|d|normal|a|1760000000000|1760086400000|w|0|0|0|renew";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7";

fn trace_of(record: &DeviceRecord) -> Option<TraceContext> {
    record.push.as_ref().unwrap().asks[0].trace
}

#[test]
fn a_record_without_traces_is_written_as_it_always_was() {
    let record = decode(PLAIN.as_bytes()).unwrap();
    assert_eq!(trace_of(&record), None);
    assert_eq!(encode(&record), PLAIN);
}

#[test]
fn a_recorded_trace_stands_behind_its_ask_and_costs_its_own_length() {
    let text = format!("{PLAIN}|{TRACE}");
    let record = decode(text.as_bytes()).unwrap();
    assert_eq!(trace_of(&record).unwrap().to_string(), TRACE);
    assert_eq!(encode(&record), text);
}

#[test]
fn a_trace_that_is_none_is_damage() {
    for wrong in ["", "x", "4bf9-00f0", &TRACE.to_uppercase()] {
        let text = format!("{PLAIN}|{wrong}");
        assert_eq!(
            decode(text.as_bytes()),
            Err(DamagedRecord { part: "ask" }),
            "{wrong}"
        );
    }
}

#[test]
fn a_push_that_was_repeated_says_when_and_one_that_was_not_costs_nothing() {
    let line = "|1760000000000\nk|";
    assert!(PLAIN.contains(line));
    let text = PLAIN.replacen(line, "|1760000000000|1760000900000\nk|", 1);
    let record = decode(text.as_bytes()).unwrap();
    let repeated = record.push.as_ref().unwrap().repeated_at.unwrap();
    assert_eq!(repeated.as_millisecond(), 1_760_000_900_000);
    assert_eq!(encode(&record), text);
    let wrong = text.replacen("1760000900000", "x", 1);
    assert_eq!(
        decode(wrong.as_bytes()),
        Err(DamagedRecord { part: "push" })
    );
}

/// As brokers wrote it that remembered no earlier URI.
const CHANNEL: &str =
    "1|\nc|7|l|1760000000000|1760000000500|https://db5p.notify.windows.com/?token=AwY%2b";

#[test]
fn a_channel_without_an_earlier_uri_is_written_as_it_always_was() {
    let record = decode(CHANNEL.as_bytes()).unwrap();
    assert_eq!(record.channel.as_ref().unwrap().earlier, None);
    assert_eq!(encode(&record), CHANNEL);
}

#[test]
fn the_earlier_uri_stands_behind_the_current_one_in_twelve_bytes() {
    let text = format!("{CHANNEL}|AKs_nGjnjIA");
    let record = decode(text.as_bytes()).unwrap();
    let earlier = EarlierUri {
        fingerprint: 0x00ab_3f9c,
        first_seen: 1_760_005_248,
    };
    assert_eq!(record.channel.as_ref().unwrap().earlier, Some(earlier));
    assert_eq!(encode(&record), text);
    for wrong in ["", "x", "AKs_nGjnjI", "AKs_nGjnjIAA", "AKs_nGjnjIA="] {
        let text = format!("{CHANNEL}|{wrong}");
        let damaged = DamagedRecord { part: "channel" };
        assert_eq!(decode(text.as_bytes()), Err(damaged), "{wrong}");
    }
}
