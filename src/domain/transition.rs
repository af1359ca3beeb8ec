//! The life of a push as pure functions on a device's record: the same for every store.
//!
//! Each transition changes the record in place and notes its [`Effects`]; [`compose`](super::item::compose) turns the
//! record before and after into one commit. Nothing here knows a store, a clock or a socket.

mod ask;
mod channel;
mod check_in;
mod late;
mod review;
mod settle;

#[cfg(test)]
mod tests;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

pub use ask::{AskRequest, Cancel, OpenError, Opened, cancel, forget, hold, open};
pub use channel::{Registered, register, revive};
pub use check_in::{CheckedIn, check_in};
pub use late::credit_late;
pub use review::{Verdict, overdue, review};
pub use settle::{AskedAt, Attempt, is_settled, settle};

use super::{
    ask::{Ask, CloseReason, Phase, Source},
    event::{Event, EventKind},
    id::{CampaignId, DeviceId},
    record::{ClosedAsk, ClosedPush, DeviceRecord, LastAttempt},
    schedule::Rules,
};

/// What a transition may know of the world.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The broker's policy.
    pub rules: &'a Rules,
    /// The device.
    pub device: &'a DeviceId,
    /// The time of day.
    pub now: Timestamp,
    /// A random number in `0.0..=1.0` for the jitter of delays.
    pub jitter: f64,
}

/// What transitions did beside changing the record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects {
    /// Asks that ended.
    pub closed: Vec<ClosedTarget>,
    /// Events for the feed, in order.
    pub events: Vec<Event>,
    /// Campaigns for whose targets an attempt was made.
    pub attempted: Vec<CampaignId>,
    /// Asks that had ended already, with a report that says more of them now. Nothing is counted a second time.
    pub amended: Vec<ClosedTarget>,
    /// From push to check-in, for targets that had ended before WNS's answer was known.
    pub delays: Vec<(CampaignId, SignedDuration)>,
}

/// An ask that ended, with what a report says of it.
#[derive(Clone, Debug, PartialEq)]
pub struct ClosedTarget {
    /// The ask. One that was never opened has its end as its begin.
    pub ask: ClosedAsk,
    /// Whether the ask was ever opened.
    pub released: bool,
    /// The campaign's wave whose gate judges it; 0 when none does.
    pub wave: u8,
    /// POSTs that WNS answered while it was open.
    pub attempts: u32,
    /// When WNS first accepted a notification for it.
    pub accepted_at: Option<Timestamp>,
    /// Begin of the session that closed it.
    pub checked_in_at: Option<Timestamp>,
    /// The last POST to the device.
    pub last: Option<LastAttempt>,
}

impl ClosedTarget {
    /// The result as it is kept in a campaign's list of targets:
    /// `reason[,cause]|attempts|opened|closed|accepted|checked in|last outcome|msg id|debug trace|ms-cv`, times in
    /// milliseconds, empty where there is none.
    #[must_use]
    pub fn to_text(&self) -> String {
        let ms =
            |at: Option<Timestamp>| at.map_or(String::new(), |t| t.as_millisecond().to_string());
        let cause = self
            .ask
            .reason
            .cause()
            .map_or(String::new(), |c| format!(",{c}"));
        let last = self.last.as_ref();
        [
            format!("{}{cause}", self.ask.reason.as_str()),
            self.attempts.to_string(),
            ms(self.released.then_some(self.ask.opened_at)),
            ms(Some(self.ask.closed_at)),
            ms(self.accepted_at),
            ms(self.checked_in_at),
            last.map_or(String::new(), |l| plain(&l.outcome)),
            last.map_or(String::new(), |l| plain(&l.msg_id)),
            last.map_or(String::new(), |l| plain(&l.debug_trace)),
            last.map_or(String::new(), |l| plain(&l.ms_cv)),
        ]
        .join("|")
    }

    /// From the first notification that WNS accepted to the session's begin, zero if the clocks disagree; none where no
    /// notification led to it.
    #[must_use]
    pub fn check_in_delay(&self) -> Option<SignedDuration> {
        let delay = self.checked_in_at?.duration_since(self.accepted_at?);
        Some(delay.max(SignedDuration::ZERO))
    }
}

fn plain(text: &str) -> String {
    text.replace('|', "/")
}

impl Effects {
    /// Takes up what a further transition of the same record did.
    pub fn absorb(&mut self, later: Self) {
        self.closed.extend(later.closed);
        self.events.extend(later.events);
        self.attempted.extend(later.attempted);
        self.amended.extend(later.amended);
        self.delays.extend(later.delays);
    }
}

/// Closes the asks for which `reason` gives one; ends the push when none is left.
fn close_asks(
    step: &Step<'_>,
    record: &mut DeviceRecord,
    effects: &mut Effects,
    reason: impl Fn(&DeviceRecord, &Ask) -> Option<CloseReason>,
) {
    let Some(push) = &record.push else { return };
    let reasons: Vec<_> = push.asks.iter().map(|ask| reason(record, ask)).collect();
    if reasons.iter().all(Option::is_none) {
        return;
    }
    let last = record.last_attempt.clone();
    let last_check_in = record.last_check_in;
    let Some(push) = &mut record.push else { return };
    let attempts = push.attempts;
    let mut left = Vec::with_capacity(push.asks.len());
    for (ask, reason) in std::mem::take(&mut push.asks).into_iter().zip(reasons) {
        match reason {
            Some(reason) => {
                let checked_in_at = last_check_in.filter(|_| reason == CloseReason::CheckedIn);
                effects.closed.push(ended(
                    step,
                    ask,
                    reason,
                    attempts,
                    checked_in_at,
                    last.clone(),
                ));
            }
            None => left.push(ask),
        }
    }
    push.asks = left;
    if push.asks.is_empty() {
        end_push(step, record, effects);
    }
}

fn ended(
    step: &Step<'_>,
    ask: Ask,
    reason: CloseReason,
    attempts: u32,
    checked_in_at: Option<Timestamp>,
    last: Option<LastAttempt>,
) -> ClosedTarget {
    let accepted_at = match ask.phase {
        Phase::Awaiting { accepted_at } => Some(accepted_at),
        Phase::Waiting if reason == CloseReason::Accepted => Some(step.now),
        Phase::Waiting => None,
    };
    ClosedTarget {
        ask: ClosedAsk {
            source: ask.source,
            reason,
            opened_at: ask.opened_at,
            closed_at: step.now,
        },
        released: true,
        wave: ask.wave,
        attempts: attempts.saturating_sub(ask.attempts_before),
        accepted_at,
        checked_in_at,
        last,
    }
}

fn end_push(step: &Step<'_>, record: &mut DeviceRecord, effects: &mut Effects) {
    let Some(push) = record.push.take() else {
        return;
    };
    let Some(last) = effects.closed.last() else {
        return;
    };
    let asks: Vec<ClosedView<'_>> = effects.closed.iter().map(|c| closed_view(&c.ask)).collect();
    let mut event = Event::of_device(EventKind::PushClosed, step.now, step.device)
        .with("reason", last.ask.reason.as_str())
        .with("attempts", push.attempts)
        .with("opened_at", push.opened_at)
        .with("asks", asks);
    if let Some(cause) = last.ask.reason.cause() {
        event = event.with("cause", cause);
    }
    if let Some(attempt) = &record.last_attempt {
        event = event
            .with("last_outcome", attempt.outcome.as_ref())
            .with("msg_id", attempt.msg_id.as_ref());
    }
    effects.events.push(event);
    record.closed = Some(ClosedPush {
        opened_at: push.opened_at,
        closed_at: step.now,
        attempts: push.attempts,
        last: last.ask.clone(),
    });
}

/// An ended ask in an event.
#[derive(Serialize)]
struct ClosedView<'a> {
    source: &'a str,
    reason: &'static str,
    cause: Option<&'static str>,
}

fn closed_view(ask: &ClosedAsk) -> ClosedView<'_> {
    ClosedView {
        source: match &ask.source {
            Source::Direct => "direct",
            Source::Campaign(id) => id.as_str(),
        },
        reason: ask.reason.as_str(),
        cause: ask.reason.cause(),
    }
}
