//! What stands in an app's way: a throttle or a hold as all brokers know it, and what people have decided about it.
//!
//! The state is kept as one small document. Brokers change it by [`Change`]s, which are applied again to what another broker
//! has written meanwhile, so they are made to be repeated. What people decide is a document of its own.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    event::EventKind,
    pace::Limit,
    schedule::{Backoff, later},
};

/// Shortest and longest pause that a throttle is believed to ask for.
const THROTTLE_MIN: Duration = Duration::from_secs(1);
const THROTTLE_MAX: Duration = Duration::from_hours(24);
/// What happened further ahead of the clock than this happened before the clock was set back; brokers' clocks differ less.
const AHEAD_MAX: SignedDuration = SignedDuration::from_mins(1);
/// How long refusals of channels are believed after somebody has let an app go on, or the probe of a wave was answered well.
const TRUST: SignedDuration = SignedDuration::from_hours(1);

/// Why an app is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldReason {
    /// WNS refused a token that had just been renewed.
    TokenRefused,
    /// WNS refuses the sender.
    DomainBlocked,
    /// WNS refused a good part of the last notifications.
    Wave,
}

impl HoldReason {
    /// Stable text for metrics, events and the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TokenRefused => "token_refused",
            Self::DomainBlocked => "domain_blocked",
            Self::Wave => "wave",
        }
    }
}

/// A hold: one request is tried now and then, and decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Why.
    pub reason: HoldReason,
    /// Since when; channel marks made since then are not believed.
    pub since: Timestamp,
    /// When the next request may be tried.
    pub probe_at: Timestamp,
    /// Probes that failed.
    pub probes: u16,
}

/// WNS throttles the app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throttle {
    /// Since when.
    pub since: Timestamp,
    /// Until when nothing is sent.
    pub until: Timestamp,
}

/// What the brokers know.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AppState {
    /// Throttled by WNS.
    pub throttle: Option<Throttle>,
    /// Held by the broker.
    pub hold: Option<Hold>,
    /// Where WNS throttled last.
    pub limit: Option<Limit>,
    /// When the probe of a wave was last answered well: WNS serves the app, so channels that it refuses again are dead.
    pub cleared_at: Option<Timestamp>,
    /// When somebody last let the app go on in spite of a wave: the channels that WNS refuses are dead, be they all.
    pub excused_at: Option<Timestamp>,
}

/// What people have decided.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Decided {
    /// The app is paused.
    pub paused: bool,
    /// When somebody last asked it to go on: what began earlier is over.
    pub resumed_at: Option<Timestamp>,
    /// Requests a second to begin with.
    pub start_per_second: Option<f64>,
    /// Most requests a second.
    pub ceiling_per_second: Option<f64>,
}

/// Something that happened to an app.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// WNS throttled it for this long, at this pace.
    Throttled {
        /// The pause that WNS asks for.
        pause: Duration,
        /// Requests a second when it happened.
        per_second: f64,
    },
    /// It must be held.
    Held(HoldReason),
    /// The probe of a hold showed that nothing has changed.
    ProbeFailed,
    /// The probe of a hold was answered well.
    ProbePassed,
    /// Time has passed, or somebody has asked it to go on.
    Looked {
        /// When, if ever.
        resumed_at: Option<Timestamp>,
    },
}

/// Whether the app may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Freely.
    Open,
    /// One request, whose answer decides.
    Probe,
    /// Not before this time; none when somebody has to act.
    Shut(Option<Timestamp>),
}

impl Decided {
    /// Whether what began at `since` was ended by hand.
    #[must_use]
    pub fn ended(&self, since: Timestamp) -> bool {
        self.resumed_at.is_some_and(|at| since <= at)
    }

    /// The same without a resumption by a clock that was set back since: it would end what begins until the clock has caught up.
    /// What it was meant to end is over.
    #[must_use]
    pub fn without_ahead(self, now: Timestamp) -> Self {
        let resumed_at = self.resumed_at.filter(|at| !is_ahead(*at, now));
        Self { resumed_at, ..self }
    }
}

impl AppState {
    /// Whether the app may send at `now`.
    #[must_use]
    pub fn gate(&self, decided: &Decided, now: Timestamp) -> Gate {
        if decided.paused {
            return Gate::Shut(None);
        }
        let throttle = self.throttle.as_ref();
        if let Some(throttle) = throttle.filter(|t| t.until > now && !decided.ended(t.since)) {
            return Gate::Shut(Some(throttle.until));
        }
        match self.hold(decided) {
            None => Gate::Open,
            Some(hold) if hold.probe_at > now => Gate::Shut(Some(hold.probe_at)),
            Some(_) => Gate::Probe,
        }
    }

    /// The hold, unless it was ended by hand. While it lasts, no refusal of a channel is believed.
    #[must_use]
    pub fn hold(&self, decided: &Decided) -> Option<&Hold> {
        self.hold.as_ref().filter(|hold| !decided.ended(hold.since))
    }

    /// Whether a wave may be a fault of the app: not within an hour after somebody has let it go on in spite of one.
    #[must_use]
    pub fn believes_waves(&self, now: Timestamp) -> bool {
        !lately(self.excused_at, now)
    }

    /// Whether channels that WNS refuses may be a wave: within an hour after a probe has shown that the app is served, only if
    /// WNS refuses all.
    #[must_use]
    pub fn doubts_channels(&self, now: Timestamp) -> bool {
        !lately(self.cleared_at, now)
    }

    /// Whether it began by a clock that was set back since, so that it would last longer by the step.
    #[must_use]
    pub fn is_ahead(&self, now: Timestamp) -> bool {
        let throttled = self.throttle.as_ref().map(|throttle| throttle.since);
        let held = self.hold.as_ref().map(|hold| hold.since);
        throttled
            .max(held)
            .is_some_and(|since| is_ahead(since, now))
    }

    /// Lets what began by a clock that was set back begin now: nobody knows how much of it is over.
    fn follow_clock(&mut self, now: Timestamp, probing: &Backoff) {
        if let Some(throttle) = self.throttle.as_mut().filter(|t| is_ahead(t.since, now)) {
            throttle.until = later(now, throttle.until.duration_since(throttle.since));
            throttle.since = now;
        }
        if let Some(hold) = self.hold.as_mut().filter(|h| is_ahead(h.since, now)) {
            hold.probe_at = later(now, probing.delay(hold.probes, 1.0));
            hold.since = now;
        }
    }

    /// Applies a change at `now`; `probing` spaces the probes of a hold. Returns the event to tell, if the app's way has
    /// become free or blocked by it.
    pub fn apply(
        &mut self,
        change: &Change,
        now: Timestamp,
        probing: &Backoff,
    ) -> Option<EventKind> {
        match change {
            Change::Throttled { pause, per_second } => self.throttled(*pause, *per_second, now),
            Change::Held(reason) => self.held(*reason, now, probing),
            Change::ProbeFailed => {
                let hold = self.hold.as_mut()?;
                hold.probes = hold.probes.saturating_add(1);
                hold.probe_at = later(now, probing.delay(hold.probes, 1.0));
                None
            }
            Change::ProbePassed => {
                let hold = self.hold.take()?;
                if hold.reason == HoldReason::Wave {
                    self.cleared_at = Some(now);
                }
                Some(EventKind::AppResumed)
            }
            Change::Looked { resumed_at } => {
                let by_hand = |since: Timestamp| resumed_at.is_some_and(|at| since <= at);
                // Whoever ended it by hand has told so.
                let ended = self.hold.take_if(|hold| by_hand(hold.since));
                if ended.is_some_and(|hold| hold.reason == HoldReason::Wave) {
                    self.excused_at = *resumed_at;
                }
                self.throttle.take_if(|throttle| by_hand(throttle.since));
                self.follow_clock(now, probing);
                self.throttle.take_if(|throttle| throttle.until <= now)?;
                Some(EventKind::AppResumed)
            }
        }
    }

    fn throttled(&mut self, pause: Duration, per_second: f64, now: Timestamp) -> Option<EventKind> {
        let pause = SignedDuration::try_from(pause.clamp(THROTTLE_MIN, THROTTLE_MAX));
        let until = later(now, pause.unwrap_or(SignedDuration::ZERO));
        match &mut self.throttle {
            // The rest of what was on the wire; it may only prolong the pause.
            Some(throttle) if throttle.until > now => {
                throttle.until = throttle.until.max(until);
                None
            }
            Some(_) | None => {
                self.throttle = Some(Throttle { since: now, until });
                self.limit = Some(Limit {
                    per_second,
                    at: now,
                });
                Some(EventKind::AppThrottled)
            }
        }
    }

    fn held(&mut self, reason: HoldReason, now: Timestamp, probing: &Backoff) -> Option<EventKind> {
        if self.hold.is_some() {
            return None;
        }
        let probe_at = later(now, probing.delay(0, 1.0));
        self.hold = Some(Hold {
            reason,
            since: now,
            probe_at,
            probes: 0,
        });
        Some(EventKind::AppHeld)
    }
}

/// Whether it was within the time of trust.
fn lately(at: Option<Timestamp>, now: Timestamp) -> bool {
    at.is_some_and(|at| !is_ahead(at, now) && now < later(at, TRUST))
}

fn is_ahead(since: Timestamp, now: Timestamp) -> bool {
    since > later(now, AHEAD_MAX)
}

#[cfg(test)]
mod tests;
