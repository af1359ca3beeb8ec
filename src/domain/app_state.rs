//! What stands in an app's way, as all brokers know it: a pause by hand, a throttle, a hold; and its pace.
//!
//! It is kept as one small document. Brokers change it by [`Change`]s, which are applied again to what another broker has
//! written meanwhile, so they are made to be repeated.

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

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AppState {
    /// Paused by hand, since then.
    pub paused: Option<Timestamp>,
    /// Throttled by WNS.
    pub throttle: Option<Throttle>,
    /// Held by the broker.
    pub hold: Option<Hold>,
    /// Pace set by hand, requests a second; wins over the configuration.
    pub pace_per_second: Option<f64>,
    /// Where WNS throttled last.
    pub limit: Option<Limit>,
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
    /// Somebody paused it.
    Paused,
    /// Somebody lets it go on; ends holds and throttles too.
    Resumed,
    /// Somebody set its pace, or gave it back to the configuration.
    Pace(Option<f64>),
    /// Time has passed.
    Looked,
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

impl AppState {
    /// Whether the app may send at `now`.
    #[must_use]
    pub fn gate(&self, now: Timestamp) -> Gate {
        if self.paused.is_some() {
            return Gate::Shut(None);
        }
        if let Some(throttle) = self.throttle.as_ref().filter(|t| t.until > now) {
            return Gate::Shut(Some(throttle.until));
        }
        match &self.hold {
            None => Gate::Open,
            Some(hold) if hold.probe_at > now => Gate::Shut(Some(hold.probe_at)),
            Some(_) => Gate::Probe,
        }
    }

    /// Whether refusals are not believed now.
    #[must_use]
    pub fn in_wave(&self) -> bool {
        self.hold.is_some()
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
            Change::ProbePassed => self.hold.take().map(|_| EventKind::AppResumed),
            Change::Paused if self.paused.is_none() => {
                self.paused = Some(now);
                Some(EventKind::AppHeld)
            }
            Change::Paused => None,
            Change::Resumed => {
                let stood = self.paused.is_some() || self.hold.is_some() || self.throttle.is_some();
                (self.paused, self.hold, self.throttle) = (None, None, None);
                stood.then_some(EventKind::AppResumed)
            }
            Change::Pace(per_second) => {
                self.pace_per_second = *per_second;
                None
            }
            Change::Looked => {
                self.throttle.take_if(|t| t.until <= now)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn probing() -> Backoff {
        Backoff::new(SignedDuration::from_mins(5), SignedDuration::from_hours(1)).unwrap()
    }

    fn apply(state: &mut AppState, seconds: i64, change: Change) -> Option<EventKind> {
        state.apply(&change, at(seconds), &probing())
    }

    fn throttle(seconds: u64) -> Change {
        Change::Throttled {
            pause: Duration::from_secs(seconds),
            per_second: 100.0,
        }
    }

    #[test]
    fn a_throttle_shuts_the_gate_until_its_end_and_is_told_once() {
        let mut state = AppState::default();
        assert_eq!(
            apply(&mut state, 0, throttle(900)),
            Some(EventKind::AppThrottled)
        );
        assert_eq!(apply(&mut state, 1, throttle(60)), None);
        assert_eq!(state.gate(at(899)), Gate::Shut(Some(at(900))));
        assert_eq!(apply(&mut state, 899, Change::Looked), None);
        assert_eq!(
            apply(&mut state, 900, Change::Looked),
            Some(EventKind::AppResumed)
        );
        assert_eq!(state.gate(at(900)), Gate::Open);
        assert_eq!(
            state.limit,
            Some(Limit {
                per_second: 100.0,
                at: at(0)
            })
        );
    }

    #[test]
    fn throttles_of_one_episode_only_prolong_it() {
        let mut state = AppState::default();
        apply(&mut state, 0, throttle(60));
        apply(&mut state, 1, throttle(900));
        assert_eq!(state.gate(at(2)), Gate::Shut(Some(at(901))));
        assert_eq!(state.limit.unwrap().at, at(0));
    }

    #[test]
    fn a_throttle_lasts_a_second_at_least_and_a_day_at_most() {
        for (asked, lasts) in [(0, 1), (10, 10), (1_000_000, 86_400)] {
            let mut state = AppState::default();
            apply(&mut state, 0, throttle(asked));
            assert_eq!(state.gate(at(0)), Gate::Shut(Some(at(lasts))));
        }
    }

    #[test]
    fn a_hold_is_probed_after_five_minutes_and_then_ever_more_rarely() {
        let mut state = AppState::default();
        assert_eq!(
            apply(&mut state, 0, Change::Held(HoldReason::Wave)),
            Some(EventKind::AppHeld)
        );
        assert_eq!(
            apply(&mut state, 1, Change::Held(HoldReason::TokenRefused)),
            None
        );
        let mut now = 0;
        let mut waits = Vec::new();
        for _ in 0..6 {
            let Gate::Shut(Some(until)) = state.gate(at(now)) else {
                panic!("shut")
            };
            waits.push(until.duration_since(at(now)).as_mins());
            now += until.duration_since(at(now)).as_secs();
            assert_eq!(state.gate(at(now)), Gate::Probe);
            apply(&mut state, now, Change::ProbeFailed);
        }
        assert_eq!(waits, [5, 10, 20, 40, 60, 60]);
        assert_eq!(
            apply(&mut state, now, Change::ProbePassed),
            Some(EventKind::AppResumed)
        );
        assert_eq!(state.gate(at(now)), Gate::Open);
    }

    #[test]
    fn a_pause_by_hand_wins_and_resuming_ends_everything() {
        let mut state = AppState::default();
        apply(&mut state, 0, throttle(900));
        apply(&mut state, 0, Change::Held(HoldReason::DomainBlocked));
        assert_eq!(
            apply(&mut state, 0, Change::Paused),
            Some(EventKind::AppHeld)
        );
        assert_eq!(apply(&mut state, 1, Change::Paused), None);
        assert_eq!(state.gate(at(90_000)), Gate::Shut(None));
        assert_eq!(
            apply(&mut state, 2, Change::Resumed),
            Some(EventKind::AppResumed)
        );
        assert_eq!(state.gate(at(2)), Gate::Open);
        assert_eq!(apply(&mut state, 3, Change::Resumed), None);
    }

    #[test]
    fn it_survives_as_json_and_older_documents_are_read() {
        let mut state = AppState::default();
        apply(&mut state, 0, throttle(900));
        apply(&mut state, 0, Change::Held(HoldReason::TokenRefused));
        apply(&mut state, 0, Change::Pace(Some(50.0)));
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<AppState>(&text).unwrap(), state);
        assert_eq!(
            serde_json::from_str::<AppState>("{}").unwrap(),
            AppState::default()
        );
    }
}
