//! Crediting a notification to targets whose device was faster than the commit of WNS's answer.

use super::{Attempt, ClosedTarget, Effects};
use crate::domain::{
    ask::{Ask, CloseReason, Phase, Source},
    record::{ClosedAsk, DeviceRecord},
    wns::reply::Outcome,
};

/// Credits `attempt` to the campaigns for which it was made, where a check-in has closed the push meanwhile: devices wake
/// within a second, and answers of WNS are committed in batches. `claimed` is the record when the push was claimed. Moves no
/// state: the targets have ended, and their reports gain an attempt and its ids.
///
/// Nothing is credited when other asks kept the push open, or when a further push has ended since, nor to an ask whose
/// deadline had come: it may have ended as expired.
pub fn credit_late(
    record: &mut DeviceRecord,
    claimed: &DeviceRecord,
    attempt: &Attempt,
) -> Effects {
    let mut effects = Effects::default();
    let (Some(push), None) = (&claimed.push, &record.push) else {
        return effects;
    };
    let last = record.last_attempt.clone();
    let checked_in_at = record.last_check_in;
    let Some(closed) = record.closed.as_mut().filter(|closed| {
        let same = closed.opened_at == push.opened_at;
        same && closed.last.reason == CloseReason::CheckedIn && closed.attempts == push.attempts
    }) else {
        return effects;
    };
    if matches!(attempt.outcome, Outcome::Unavailable { .. }) {
        return effects;
    }
    closed.attempts = closed.attempts.saturating_add(1);
    let accepted = matches!(attempt.outcome, Outcome::Accepted { .. });
    let closed_at = closed.closed_at;
    let served = |ask: &&Ask| attempt.serves(ask) && ask.deadline > closed_at;
    for ask in push.asks.iter().filter(served) {
        let Source::Campaign(id) = &ask.source else {
            continue;
        };
        effects.attempted.push(id.clone());
        let credited = ClosedTarget {
            ask: ClosedAsk {
                source: ask.source.clone(),
                reason: CloseReason::CheckedIn,
                opened_at: ask.opened_at,
                closed_at,
            },
            released: true,
            wave: ask.wave,
            attempts: closed.attempts.saturating_sub(ask.attempts_before),
            accepted_at: match ask.phase {
                Phase::Awaiting { accepted_at } => Some(accepted_at),
                // The reply came after the session: the notification is older than both.
                Phase::Waiting => accepted.then_some(attempt.began_at),
            },
            checked_in_at,
            last: last.clone(),
        };
        if ask.phase == Phase::Waiting
            && let Some(delay) = credited.check_in_delay()
        {
            effects.delays.push((id.clone(), delay));
        }
        effects.amended.push(credited);
    }
    effects
}
