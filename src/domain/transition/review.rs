//! Looking at a claimed push before anything is sent: deadlines, suspects, and whether it is to be sent at all.

use jiff::Timestamp;

use super::{Effects, Step, close_asks};
use crate::domain::{
    ask::{Ask, CloseReason, ExpiryCause, Phase},
    channel::{Channel, ChannelState, SUSPECT_HOLD, Trial},
    event::{Event, EventKind},
    queue::{Lane, Queue, place},
    record::DeviceRecord,
    schedule::later,
    wns::reply::OutcomeKind,
};

/// What to do with a claimed push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send a notification, then settle.
    Send,
    /// Commit the record under the claim; it goes where it belongs now.
    Commit,
}

/// Judges a push claimed from `queue`. With `wave`, a wave of refusals runs through the app and no suspect is confirmed.
///
/// That the claim came when it did is the store's word and is not judged again by this clock, which may have been set: a
/// push in a sending lane is sent unless something else brought it here.
pub fn review(
    step: &Step<'_>,
    record: &mut DeviceRecord,
    queue: &Queue,
    wave: bool,
) -> (Verdict, Effects) {
    let mut effects = Effects::default();
    let judged = judge_suspect(step, record, wave, &mut effects);
    let asks = record.push.as_ref().map_or(0, |p| p.asks.len());
    expire_into(step, record, &mut effects);
    let expired = record.push.as_ref().map_or(0, |p| p.asks.len()) < asks;
    let due_later = record.push.as_ref().is_none_or(|p| p.next_at > step.now);
    let belongs = place(&queue.tenant, record).is_some_and(|d| d.queue == *queue);
    let sends = queue.lane != Lane::Timer && belongs && !judged && !(expired && due_later);
    (
        if sends {
            Verdict::Send
        } else {
            Verdict::Commit
        },
        effects,
    )
}

/// Confirms a suspect whose hold is over, or holds it longer while a wave lasts. Returns whether the record changed.
fn judge_suspect(
    step: &Step<'_>,
    record: &mut DeviceRecord,
    wave: bool,
    effects: &mut Effects,
) -> bool {
    let Some(channel) = &mut record.channel else {
        return false;
    };
    let ChannelState::Suspect {
        since,
        cause,
        review_at,
    } = &mut channel.state
    else {
        return false;
    };
    if wave {
        *review_at = later(step.now, SUSPECT_HOLD);
        return true;
    }
    // Held for less than the full time only if the clock was set: then the store's word counts.
    let (since, cause) = (*since, *cause);
    if *review_at > step.now && since <= step.now {
        return false;
    }
    channel.state = ChannelState::Dead {
        since,
        cause,
        trial: Trial::NotAsked,
    };
    effects.events.push(died(step, channel, since));
    true
}

fn died(step: &Step<'_>, channel: &Channel, since: Timestamp) -> Event {
    let cause = match channel.state {
        ChannelState::Dead { cause, .. } | ChannelState::Suspect { cause, .. } => cause.label(),
        ChannelState::Live | ChannelState::Silent { .. } => "",
    };
    Event::of_device(EventKind::ChannelDied, step.now, step.device)
        .with("cause", cause)
        .with("since", since.to_string())
        .with("host", channel.uri.host())
        .with("first_seen", channel.first_seen.to_string())
}

/// Ends the asks whose deadline has come; the rest of the push goes on.
pub fn overdue(step: &Step<'_>, record: &mut DeviceRecord) -> Effects {
    let mut effects = Effects::default();
    expire_into(step, record, &mut effects);
    effects
}

/// Closes the asks whose deadline has come, each with what stood in its way.
pub(super) fn expire_into(step: &Step<'_>, record: &mut DeviceRecord, effects: &mut Effects) {
    close_asks(step, record, effects, |record, ask| {
        expired(step, record, ask)
    });
}

/// How an ask ends whose deadline has come; `None` before.
pub(super) fn expired(step: &Step<'_>, record: &DeviceRecord, ask: &Ask) -> Option<CloseReason> {
    (ask.deadline <= step.now).then(|| CloseReason::Expired(hindrance(record, ask)))
}

fn hindrance(record: &DeviceRecord, ask: &Ask) -> ExpiryCause {
    if ask.held {
        return ExpiryCause::Held;
    }
    if matches!(ask.phase, Phase::Awaiting { .. }) {
        return ExpiryCause::NoCheckIn;
    }
    match record.channel.as_ref().map(|c| c.state) {
        None => ExpiryCause::NoChannel,
        Some(ChannelState::Suspect { .. } | ChannelState::Dead { .. }) => ExpiryCause::DeadChannel,
        Some(ChannelState::Silent { .. }) => ExpiryCause::Throttled,
        Some(ChannelState::Live) => last_hindrance(record, ask),
    }
}

fn last_hindrance(record: &DeviceRecord, ask: &Ask) -> ExpiryCause {
    let last = record
        .last_attempt
        .as_ref()
        .filter(|a| a.at >= ask.opened_at);
    let kind = last.and_then(|a| {
        OutcomeKind::ALL
            .into_iter()
            .find(|k| k.label() == &*a.outcome)
    });
    match kind {
        Some(OutcomeKind::Unavailable) => ExpiryCause::Unavailable,
        Some(OutcomeKind::Dropped) => ExpiryCause::Dropped,
        Some(OutcomeKind::ChannelThrottled | OutcomeKind::AppThrottled) => ExpiryCause::Throttled,
        Some(
            OutcomeKind::Accepted
            | OutcomeKind::TokenRefused
            | OutcomeKind::ChannelRefused
            | OutcomeKind::DomainBlocked
            | OutcomeKind::OurFault
            | OutcomeKind::Redirected,
        )
        | None => ExpiryCause::NotSent,
    }
}
