//! What an answer of WNS means for its app: hosts to avoid, throttles, holds and waves. It takes effect at once.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{App, seen::Watched};
use crate::domain::{
    app_state::{Change, HoldReason},
    wns::reply::Outcome,
};

/// Hosts whose breakers are remembered; WNS has a few dozen.
const HOSTS_MAX: usize = 1_024;
/// Refusals that lead to a hold came this long before it at most: a wave is called within a minute.
const MARKED_BEFORE: SignedDuration = SignedDuration::from_secs(61);

impl App {
    /// Reports what came of a notification to `host`; `probe` if it was the probe of a hold. Returns whether refusals are
    /// not to be believed now.
    pub fn observe(&self, host: &str, outcome: &Outcome, probe: bool, now: Timestamp) -> bool {
        let mut watched = self.watched();
        self.feed_breaker(&mut watched, host, outcome);
        if probe {
            watched.probe = None;
        }
        match outcome {
            Outcome::Accepted { .. } | Outcome::Dropped | Outcome::ChannelThrottled { .. } => {
                watched.wave.note(self.origin.elapsed(), false);
                if probe && watched.held() {
                    self.recover(&mut watched, now);
                }
            }
            Outcome::ChannelRefused { .. }
            | Outcome::OurFault { .. }
            | Outcome::Redirected { .. } => {
                let wave = watched.wave.note(self.origin.elapsed(), true).is_some();
                if probe || (wave && watched.seen.decided.believes_waves(now)) {
                    self.hold(&mut watched, HoldReason::Wave, probe, now);
                }
            }
            Outcome::AppThrottled { retry_after } => {
                let (pause, per_second) = (*retry_after, self.pace_per_second());
                self.change(&mut watched, Change::Throttled { pause, per_second }, now);
            }
            Outcome::TokenRefused => {
                self.hold(&mut watched, HoldReason::TokenRefused, probe, now);
            }
            Outcome::DomainBlocked { .. } => {
                self.hold(&mut watched, HoldReason::DomainBlocked, probe, now);
            }
            Outcome::Unavailable { .. } => {}
        }
        watched.doubted()
    }

    /// Ends a hold, and remembers whose marks have to be taken back.
    fn recover(&self, watched: &mut Watched, now: Timestamp) {
        watched.wave.clear();
        let since = watched.seen.state.hold.as_ref().map(|hold| hold.since);
        watched.seen.healing = since.and_then(|at| at.checked_sub(MARKED_BEFORE).ok());
        self.change(watched, Change::ProbePassed, now);
    }

    /// Holds the app, or holds it longer if that is what a probe has shown.
    fn hold(&self, watched: &mut Watched, reason: HoldReason, probe: bool, now: Timestamp) {
        watched.wave.clear();
        let change = if probe && watched.held() {
            Change::ProbeFailed
        } else {
            Change::Held(reason)
        };
        self.change(watched, change, now);
    }

    pub(super) fn change(&self, watched: &mut Watched, change: Change, now: Timestamp) {
        let before = watched.seen.state.clone();
        watched
            .seen
            .state
            .apply(&change, now, &self.settings.probing);
        // The rest of what was on the wire when the app was throttled or held changes nothing.
        if watched.seen.state == before {
            return;
        }
        watched.pending.push((change, now));
        self.publish(watched);
        self.changed.notify_one();
    }

    pub(super) fn publish(&self, watched: &Watched) {
        let old = self.seen.swap(Arc::new(watched.seen.clone()));
        let (old, new) = (old.blocks(), watched.seen.blocks());
        for (reason, _) in old
            .iter()
            .filter(|(reason, _)| new.iter().all(|(r, _)| r != reason))
        {
            self.telemetry.app_resumed(&self.metrics, *reason);
        }
        for (reason, until) in new
            .iter()
            .filter(|(reason, _)| old.iter().all(|(r, _)| r != reason))
        {
            self.telemetry.app_paused(&self.metrics, *reason, *until);
        }
    }

    fn feed_breaker(&self, watched: &mut Watched, host: &str, outcome: &Outcome) {
        let now = self.origin.elapsed();
        let failed = match outcome {
            Outcome::Unavailable { retry_after, .. } => Some(*retry_after),
            Outcome::Accepted { .. }
            | Outcome::Dropped
            | Outcome::ChannelThrottled { .. }
            | Outcome::TokenRefused
            | Outcome::ChannelRefused { .. }
            | Outcome::DomainBlocked { .. }
            | Outcome::AppThrottled { .. }
            | Outcome::OurFault { .. }
            | Outcome::Redirected { .. } => None,
        };
        let known = watched.breakers.len();
        let breaker = match watched.breakers.get_mut(host) {
            Some(breaker) => breaker,
            None if failed.is_none() || known >= HOSTS_MAX => return,
            None => watched.breakers.entry(host.into()).or_default(),
        };
        let was_open = breaker.is_open();
        match failed {
            Some(asked) => breaker.failed(now, asked),
            None => breaker.answered(),
        }
        let is_open = breaker.is_open();
        if was_open == is_open {
            return;
        }
        let open = watched
            .breakers
            .values()
            .filter(|breaker| breaker.is_open())
            .count();
        if is_open {
            self.telemetry.breaker_opened(&self.metrics, host, open);
        } else {
            self.telemetry.breaker_closed(&self.metrics, host, open);
        }
    }
}
