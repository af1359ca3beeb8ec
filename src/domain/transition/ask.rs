//! Opening, merging, holding and cancelling asks.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Effects, Step, close_asks};
use crate::domain::{
    ask::{ASKS_PER_PUSH_MAX, Ask, CancelCause, Class, CloseReason, Goal, Phase, Source},
    channel::{Channel, ChannelState},
    event::{Event, EventKind},
    id::CampaignId,
    record::{DeviceRecord, Push},
    trace_context::TraceContext,
};

/// What somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskRequest {
    /// Who asks.
    pub source: Source,
    /// How urgent.
    pub class: Class,
    /// When it is done.
    pub goal: Goal,
    /// Until when.
    pub deadline: Timestamp,
    /// Why.
    pub reason: Option<Arc<str>>,
    /// The trace that its attempts belong to, if it is recorded.
    pub trace: Option<TraceContext>,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// A push was opened for it.
    Opened,
    /// It joined the open push: one POST will serve both.
    Merged,
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The push carries as many asks as it may.
    #[error("the device's push carries {ASKS_PER_PUSH_MAX} asks already")]
    TooManyAsks,
}

/// Opens a push for `request`, or lets it join the open one.
///
/// A repeated direct ask takes the later deadline, the higher urgency and the stricter goal of both, and must be satisfied
/// anew: only an attempt or session that begins from now on does.
///
/// # Errors
/// [`OpenError::TooManyAsks`] when the open push has no room for another source.
pub fn open(
    step: &Step<'_>,
    record: &mut DeviceRecord,
    request: AskRequest,
) -> Result<(Opened, Effects), OpenError> {
    let mut effects = Effects::default();
    let class = request.class;
    let opened = match &mut record.push {
        Some(push) => {
            join(step, push, request)?;
            Opened::Merged
        }
        None => {
            record.push = Some(Push {
                opened_at: step.now,
                asks: vec![ask_of(step, request, 0)],
                attempts: 0,
                failures: 0,
                accepted: 0,
                next_at: step.now,
                repeated_at: None,
            });
            Opened::Opened
        }
    };
    advance(step, record, class, opened);
    if step.rules.verbose_events && opened == Opened::Opened {
        effects.events.push(Event::of_device(
            EventKind::PushOpened,
            step.now,
            step.device,
        ));
    }
    Ok((opened, effects))
}

fn join(step: &Step<'_>, push: &mut Push, request: AskRequest) -> Result<(), OpenError> {
    let attempts = push.attempts;
    if let Some(ask) = push.asks.iter_mut().find(|a| a.source == request.source) {
        ask.class = ask.class.min(request.class);
        ask.goal = ask.goal.max(request.goal);
        ask.deadline = ask.deadline.max(request.deadline);
        ask.opened_at = step.now;
        ask.phase = Phase::Waiting;
        ask.reason = request.reason.or_else(|| ask.reason.take());
        ask.trace = request.trace.or(ask.trace);
        return Ok(());
    }
    if push.asks.len() >= ASKS_PER_PUSH_MAX {
        return Err(OpenError::TooManyAsks);
    }
    push.asks.push(ask_of(step, request, attempts));
    Ok(())
}

fn ask_of(step: &Step<'_>, request: AskRequest, attempts_before: u32) -> Ask {
    Ask {
        source: request.source,
        class: request.class,
        goal: request.goal,
        opened_at: step.now,
        deadline: request.deadline,
        phase: Phase::Waiting,
        held: false,
        attempts_before,
        wave: 0,
        reason: request.reason,
        trace: request.trace,
    }
}

/// Sets when the push may be sent now that an ask of `class` waits: no earlier than the minimum interval and the end of a
/// silence; a backoff that is running is cut short only by an urgent ask.
fn advance(step: &Step<'_>, record: &mut DeviceRecord, class: Class, opened: Opened) {
    let mut at = step.rules.earliest(record, class, step.now);
    if let Some(Channel {
        state: ChannelState::Silent { until, .. },
        ..
    }) = &record.channel
    {
        at = at.max(*until);
    }
    let Some(push) = &mut record.push else { return };
    let backing_off = opened == Opened::Merged && push.failures > 0 && class != Class::Urgent;
    if opened == Opened::Opened {
        push.next_at = at;
    } else if !backing_off {
        push.next_at = push.next_at.min(at);
    }
}

/// Whose asks are taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cancel {
    /// The direct one.
    Direct,
    /// A campaign's.
    Campaign(CampaignId),
    /// All.
    All,
}

impl Cancel {
    fn concerns(&self, source: &Source) -> bool {
        match (self, source) {
            (Self::All, _) | (Self::Direct, Source::Direct) => true,
            (Self::Campaign(id), Source::Campaign(of)) => id == of,
            (Self::Direct, Source::Campaign(_)) | (Self::Campaign(_), Source::Direct) => false,
        }
    }
}

/// Takes asks back; the push goes on for the others.
pub fn cancel(step: &Step<'_>, record: &mut DeviceRecord, which: &Cancel) -> Effects {
    let mut effects = Effects::default();
    close_asks(step, record, &mut effects, |_, ask| {
        which
            .concerns(&ask.source)
            .then_some(CloseReason::Cancelled(CancelCause::Request))
    });
    effects
}

/// Ends all asks because the device is deleted; the caller deletes the record.
pub fn forget(step: &Step<'_>, record: &mut DeviceRecord) -> Effects {
    let mut effects = Effects::default();
    close_asks(step, record, &mut effects, |_, _| {
        Some(CloseReason::Cancelled(CancelCause::DeviceDeleted))
    });
    effects.events.push(Event::of_device(
        EventKind::DeviceDeleted,
        step.now,
        step.device,
    ));
    effects
}

/// Holds a campaign's ask, or lets it go on. Returns whether anything changed.
pub fn hold(step: &Step<'_>, record: &mut DeviceRecord, campaign: &CampaignId, held: bool) -> bool {
    let now = step.now;
    let Some(push) = &mut record.push else {
        return false;
    };
    let ask = push
        .asks
        .iter_mut()
        .find(|a| matches!(&a.source, Source::Campaign(id) if id == campaign));
    match ask {
        Some(ask) if ask.held != held => {
            ask.held = held;
            push.next_at = push.next_at.max(now);
            true
        }
        Some(_) | None => false,
    }
}
