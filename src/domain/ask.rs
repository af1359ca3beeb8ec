//! An ask: who wants a device to start a session, until when, how urgently, and when that is done.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{id::CampaignId, trace_context::TraceContext};

/// Most asks that one push carries, the direct one included.
pub const ASKS_PER_PUSH_MAX: usize = 16;
/// Longest reason of a direct push in bytes.
pub const REASON_BYTES_MAX: usize = 128;

/// How urgent an ask is. The order is that of service: urgent first.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Wipe, lock: before everything else.
    Urgent,
    /// A person waits for it.
    #[default]
    Normal,
    /// A fleet-wide change.
    Bulk,
}

impl Class {
    /// Every class, most urgent first.
    pub const ALL: [Self; 3] = [Self::Urgent, Self::Normal, Self::Bulk];

    /// Stable text for queues, counters and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Urgent => "urgent",
            Self::Normal => "normal",
            Self::Bulk => "bulk",
        }
    }
}

/// When an ask is done.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// WNS took a notification that was sent after the ask.
    #[default]
    Accepted,
    /// The console reported a session that began after the ask.
    CheckIn,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The console, for this device.
    Direct,
    /// A campaign that has this device among its targets.
    Campaign(CampaignId),
}

impl Source {
    /// Whether it is the campaign `id`.
    #[must_use]
    pub fn is_campaign(&self, id: &CampaignId) -> bool {
        matches!(self, Self::Campaign(of) if of == id)
    }
}

/// How far an open ask has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No notification sent since the ask was accepted by WNS.
    Waiting,
    /// WNS accepted one then; the device has not checked in since.
    Awaiting {
        /// When WNS first accepted a notification for this ask.
        accepted_at: Timestamp,
    },
}

/// One open ask of a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Who asks; unique within a push.
    pub source: Source,
    /// How urgent.
    pub class: Class,
    /// When it is done.
    pub goal: Goal,
    /// Since when. A repeated direct ask moves it: only what began later satisfies it.
    pub opened_at: Timestamp,
    /// Until when.
    pub deadline: Timestamp,
    /// How far it has come.
    pub phase: Phase,
    /// Held by a paused campaign: neither sends nor raises urgency; its deadline runs on.
    pub held: bool,
    /// Attempts of the push before this ask was opened.
    pub attempts_before: u32,
    /// The campaign's wave, from 1, whose gate judges this target; 0 when none does.
    pub wave: u8,
    /// Why, in the console's words.
    pub reason: Option<Arc<str>>,
    /// The recorded trace that its attempts belong to.
    pub trace: Option<TraceContext>,
}

/// Why an ask expired: what stood in its way when its deadline came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExpiryCause {
    /// The device had reported no channel.
    NoChannel,
    /// The channel was dead or suspect.
    DeadChannel,
    /// WNS throttled the channel.
    Throttled,
    /// WNS could not be reached or failed.
    Unavailable,
    /// WNS dropped the last notification.
    Dropped,
    /// WNS accepted, the device did not check in.
    NoCheckIn,
    /// The campaign was paused.
    Held,
    /// Its turn had not come: pace, a pause of the app, or a broker that was down.
    NotSent,
}

/// What ended an ask that did not reach its goal by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CancelCause {
    /// Somebody cancelled it.
    Request,
    /// The device was deleted.
    DeviceDeleted,
}

/// How an ask ended: exactly one of these, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// WNS took a notification.
    Accepted,
    /// The device started a session.
    CheckedIn,
    /// The deadline came first.
    Expired(ExpiryCause),
    /// It was taken back.
    Cancelled(CancelCause),
    /// WNS refuses our request; repeating it cannot help.
    Rejected,
}

impl CloseReason {
    /// The five reasons as they are counted.
    pub const LABELS: [&'static str; 5] =
        ["accepted", "checked_in", "expired", "cancelled", "rejected"];

    /// The reason as it is counted.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::CheckedIn => "checked_in",
            Self::Expired(_) => "expired",
            Self::Cancelled(_) => "cancelled",
            Self::Rejected => "rejected",
        }
    }

    /// What lies behind the reason, where there is more to say.
    #[must_use]
    pub fn cause(self) -> Option<&'static str> {
        match self {
            Self::Accepted | Self::CheckedIn | Self::Rejected => None,
            Self::Cancelled(CancelCause::Request) => Some("request"),
            Self::Cancelled(CancelCause::DeviceDeleted) => Some("device_deleted"),
            Self::Expired(cause) => Some(match cause {
                ExpiryCause::NoChannel => "no_channel",
                ExpiryCause::DeadChannel => "dead_channel",
                ExpiryCause::Throttled => "throttled",
                ExpiryCause::Unavailable => "unavailable",
                ExpiryCause::Dropped => "dropped",
                ExpiryCause::NoCheckIn => "no_check_in",
                ExpiryCause::Held => "held",
                ExpiryCause::NotSent => "not_sent",
            }),
        }
    }
}
