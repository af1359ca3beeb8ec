//! What an answer of WNS to a raw push means: the reply table, in one place.
//!
//! Sources: the response codes and headers of "Push notification service request and response headers" (Microsoft);
//! what that page lacks (429, `appthrottled`, `revoked`, blocked senders' wording) is field observation. 200 is not success:
//! it may carry `dropped` or `channelthrottled`. What is in no table is handled by the class of its status as RFC 9110 §15
//! asks, and its words are kept in the [`Trace`].

mod outcome;
mod raw;

use std::time::Duration;

use jiff::Timestamp;

pub use outcome::{ChannelRefusal, Outcome, OutcomeKind, UnavailableKind};
pub use raw::{RawReply, Trace, TransportFailure};

use crate::domain::wns::{retry_after, text::Text};

/// Pause of an app that was throttled without a `Retry-After`: the only value ever seen in one is 900 s (field observation).
pub const APP_THROTTLE_DEFAULT: Duration = Duration::from_secs(900);
/// Shortest wait taken from a reply.
pub const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);
/// Longest wait taken from a reply.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// How one POST ended: an HTTP answer, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(
    clippy::large_enum_variant,
    reason = "nearly every reply is the large variant, and none is stored"
)]
pub enum Reply {
    /// Something answered in HTTP.
    Answered(RawReply),
    /// No answer was read.
    Failed(TransportFailure),
}

/// The notification status that WNS stated, by either of its two headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stated {
    // In rising order of trouble: if the two headers disagree, the worse one holds, because a repeated wake-up is harmless.
    Received,
    Dropped,
    ChannelThrottled,
    Revoked,
    AppThrottled,
}

impl Reply {
    /// What support needs to know about the answer; empty if there was none.
    #[must_use]
    pub fn detail(&self) -> Trace {
        match self {
            Self::Answered(raw) => raw.trace.clone(),
            Self::Failed(_) => Trace::default(),
        }
    }

    /// As [`Reply::detail`], without copying.
    #[must_use]
    pub fn into_detail(self) -> Trace {
        match self {
            Self::Answered(raw) => raw.trace,
            Self::Failed(_) => Trace::default(),
        }
    }
}

/// Says what `reply` means. `now` turns a `Retry-After` date into a wait.
#[must_use]
pub fn classify(reply: &Reply, now: Timestamp) -> Outcome {
    match reply {
        Reply::Answered(raw) => classify_answer(raw, now),
        Reply::Failed(failure) => Outcome::Unavailable {
            kind: UnavailableKind::from(*failure),
            retry_after: None,
        },
    }
}

fn classify_answer(raw: &RawReply, now: Timestamp) -> Outcome {
    let stated = stated(raw);
    // These two words are sent with several statuses (406, 429; 410) and mean the same with each (field observation).
    match stated {
        Some(Stated::AppThrottled) => return app_throttled(raw, now),
        Some(Stated::Revoked) => return channel_refused(raw, ChannelRefusal::Gone),
        Some(Stated::Received | Stated::Dropped | Stated::ChannelThrottled) | None => {}
    }
    match raw.status {
        200..=299 => accepted(raw, stated, now),
        300..=399 => Outcome::Redirected { status: raw.status },
        401 => Outcome::TokenRefused,
        403 => channel_refused(raw, ChannelRefusal::Forbidden),
        404 => channel_refused(raw, ChannelRefusal::NotFound),
        410 => channel_refused(raw, ChannelRefusal::Gone),
        // 406 in Microsoft's table; 429 since about 2024 (field observation). If the word names the channel, it is the channel.
        406 | 429 if stated == Some(Stated::ChannelThrottled) => channel_throttled(raw, now),
        406 | 429 => app_throttled(raw, now),
        // Answers of a proxy or of a server that wants the same request again (RFC 9110 §15.5.8, .9, .20, RFC 8470 §5.2):
        // they say nothing about this request, so it must not be rejected for them.
        407 | 408 | 421 | 425 => unavailable(raw, now),
        // 400, 405 and 413 are documented; any other 4xx is a 400 to a client that does not know it (RFC 9110 §15).
        400..=499 => Outcome::OurFault {
            status: raw.status,
            description: raw.trace.description.clone(),
        },
        // 5xx; and what is no final status at all is treated as 5xx (RFC 9110 §15).
        0..=199 | 500..=u16::MAX => unavailable(raw, now),
    }
}

fn accepted(raw: &RawReply, stated: Option<Stated>, now: Timestamp) -> Outcome {
    match stated {
        Some(Stated::Dropped) => Outcome::Dropped,
        Some(Stated::ChannelThrottled) => channel_throttled(raw, now),
        Some(Stated::Received) => Outcome::Accepted {
            // Sent with X-WNS-Cache-Policy: cache, so WNS holds it for a device that it knows to be away.
            cached: says(raw.trace.device_status.as_ref(), "disconnected"),
            stated: true,
        },
        Some(Stated::Revoked | Stated::AppThrottled) | None => Outcome::Accepted {
            cached: false,
            stated: false,
        },
    }
}

fn channel_throttled(raw: &RawReply, now: Timestamp) -> Outcome {
    // X-WNS-CONTINUE-AFTER, in seconds, is in older editions of Microsoft's page only.
    let continue_after = raw
        .continue_after
        .as_ref()
        .and_then(|t| retry_after::seconds(t.as_str()));
    Outcome::ChannelThrottled {
        retry_after: continue_after.map(clamp).or_else(|| wait(raw, now)),
    }
}

fn app_throttled(raw: &RawReply, now: Timestamp) -> Outcome {
    Outcome::AppThrottled {
        retry_after: wait(raw, now).unwrap_or(APP_THROTTLE_DEFAULT),
    }
}

fn unavailable(raw: &RawReply, now: Timestamp) -> Outcome {
    Outcome::Unavailable {
        kind: UnavailableKind::Http { status: raw.status },
        retry_after: wait(raw, now),
    }
}

/// A refused channel, unless the words say that WNS refuses the sender.
fn channel_refused(raw: &RawReply, cause: ChannelRefusal) -> Outcome {
    let blocked = match cause {
        ChannelRefusal::Forbidden | ChannelRefusal::Gone => names_a_blocked_sender(raw),
        ChannelRefusal::NotFound => false,
    };
    if blocked {
        return Outcome::DomainBlocked { status: raw.status };
    }
    Outcome::ChannelRefused { cause }
}

/// "Sending domain has been blocked by WNS" (documented for 410, no capture known) and "not in allowed receiving apps list
/// by WNS" (403, field observation): the sender is refused, the channel is not at fault.
fn names_a_blocked_sender(raw: &RawReply) -> bool {
    [
        &raw.trace.description,
        &raw.trace.status,
        &raw.trace.notification_status,
    ]
    .into_iter()
    .flatten()
    .any(|text| {
        let text = text.as_str().to_ascii_lowercase();
        [
            "blocked",
            "allowed receiving apps",
            "allow list",
            "allowlist",
        ]
        .iter()
        .any(|words| text.contains(words))
    })
}

/// The worse of what the two status headers state; a word that is not known states nothing.
fn stated(raw: &RawReply) -> Option<Stated> {
    let known = |text: &Text| {
        let word = text.as_str();
        [
            ("received", Stated::Received),
            ("dropped", Stated::Dropped),
            ("channelthrottled", Stated::ChannelThrottled),
            ("revoked", Stated::Revoked),
            ("appthrottled", Stated::AppThrottled),
        ]
        .into_iter()
        .find_map(|(name, stated)| word.eq_ignore_ascii_case(name).then_some(stated))
    };
    let status = raw.trace.status.as_ref().and_then(known);
    let notification_status = raw.trace.notification_status.as_ref().and_then(known);
    status.max(notification_status)
}

fn says(text: Option<&Text>, word: &str) -> bool {
    text.is_some_and(|text| text.as_str().eq_ignore_ascii_case(word))
}

fn wait(raw: &RawReply, now: Timestamp) -> Option<Duration> {
    let value = raw.retry_after.as_ref()?;
    retry_after::parse(value.as_str(), now).map(clamp)
}

fn clamp(wait: Duration) -> Duration {
    wait.clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX)
}

#[cfg(test)]
mod tests;
