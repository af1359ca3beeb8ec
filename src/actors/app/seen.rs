//! What stands in an app's way, for reading without a lock, and what is behind the lock.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;
use tokio::time::Instant;

use crate::{
    domain::{
        app_state::{AppState, Change, Decided, HoldReason},
        breaker::Breaker,
        wave::WaveWatch,
    },
    telemetry::PauseReason,
};

/// What stands in the app's way, for reading.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) state: AppState,
    pub(super) decided: Decided,
    /// Whether the store was asked since the start: what it knows must be known before anything is sent.
    pub(super) loaded: bool,
    /// Since when channels were marked in a hold that has ended, until those marks are taken back.
    pub(super) healing: Option<Timestamp>,
    /// Whether WNS as a whole seems to be away: hosts are avoided, and none has answered for a while.
    pub(super) outage: bool,
}

#[derive(Default)]
pub(super) struct Watched {
    pub(super) seen: Seen,
    /// Changes that the store has not taken yet.
    pub(super) pending: Vec<(Change, Timestamp)>,
    pub(super) wave: WaveWatch,
    /// First refusals of channels while they are believed: if WNS refuses all, they are not.
    pub(super) flood: WaveWatch,
    pub(super) breakers: HashMap<Box<str>, Breaker>,
    /// Since when no host has answered; counted from the start of the broker.
    pub(super) silent_since: Option<Duration>,
    pub(super) probe: Option<Instant>,
}

impl Watched {
    pub(super) fn held(&self) -> bool {
        self.seen.state.hold(&self.seen.decided).is_some()
    }

    pub(super) fn doubted(&self) -> bool {
        self.held() || self.seen.healing.is_some()
    }
}

impl Seen {
    /// Why nothing is sent, and until when.
    pub(super) fn blocks(&self) -> Vec<(PauseReason, Option<Timestamp>)> {
        let mut blocks = Vec::new();
        if self.decided.paused {
            blocks.push((PauseReason::Operator, None));
        }
        let throttle = self.state.throttle.as_ref();
        if let Some(throttle) = throttle.filter(|t| !self.decided.ended(t.since)) {
            blocks.push((PauseReason::AppThrottled, Some(throttle.until)));
        }
        if let Some(hold) = self.state.hold(&self.decided) {
            let reason = match hold.reason {
                HoldReason::TokenRefused => PauseReason::TokenRefused,
                HoldReason::DomainBlocked | HoldReason::Wave => PauseReason::RefusalWave,
            };
            blocks.push((reason, Some(hold.probe_at)));
        }
        if self.outage {
            blocks.push((PauseReason::Outage, None));
        }
        blocks
    }
}
