//! Writes the text of a record.

use std::fmt::Write as _;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;

use super::{ClosedPush, DeviceRecord, LastAttempt, Push, VERSION, goal_text};
use crate::domain::{
    ask::{Ask, Phase, Source},
    channel::{Channel, ChannelState, Trial},
};

/// Writes `record` as text.
#[must_use]
pub fn encode(record: &DeviceRecord) -> String {
    let mut out = String::with_capacity(448);
    out.push_str(VERSION);
    out.push('|');
    if let Some(at) = record.last_check_in {
        push_time(&mut out, at);
    }
    if let Some(channel) = &record.channel {
        write_channel(&mut out, channel);
    }
    if let Some(attempt) = &record.last_attempt {
        write_attempt(&mut out, attempt);
    }
    if let Some(push) = &record.push {
        write_push(&mut out, push);
    }
    if let Some(closed) = &record.closed {
        write_closed(&mut out, closed);
    }
    out
}

fn push_time(out: &mut String, at: Timestamp) {
    push_number(out, at.as_millisecond());
}

fn push_number(out: &mut String, number: i64) {
    out.push_str(itoa::Buffer::new().format(number));
}

fn field(out: &mut String, text: &str) {
    out.push('|');
    out.push_str(text);
}

fn time_field(out: &mut String, at: Timestamp) {
    out.push('|');
    push_time(out, at);
}

fn number_field(out: &mut String, number: impl Into<i64>) {
    out.push('|');
    push_number(out, number.into());
}

fn text_field(out: &mut String, text: &str) {
    out.push('|');
    if !text
        .bytes()
        .any(|b| matches!(b, b'%' | b'|' | ..b' ' | b'\x7f'..))
    {
        return out.push_str(text);
    }
    for c in text.chars() {
        if c == '%' || c == '|' || c.is_control() {
            for b in c.encode_utf8(&mut [0; 4]).bytes() {
                let _ok = write!(out, "%{b:02x}");
            }
        } else {
            out.push(c);
        }
    }
}

fn write_channel(out: &mut String, channel: &Channel) {
    out.push_str("\nc");
    number_field(out, channel.generation.0);
    out.push('|');
    match channel.state {
        ChannelState::Live => out.push('l'),
        ChannelState::Silent { until, strikes } => {
            let _ok = write!(out, "s,{},{strikes}", until.as_millisecond());
        }
        ChannelState::Suspect {
            since,
            cause,
            review_at,
        } => {
            let (since, review) = (since.as_millisecond(), review_at.as_millisecond());
            let _ok = write!(out, "u,{since},{},{review}", cause.label());
        }
        ChannelState::Dead {
            since,
            cause,
            trial,
        } => {
            let _ok = write!(out, "d,{},{},", since.as_millisecond(), cause.label());
            match trial {
                Trial::NotAsked => out.push('n'),
                Trial::Allowed => out.push('a'),
                Trial::Used(at) => push_time(out, at),
            }
        }
    }
    time_field(out, channel.first_seen);
    time_field(out, channel.last_seen);
    field(out, channel.uri.expose());
    if let Some(earlier) = channel.earlier {
        let both = u64::from(earlier.fingerprint) << 32 | u64::from(earlier.first_seen);
        field(out, &URL_SAFE_NO_PAD.encode(both.to_be_bytes()));
    }
}

fn write_attempt(out: &mut String, attempt: &LastAttempt) {
    out.push_str("\na");
    time_field(out, attempt.at);
    text_field(out, &attempt.outcome);
    field(out, if attempt.reached { "1" } else { "0" });
    text_field(out, &attempt.msg_id);
    text_field(out, &attempt.debug_trace);
    text_field(out, &attempt.ms_cv);
}

fn write_push(out: &mut String, push: &Push) {
    out.push_str("\np");
    time_field(out, push.opened_at);
    number_field(out, push.attempts);
    number_field(out, push.failures);
    number_field(out, push.accepted);
    time_field(out, push.next_at);
    if let Some(at) = push.repeated_at {
        time_field(out, at);
    }
    for ask in &push.asks {
        write_ask(out, ask);
    }
}

fn write_ask(out: &mut String, ask: &Ask) {
    out.push_str("\nk");
    source_field(out, &ask.source);
    field(out, ask.class.as_str());
    field(out, goal_text(ask.goal));
    time_field(out, ask.opened_at);
    time_field(out, ask.deadline);
    match ask.phase {
        Phase::Waiting => field(out, "w"),
        Phase::Awaiting { accepted_at } => time_field(out, accepted_at),
    }
    field(out, if ask.held { "1" } else { "0" });
    number_field(out, ask.attempts_before);
    number_field(out, ask.wave);
    text_field(out, ask.reason.as_deref().unwrap_or(""));
    if let Some(trace) = ask.trace {
        let _ok = write!(out, "|{trace}");
    }
}

fn write_closed(out: &mut String, closed: &ClosedPush) {
    out.push_str("\nz");
    time_field(out, closed.opened_at);
    time_field(out, closed.closed_at);
    number_field(out, closed.attempts);
    source_field(out, &closed.last.source);
    field(out, closed.last.reason.as_str());
    if let Some(cause) = closed.last.reason.cause() {
        out.push(',');
        out.push_str(cause);
    }
    time_field(out, closed.last.opened_at);
    time_field(out, closed.last.closed_at);
}

fn source_field(out: &mut String, source: &Source) {
    match source {
        Source::Direct => field(out, "d"),
        Source::Campaign(id) => {
            field(out, "c/");
            out.push_str(id.as_str());
        }
    }
}
