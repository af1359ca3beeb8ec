//! The record of a device: its channel, its one open push and what is remembered of the last one.
//!
//! The store keeps it as opaque bytes under a random revision; [`codec`] is the only place that knows the text.

pub mod codec;

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    ask::{Ask, CloseReason, Source},
    channel::{Channel, ChannelKind, Generation},
};

/// Names one version of a record; random, so that a deleted and re-created device never matches an old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Revision(pub u32);

/// The last POST for the device that WNS or the network answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastAttempt {
    /// When it began.
    pub at: Timestamp,
    /// Its outcome as a label ([`OutcomeKind`](super::wns::reply::OutcomeKind)).
    pub outcome: Arc<str>,
    /// `X-WNS-Msg-ID`, empty if WNS gave none.
    pub msg_id: Arc<str>,
    /// `X-WNS-Debug-Trace`, empty if WNS gave none.
    pub debug_trace: Arc<str>,
    /// The correlation vector of the request.
    pub ms_cv: Arc<str>,
    /// Whether WNS itself answered for the channel, so that the minimum interval runs from it.
    pub reached: bool,
}

/// The standing wish that the device starts a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// When the first ask opened it.
    pub opened_at: Timestamp,
    /// The open asks: 1 to 16, sources unique.
    pub asks: Vec<Ask>,
    /// POSTs that WNS answered for this push.
    pub attempts: u32,
    /// Fruitless attempts in a row; sets the backoff.
    pub failures: u16,
    /// Accepted notifications so far; sets the re-push schedule.
    pub accepted: u16,
    /// When the next attempt may be made.
    pub next_at: Timestamp,
    /// When WNS last accepted a notification that repeated another one.
    pub repeated_at: Option<Timestamp>,
}

/// An ask that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedAsk {
    /// Who asked.
    pub source: Source,
    /// How it ended.
    pub reason: CloseReason,
    /// Since when it was open.
    pub opened_at: Timestamp,
    /// When it ended.
    pub closed_at: Timestamp,
}

/// What is remembered of the last push that closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedPush {
    /// When its first ask opened it.
    pub opened_at: Timestamp,
    /// When its last ask closed.
    pub closed_at: Timestamp,
    /// POSTs that WNS answered for it.
    pub attempts: u32,
    /// The ask that closed it.
    pub last: ClosedAsk,
}

/// All that is kept of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceRecord {
    /// Its channel, once it has reported one.
    pub channel: Option<Channel>,
    /// Its open push.
    pub push: Option<Push>,
    /// The last push that closed.
    pub closed: Option<ClosedPush>,
    /// The last POST.
    pub last_attempt: Option<LastAttempt>,
    /// Begin of the last session that the console reported.
    pub last_check_in: Option<Timestamp>,
}

impl DeviceRecord {
    /// The channel's state as a label.
    #[must_use]
    pub fn channel_kind(&self) -> ChannelKind {
        self.channel
            .as_ref()
            .map_or(ChannelKind::None, Channel::kind)
    }

    /// The generation of the current channel; zero before the first.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.channel
            .as_ref()
            .map_or_else(Generation::default, |c| c.generation)
    }

    /// Who asks for the open push, and when last.
    #[must_use]
    pub fn asked(&self) -> Vec<(Source, Timestamp)> {
        let asks = self.push.iter().flat_map(|push| &push.asks);
        asks.map(|ask| (ask.source.clone(), ask.opened_at))
            .collect()
    }

    /// Whether a notification could be sent now or at a known time.
    #[must_use]
    pub fn reachable(&self) -> bool {
        self.channel.as_ref().is_some_and(Channel::usable)
    }
}
