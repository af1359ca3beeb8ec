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
/// How long no wave is called after somebody has let an app go on.
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

    /// Whether a wave of refusals may hold the app: not within an hour after somebody has looked at it and let it go on.
    #[must_use]
    pub fn believes_waves(&self, now: Timestamp) -> bool {
        self.resumed_at.is_none_or(|at| later(at, TRUST) <= now)
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
            Change::Looked { resumed_at } => {
                let by_hand = |since: Timestamp| resumed_at.is_some_and(|at| since <= at);
                // Whoever ended it by hand has told so.
                self.hold.take_if(|hold| by_hand(hold.since));
                self.throttle.take_if(|throttle| by_hand(throttle.since));
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

    fn gate(state: &AppState, now: Timestamp) -> Gate {
        state.gate(&Decided::default(), now)
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
        assert_eq!(gate(&state, at(899)), Gate::Shut(Some(at(900))));
        assert_eq!(
            apply(&mut state, 899, Change::Looked { resumed_at: None }),
            None
        );
        assert_eq!(
            apply(&mut state, 900, Change::Looked { resumed_at: None }),
            Some(EventKind::AppResumed)
        );
        assert_eq!(gate(&state, at(900)), Gate::Open);
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
        assert_eq!(gate(&state, at(2)), Gate::Shut(Some(at(901))));
        assert_eq!(state.limit.unwrap().at, at(0));
    }

    #[test]
    fn a_throttle_lasts_a_second_at_least_and_a_day_at_most() {
        for (asked, lasts) in [(0, 1), (10, 10), (1_000_000, 86_400)] {
            let mut state = AppState::default();
            apply(&mut state, 0, throttle(asked));
            assert_eq!(gate(&state, at(0)), Gate::Shut(Some(at(lasts))));
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
            let Gate::Shut(Some(until)) = gate(&state, at(now)) else {
                panic!("shut")
            };
            waits.push(until.duration_since(at(now)).as_mins());
            now += until.duration_since(at(now)).as_secs();
            assert_eq!(gate(&state, at(now)), Gate::Probe);
            apply(&mut state, now, Change::ProbeFailed);
        }
        assert_eq!(waits, [5, 10, 20, 40, 60, 60]);
        assert_eq!(
            apply(&mut state, now, Change::ProbePassed),
            Some(EventKind::AppResumed)
        );
        assert_eq!(gate(&state, at(now)), Gate::Open);
    }

    #[test]
    fn a_pause_by_hand_wins() {
        let mut state = AppState::default();
        apply(&mut state, 0, throttle(900));
        let decided = Decided {
            paused: true,
            ..Decided::default()
        };
        assert_eq!(state.gate(&decided, at(90_000)), Gate::Shut(None));
    }

    #[test]
    fn whoever_lets_an_app_go_on_ends_what_began_before_and_no_wave_is_called_for_an_hour() {
        let mut state = AppState::default();
        apply(&mut state, 0, throttle(900));
        apply(&mut state, 1, Change::Held(HoldReason::DomainBlocked));
        let decided = Decided {
            resumed_at: Some(at(2)),
            ..Decided::default()
        };
        assert_eq!(state.gate(&decided, at(2)), Gate::Open);
        assert_eq!(state.hold(&decided), None);
        assert_eq!(
            (
                decided.believes_waves(at(3_601)),
                decided.believes_waves(at(3_602))
            ),
            (false, true)
        );

        assert_eq!(
            apply(
                &mut state,
                3,
                Change::Looked {
                    resumed_at: Some(at(2))
                }
            ),
            None
        );

        assert_eq!((state.throttle.clone(), state.hold.clone()), (None, None));
        apply(&mut state, 4, throttle(900));
        assert_eq!(state.gate(&decided, at(4)), Gate::Shut(Some(at(904))));
    }

    #[test]
    fn it_survives_as_json_and_older_documents_are_read() {
        let mut state = AppState::default();
        apply(&mut state, 0, throttle(900));
        apply(&mut state, 0, Change::Held(HoldReason::TokenRefused));
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<AppState>(&text).unwrap(), state);
        assert_eq!(
            serde_json::from_str::<AppState>("{}").unwrap(),
            AppState::default()
        );
    }
}
