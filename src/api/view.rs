//! Devices and pushes as consoles see them. A channel shows its host and a short keyed hash, never its URI.

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{
    ask::{Ask, Class, Goal, Phase, Source},
    channel::{Channel, ChannelKind, ChannelState},
    id::DeviceId,
    record::{ClosedPush, DeviceRecord, LastAttempt, Push},
};

/// A device.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeviceView {
    /// The console's own id.
    pub device: String,
    /// Its channel.
    pub channel: ChannelView,
    /// Its open push; null if there is none.
    pub push: Option<PushView>,
    /// The last POST to WNS for it; null if there was none.
    pub last_outcome: Option<OutcomeView>,
    /// Begin of the last session that the console reported; null if there was none.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_check_in: Option<Timestamp>,
}

/// A device's channel.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct ChannelView {
    /// `live`, `silent`, `suspect`, `dead` or `none`.
    pub state: &'static str,
    /// Host of the URI.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Short keyed hash of the URI, as it appears in logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// When this URI was first reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub first_seen: Option<Timestamp>,
    /// When it was last reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_seen: Option<Timestamp>,
    /// When its device should have renewed it; one that has not may be away, or its renewal fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub renewal_due_at: Option<Timestamp>,
    /// When WNS is expected to expire it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// A silent channel: nothing is sent before.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub silent_until: Option<Timestamp>,
    /// A suspect or dead channel: when WNS refused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// A suspect or dead channel: which refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

/// The open push of a device, or the last one that closed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PushView {
    /// The device.
    pub device: String,
    /// `due`, `scheduled` (a later attempt), `awaiting` (a check-in), `blocked` (no usable channel), `held` or `closed`.
    pub state: &'static str,
    /// When its first ask opened it.
    #[schema(value_type = String, format = DateTime)]
    pub opened_at: Timestamp,
    /// When its last ask closed; null while it is open.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub closed_at: Option<Timestamp>,
    /// When the next attempt may be made; null when none will be.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_attempt_at: Option<Timestamp>,
    /// POSTs that WNS answered for it.
    pub attempts: u32,
    /// Its open asks; of a closed push the one that closed it.
    pub asks: Vec<AskView>,
    /// The last POST for the device; null if there was none.
    pub last_outcome: Option<OutcomeView>,
}

/// One wish that a push carries.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AskView {
    /// `direct` or `campaign`.
    pub source: &'static str,
    /// The campaign.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub campaign: Option<String>,
    /// `waiting`, `awaiting`, `held`, or why it closed: `accepted`, `checked_in`, `expired`, `cancelled`, `rejected`.
    pub state: &'static str,
    /// What lies behind a closing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<&'static str>,
    /// Why, in the words of whoever asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How urgent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<Class>,
    /// When it is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goal: Option<Goal>,
    /// Since when it is open.
    #[schema(value_type = String, format = DateTime)]
    pub opened_at: Timestamp,
    /// Until when it stays open.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub deadline: Option<Timestamp>,
    /// When WNS first took a notification for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub accepted_at: Option<Timestamp>,
    /// When it closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub closed_at: Option<Timestamp>,
}

/// What came of a POST to WNS.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OutcomeView {
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The classified reply.
    pub outcome: String,
    /// `X-WNS-Msg-ID`, for Microsoft's support.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub msg_id: Option<String>,
    /// `X-WNS-Debug-Trace`, for Microsoft's support.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub debug_trace: Option<String>,
    /// `MS-CV` of the request, as it appears in logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ms_cv: Option<String>,
}

/// Shows devices at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Viewer<'a> {
    /// The key of the hashes.
    pub(super) uri_key: &'a [u8],
    /// The time of day.
    pub(super) now: Timestamp,
}

impl Viewer<'_> {
    pub(super) fn device(&self, device: &DeviceId, record: &DeviceRecord) -> DeviceView {
        DeviceView {
            device: device.to_string(),
            channel: self.channel(record.channel.as_ref()),
            push: record.push.as_ref().map(|p| self.open(device, record, p)),
            last_outcome: record.last_attempt.as_ref().map(outcome),
            last_check_in: record.last_check_in,
        }
    }

    /// The open push, or the last one that closed.
    pub(super) fn push(&self, device: &DeviceId, record: &DeviceRecord) -> Option<PushView> {
        let closed = || record.closed.as_ref().map(|c| closed(device, record, c));
        match &record.push {
            Some(push) => Some(self.open(device, record, push)),
            None => closed(),
        }
    }

    fn channel(&self, channel: Option<&Channel>) -> ChannelView {
        let Some(channel) = channel else {
            return ChannelView {
                state: ChannelKind::None.as_str(),
                ..ChannelView::default()
            };
        };
        let mut view = ChannelView {
            state: channel.kind().as_str(),
            host: Some(channel.uri.host().to_owned()),
            hash: Some(channel.uri.hash(self.uri_key).to_string()),
            first_seen: Some(channel.first_seen),
            last_seen: Some(channel.last_seen),
            renewal_due_at: Some(channel.renewal_due_at()),
            expires_at: Some(channel.expires_at()),
            ..ChannelView::default()
        };
        match channel.state {
            ChannelState::Live => {}
            ChannelState::Silent { until, .. } => view.silent_until = Some(until),
            ChannelState::Suspect { since, cause, .. }
            | ChannelState::Dead { since, cause, .. } => {
                view.since = Some(since);
                view.cause = Some(cause.label().to_owned());
            }
        }
        view
    }

    fn open(&self, device: &DeviceId, record: &DeviceRecord, push: &Push) -> PushView {
        let reachable = record.reachable();
        let lead = push.lead();
        let state = match lead.map(|ask| ask.phase) {
            None => "held",
            Some(_) if !reachable => "blocked",
            Some(Phase::Awaiting { .. }) => "awaiting",
            Some(Phase::Waiting) if push.next_at <= self.now => "due",
            Some(Phase::Waiting) => "scheduled",
        };
        PushView {
            device: device.to_string(),
            state,
            opened_at: push.opened_at,
            closed_at: None,
            next_attempt_at: (reachable && lead.is_some()).then_some(push.next_at),
            attempts: push.attempts,
            asks: push.asks.iter().map(ask).collect(),
            last_outcome: outcome_since(record, push.opened_at),
        }
    }
}

fn closed(device: &DeviceId, record: &DeviceRecord, push: &ClosedPush) -> PushView {
    let (source, campaign) = source_of(&push.last.source);
    let ask = AskView {
        source,
        campaign,
        state: push.last.reason.as_str(),
        cause: push.last.reason.cause(),
        reason: None,
        priority: None,
        goal: None,
        opened_at: push.last.opened_at,
        deadline: None,
        accepted_at: None,
        closed_at: Some(push.last.closed_at),
    };
    PushView {
        device: device.to_string(),
        state: "closed",
        opened_at: push.opened_at,
        closed_at: Some(push.closed_at),
        next_attempt_at: None,
        attempts: push.attempts,
        asks: vec![ask],
        last_outcome: outcome_since(record, push.opened_at),
    }
}

fn ask(ask: &Ask) -> AskView {
    let (source, campaign) = source_of(&ask.source);
    let (state, accepted_at) = match ask.phase {
        Phase::Waiting => ("waiting", None),
        Phase::Awaiting { accepted_at } => ("awaiting", Some(accepted_at)),
    };
    AskView {
        source,
        campaign,
        state: if ask.held { "held" } else { state },
        cause: None,
        reason: ask.reason.as_ref().map(ToString::to_string),
        priority: Some(ask.class),
        goal: Some(ask.goal),
        opened_at: ask.opened_at,
        deadline: Some(ask.deadline),
        accepted_at,
        closed_at: None,
    }
}

fn source_of(source: &Source) -> (&'static str, Option<String>) {
    match source {
        Source::Direct => ("direct", None),
        Source::Campaign(id) => ("campaign", Some(id.to_string())),
    }
}

/// The last POST, if it was made for the push that was opened then.
fn outcome_since(record: &DeviceRecord, opened_at: Timestamp) -> Option<OutcomeView> {
    let last = record.last_attempt.as_ref();
    last.filter(|a| a.at >= opened_at).map(outcome)
}

fn outcome(attempt: &LastAttempt) -> OutcomeView {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    OutcomeView {
        at: attempt.at,
        outcome: attempt.outcome.to_string(),
        msg_id: text(&attempt.msg_id),
        debug_trace: text(&attempt.debug_trace),
        ms_cv: text(&attempt.ms_cv),
    }
}
