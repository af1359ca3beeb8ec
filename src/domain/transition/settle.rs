//! What a classified reply of WNS does to the push it was sent for.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::{
    Effects, Step,
    channel::due_soon,
    close_asks,
    review::{expire_into, expired},
};
use crate::domain::{
    ask::{Ask, Class, CloseReason, Goal, Phase, Source},
    channel::{ChannelState, Generation, SUSPECT_HOLD, Trial},
    event::{Event, EventKind},
    record::{DeviceRecord, LastAttempt},
    schedule::{Backoff, later},
    wns::{
        reply::{ChannelRefusal, Outcome, Trace},
        text::Text,
    },
};

/// Longest message id, trace or vector kept in a record, in bytes; real ones have 16 to 24.
const TRACE_BYTES_MAX: usize = 32;

/// One POST that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// When it began.
    pub began_at: Timestamp,
    /// The asks of the push as it was claimed. They were there before, whatever the clocks say: those of brokers differ,
    /// and clocks are set.
    pub asks: Vec<AskedAt>,
    /// The channel it went to.
    pub generation: Generation,
    /// What came of it.
    pub outcome: Outcome,
    /// What support needs to know.
    pub trace: Trace,
    /// The correlation vector that was sent.
    pub ms_cv: Arc<str>,
    /// Its `X-WNS-TTL`: how long WNS keeps it for an offline device.
    pub ttl: Duration,
    /// A wave of this outcome runs through the app: nobody's push is rejected for it.
    pub wave: bool,
}

/// One ask as it stood at some moment: who asked, and when last.
pub type AskedAt = (Source, Timestamp);

impl Attempt {
    /// Whether it satisfies `ask`: one that it was made for, or that came before it began. One that was repeated since has
    /// to be satisfied anew.
    #[must_use]
    pub fn serves(&self, ask: &Ask) -> bool {
        let same = |(source, at): &AskedAt| *at == ask.opened_at && *source == ask.source;
        ask.opened_at <= self.began_at || self.asks.iter().any(same)
    }
}

/// Whether `attempt` has been settled on this record, and no other since.
#[must_use]
pub fn is_settled(record: &DeviceRecord, attempt: &Attempt) -> bool {
    let last = record.last_attempt.as_ref();
    last.is_some_and(|last| !last.ms_cv.is_empty() && last.ms_cv == cut(&attempt.ms_cv))
}

/// Settles `attempt` on the record as it is now.
///
/// The push it was made for may have changed or gone meanwhile: an attempt never touches asks opened after it began, nor a
/// channel of a newer generation, and one without a push leaves its ids only.
pub fn settle(step: &Step<'_>, record: &mut DeviceRecord, attempt: &Attempt) -> Effects {
    let mut effects = Effects::default();
    // What was over when the attempt began was not sent for.
    let began = Step {
        now: attempt.began_at,
        ..*step
    };
    close_asks(step, record, &mut effects, |record, ask| {
        expired(&began, record, ask)
    });
    note_attempt(record, attempt, &mut effects);
    let current = record.channel.is_some() && record.generation() == attempt.generation;
    if current {
        mark_channel(step, record, attempt, &mut effects);
    }
    match &attempt.outcome {
        Outcome::Accepted { cached, .. } => {
            accepted(step, record, attempt, *cached, &mut effects);
            if !current {
                due_soon(step, record);
            }
        }
        Outcome::OurFault { .. } | Outcome::Redirected { .. } if !attempt.wave => {
            close_asks(step, record, &mut effects, |_, ask| {
                attempt.serves(ask).then_some(CloseReason::Rejected)
            });
        }
        Outcome::Dropped
        | Outcome::ChannelThrottled { .. }
        | Outcome::TokenRefused
        | Outcome::ChannelRefused { .. }
        | Outcome::DomainBlocked { .. }
        | Outcome::AppThrottled { .. }
        | Outcome::OurFault { .. }
        | Outcome::Unavailable { .. }
        | Outcome::Redirected { .. } => retry(step, record, attempt, current),
    }
    expire_into(step, record, &mut effects);
    effects
}

fn note_attempt(record: &mut DeviceRecord, attempt: &Attempt, effects: &mut Effects) {
    let short = |text: &Option<Text>| {
        text.as_ref()
            .map_or_else(|| Arc::from(""), |t| cut(t.as_str()))
    };
    let reached = !matches!(attempt.outcome, Outcome::Unavailable { .. });
    record.last_attempt = Some(LastAttempt {
        at: attempt.began_at,
        outcome: Arc::from(attempt.outcome.label()),
        reached,
        msg_id: short(&attempt.trace.msg_id),
        debug_trace: short(&attempt.trace.debug_trace),
        ms_cv: cut(&attempt.ms_cv),
    });
    let Some(push) = &mut record.push else { return };
    if !reached {
        return;
    }
    push.attempts = push.attempts.saturating_add(1);
    for ask in push.asks.iter().filter(|ask| attempt.serves(ask)) {
        if let Source::Campaign(id) = &ask.source {
            effects.attempted.push(id.clone());
        }
    }
}

fn cut(text: &str) -> Arc<str> {
    let end = (0..=text.len().min(TRACE_BYTES_MAX))
        .rev()
        .find(|i| text.is_char_boundary(*i));
    Arc::from(&text[..end.unwrap_or(0)])
}

/// What the outcome says about the channel it was sent to.
fn mark_channel(
    step: &Step<'_>,
    record: &mut DeviceRecord,
    attempt: &Attempt,
    effects: &mut Effects,
) {
    let Some(channel) = &mut record.channel else {
        return;
    };
    let state = match &attempt.outcome {
        Outcome::Accepted { .. } => Some(ChannelState::Live),
        Outcome::ChannelThrottled { retry_after } => {
            Some(silenced(step, channel.state, *retry_after))
        }
        Outcome::ChannelRefused { cause } => Some(refused(step, channel.state, *cause)),
        Outcome::Dropped
        | Outcome::TokenRefused
        | Outcome::DomainBlocked { .. }
        | Outcome::AppThrottled { .. }
        | Outcome::OurFault { .. }
        | Outcome::Unavailable { .. }
        | Outcome::Redirected { .. } => None,
    };
    let Some(state) = state else { return };
    channel.state = state;
    if let ChannelState::Suspect { cause, .. } = state {
        let event = Event::of_device(EventKind::ChannelSuspect, step.now, step.device)
            .with("cause", cause.label())
            .with("host", channel.uri.host());
        effects.events.push(event);
    }
}

fn silenced(step: &Step<'_>, was: ChannelState, retry_after: Option<Duration>) -> ChannelState {
    let strikes = match was {
        ChannelState::Silent { strikes, .. } => strikes.saturating_add(1),
        ChannelState::Live | ChannelState::Suspect { .. } | ChannelState::Dead { .. } => 0,
    };
    // WNS's word is the least; without one the silence doubles from ten minutes. No jitter below it.
    let silence = retry_after
        .and_then(|d| SignedDuration::try_from(d).ok())
        .unwrap_or_else(|| step.rules.silence.delay(u16::from(strikes), 1.0));
    ChannelState::Silent {
        until: later(step.now, silence),
        strikes,
    }
}

fn refused(step: &Step<'_>, was: ChannelState, cause: ChannelRefusal) -> ChannelState {
    match was {
        // The trial of a dead channel failed: it stays dead, for another day.
        ChannelState::Dead { since, .. } => ChannelState::Dead {
            since,
            cause,
            trial: Trial::Used(step.now),
        },
        ChannelState::Live | ChannelState::Silent { .. } | ChannelState::Suspect { .. } => {
            ChannelState::Suspect {
                since: step.now,
                cause,
                review_at: later(step.now, SUSPECT_HOLD),
            }
        }
    }
}

fn accepted(
    step: &Step<'_>,
    record: &mut DeviceRecord,
    attempt: &Attempt,
    cached: bool,
    effects: &mut Effects,
) {
    close_asks(step, record, effects, |_, ask| {
        (attempt.serves(ask) && ask.goal == Goal::Accepted).then_some(CloseReason::Accepted)
    });
    if step.rules.verbose_events {
        let event = Event::of_device(EventKind::PushAccepted, step.now, step.device).with(
            "msg_id",
            attempt.trace.msg_id.as_ref().map_or("", Text::as_str),
        );
        effects.events.push(event);
    }
    let Some(push) = &mut record.push else { return };
    if push.asks.iter().any(|a| a.phase != Phase::Waiting) {
        push.repeated_at = Some(step.now);
    }
    for ask in push
        .asks
        .iter_mut()
        .filter(|a| attempt.serves(a) && a.phase == Phase::Waiting)
    {
        ask.phase = Phase::Awaiting {
            accepted_at: step.now,
        };
    }
    push.failures = 0;
    push.accepted = push.accepted.saturating_add(1);
    let accepted = push.accepted;
    let waiting = push
        .asks
        .iter()
        .find(|a| a.phase == Phase::Waiting)
        .map(|a| a.class);
    let next_at = match waiting {
        Some(class) => step.rules.earliest(record, class, step.now),
        None => {
            let delay = step.rules.repush_delay(accepted, step.jitter);
            // WNS holds a notification for a device that is away until its TTL: repeating it earlier changes nothing.
            let held = SignedDuration::try_from(attempt.ttl).unwrap_or(SignedDuration::ZERO);
            later(step.now, if cached { delay.max(held) } else { delay })
        }
    };
    if let Some(push) = &mut record.push {
        push.next_at = next_at;
    }
}

/// Sets the next attempt after a fruitless one.
fn retry(step: &Step<'_>, record: &mut DeviceRecord, attempt: &Attempt, current: bool) {
    let class = record
        .push
        .as_ref()
        .and_then(|p| p.lead().map(|a| a.class))
        .unwrap_or(Class::Bulk);
    let soonest = step.rules.earliest(record, class, step.now);
    let silence = match record.channel.as_ref().map(|c| c.state) {
        Some(ChannelState::Silent { until, .. }) => until,
        Some(ChannelState::Live | ChannelState::Suspect { .. } | ChannelState::Dead { .. })
        | None => step.now,
    };
    let Some(push) = &mut record.push else { return };
    // The old channel's trouble is not the new one's.
    if !current {
        push.next_at = soonest;
        return;
    }
    let backoff = |policy: &Backoff| later(step.now, policy.delay(push.failures, step.jitter));
    push.next_at = match &attempt.outcome {
        Outcome::Dropped => {
            let at = backoff(&step.rules.retry).max(soonest);
            push.failures = push.failures.saturating_add(1);
            at
        }
        Outcome::Unavailable { retry_after, .. } => {
            let asked = retry_after.and_then(|d| SignedDuration::try_from(d).ok());
            let at = backoff(&step.rules.outage)
                .max(later(step.now, asked.unwrap_or(SignedDuration::ZERO)));
            push.failures = push.failures.saturating_add(1);
            at
        }
        Outcome::ChannelThrottled { .. } => silence.max(soonest),
        // The app's trouble: its pause or hold decides when it goes on, not this push.
        Outcome::TokenRefused
        | Outcome::DomainBlocked { .. }
        | Outcome::AppThrottled { .. }
        | Outcome::OurFault { .. }
        | Outcome::Redirected { .. } => soonest,
        // Blocked until a new channel comes.
        Outcome::ChannelRefused { .. } | Outcome::Accepted { .. } => soonest,
    };
}
