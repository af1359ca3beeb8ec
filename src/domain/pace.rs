//! How many requests a second an app may start: the one place that decides it.
//!
//! WNS publishes no limit; one app was throttled near 1,000 a second, and the penalty was a pause of 900 s (field
//! observation). So a throttle is dear, and the pace creeps: it grows by [`GROWTH`] a second while it is used up, and a
//! throttle at `L` cuts it to [`CUT`] of `L`
//! and is remembered. For the first hour after it the pace stays under
//! [`UNDER`] of `L`; then the bound rises by [`EASING`] of `L` an hour, so that a limit that has moved is found again and one
//! that has not is hit a few times a day at most.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::app_state::Decided;

/// Growth in each second in which the pace was used up: twice as much after 35 s.
pub const GROWTH: f64 = 1.02;
/// Part of the limit that is left after a throttle.
pub const CUT: f64 = 0.7;
/// Part that is left when the last throttle was less than an hour ago: the limit is far below what was believed.
pub const CUT_AGAIN: f64 = 0.5;
/// Part of the limit up to which the pace grows again in the first hour.
pub const UNDER: f64 = 0.85;
/// Part of the limit by which that bound rises in each further hour.
pub const EASING: f64 = 0.05;
/// A second counts as used up from this part on.
const USED_UP: f64 = 0.8;
const HOUR_SECONDS: f64 = 3_600.0;

/// The configured pace of an app, requests a second: `floor <= start <= ceiling`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PaceBounds {
    /// To begin with.
    pub start: f64,
    /// Least to which throttling may slow it.
    pub floor: f64,
    /// Most.
    pub ceiling: f64,
}

impl Default for PaceBounds {
    fn default() -> Self {
        Self {
            start: 200.0,
            floor: 10.0,
            ceiling: 900.0,
        }
    }
}

impl PaceBounds {
    /// The bounds with what people have decided. Only a ceiling that was decided moves the ceiling; a start above it begins there.
    #[must_use]
    pub fn decided(self, decided: &Decided) -> Self {
        let ceiling = decided.ceiling_per_second.unwrap_or(self.ceiling);
        let start = decided.start_per_second.unwrap_or(self.start).min(ceiling);
        Self {
            start,
            floor: self.floor.min(start),
            ceiling,
        }
    }
}

/// Where WNS throttled the app last.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    /// Requests a second then.
    pub per_second: f64,
    /// When.
    pub at: Timestamp,
}

/// The pace of one app.
#[derive(Clone, Debug, PartialEq)]
pub struct PaceController {
    bounds: PaceBounds,
    rate: f64,
    limit: Option<Limit>,
}

impl PaceController {
    /// A pace that begins as configured, or under a limit that is remembered.
    #[must_use]
    pub fn new(bounds: PaceBounds, limit: Option<Limit>, now: Timestamp) -> Self {
        let mut pace = Self {
            bounds,
            rate: bounds.start,
            limit,
        };
        pace.rate = pace.rate.min(pace.bound(now));
        pace
    }

    /// Requests a second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.rate
    }

    /// The most that it may ever be, requests a second.
    #[must_use]
    pub fn ceiling_per_second(&self) -> f64 {
        self.bounds.ceiling
    }

    /// The limit that is remembered.
    #[must_use]
    pub fn limit(&self) -> Option<Limit> {
        self.limit
    }

    /// A second has passed in which `started` requests were started.
    pub fn tick(&mut self, now: Timestamp, started: u64) {
        let bound = self.bound(now);
        #[expect(
            clippy::cast_precision_loss,
            reason = "requests of a second are far below 2^52"
        )]
        let used_up = started as f64 >= self.rate * USED_UP;
        let grown = if used_up {
            self.rate * GROWTH
        } else {
            self.rate
        };
        // The bound may have fallen below the rate by a newer limit; never does it lift the rate.
        self.rate = grown.min(bound).max(self.bounds.floor);
    }

    /// WNS throttled the app while `per_second` requests a second were started. Further throttles of the same episode must
    /// not be reported: they were on the wire already.
    pub fn throttled(&mut self, now: Timestamp, per_second: f64) {
        let at = per_second.clamp(self.bounds.floor, self.rate.max(self.bounds.floor));
        self.adopt(Limit {
            per_second: at,
            at: now,
        });
    }

    /// Takes up a limit that this or another broker has met.
    pub fn adopt(&mut self, limit: Limit) {
        if self.limit.is_some_and(|known| known.at >= limit.at) {
            return;
        }
        let hour = SignedDuration::from_hours(1);
        let again = self
            .limit
            .is_some_and(|known| limit.at.duration_since(known.at) < hour);
        let cut = if again { CUT_AGAIN } else { CUT };
        self.limit = Some(limit);
        self.rate = self.rate.min(limit.per_second * cut).max(self.bounds.floor);
    }

    /// Goes on within other bounds; a limit is kept in mind.
    pub fn rebound(&mut self, bounds: PaceBounds, now: Timestamp) {
        *self = Self::new(bounds, self.limit, now);
    }

    /// The most that is allowed now.
    fn bound(&self, now: Timestamp) -> f64 {
        let Some(limit) = self.limit else {
            return self.bounds.ceiling;
        };
        let hours = (now.duration_since(limit.at).as_secs_f64() / HOUR_SECONDS).max(0.0);
        let part = UNDER + EASING * (hours - 1.0).max(0.0);
        (limit.per_second * part).clamp(self.bounds.floor, self.bounds.ceiling)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: PaceBounds = PaceBounds {
        start: 200.0,
        floor: 10.0,
        ceiling: 900.0,
    };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    /// Runs a busy app against a WNS that throttles above `capacity` for 15 minutes; returns throttles and requests.
    fn busy(capacity: f64, hours: i64) -> (u32, f64) {
        let mut pace = PaceController::new(BOUNDS, None, at(0));
        let (mut throttles, mut requests, mut paused_until) = (0, 0.0, 0);
        for second in 0..hours * 3_600 {
            if second < paused_until {
                pace.tick(at(second), 0);
                continue;
            }
            let rate = pace.per_second();
            if rate > capacity {
                pace.throttled(at(second), rate);
                throttles += 1;
                paused_until = second + 900;
                continue;
            }
            requests += rate;
            pace.tick(at(second), rate.ceil() as u64);
        }
        (throttles, requests)
    }

    #[test]
    fn an_app_that_is_never_throttled_reaches_its_ceiling_in_minutes() {
        let mut pace = PaceController::new(BOUNDS, None, at(0));
        for second in 0..120 {
            pace.tick(at(second), 1_000);
        }
        assert_eq!(pace.per_second(), 900.0);
    }

    #[test]
    fn an_idle_app_learns_nothing() {
        let mut pace = PaceController::new(BOUNDS, None, at(0));
        for second in 0..1_000 {
            pace.tick(at(second), 100);
        }
        assert_eq!(pace.per_second(), 200.0);
    }

    #[test]
    fn a_throttle_cuts_the_pace_and_is_remembered_over_a_restart() {
        let mut pace = PaceController::new(BOUNDS, None, at(0));
        pace.throttled(at(0), 180.0);
        assert_eq!(pace.per_second(), 180.0 * CUT);
        let restarted = PaceController::new(BOUNDS, pace.limit(), at(900));
        assert_eq!(restarted.per_second(), 180.0 * UNDER);
    }

    #[test]
    fn an_older_limit_changes_nothing() {
        let mut pace = PaceController::new(BOUNDS, None, at(0));
        pace.throttled(at(10), 100.0);
        let before = pace.clone();
        pace.adopt(Limit {
            per_second: 50.0,
            at: at(9),
        });
        assert_eq!(pace, before);
    }

    #[test]
    fn a_limit_is_found_and_mostly_used_and_rarely_hit() {
        for capacity in [50.0, 150.0, 430.0, 700.0] {
            let (throttles, requests) = busy(capacity, 24);
            assert!(throttles <= 10, "{throttles} throttles at {capacity}");
            assert!(
                requests >= 0.75 * capacity * 86_400.0,
                "{requests} at {capacity}"
            );
        }
    }

    #[test]
    fn a_pace_set_by_hand_wins() {
        let decided = Decided {
            ceiling_per_second: Some(50.0),
            ..Decided::default()
        };
        let mut pace = PaceController::new(BOUNDS.decided(&decided), None, at(0));
        pace.tick(at(1), 1_000);
        assert_eq!(pace.per_second(), 50.0);
        let decided = Decided {
            start_per_second: Some(5_000.0),
            ..Decided::default()
        };
        let pace = PaceController::new(BOUNDS.decided(&decided), None, at(0));
        assert_eq!(pace.per_second(), BOUNDS.ceiling, "nobody has lifted it");
    }

    proptest! {
        #[test]
        fn the_pace_stays_within_its_bounds(
            floor in 1.0_f64..50.0, more in 0.0_f64..500.0, most in 0.0_f64..5_000.0,
            steps in proptest::collection::vec((-100_i64..10_000, 0_u64..10_000, prop::option::of(0.0_f64..10_000.0)), 0..300),
        ) {
            let bounds = PaceBounds { start: floor + more, floor, ceiling: floor + more + most };
            let mut pace = PaceController::new(bounds, None, at(0));
            let mut now = 0;
            for (wait, started, throttled) in steps {
                now += wait;
                let before = pace.per_second();
                match throttled {
                    Some(rate) => {
                        pace.throttled(at(now), rate);
                        prop_assert!(pace.per_second() <= before);
                    }
                    None => {
                        pace.tick(at(now), started);
                        prop_assert!(pace.per_second() <= (before * GROWTH).max(floor) + 1e-9);
                    }
                }
                prop_assert!((bounds.floor..=bounds.ceiling).contains(&pace.per_second()));
            }
        }
    }
}
