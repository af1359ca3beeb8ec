//! How many targets may be released now: the pace, a few seconds ahead of sending, and the cap on open sessions.

use std::{collections::VecDeque, time::Duration};

use super::definition::Pace;

/// How far releasing may run ahead of sending: what a pause or cancel finds released already.
pub const AHEAD: Duration = Duration::from_secs(5);
/// A device that was woken this long ago has its session behind it, or will not open one.
const SESSION: Duration = Duration::from_secs(60);
/// A campaign without a pace of its own releases a little faster than its app sends, so that the queue never runs dry.
const LEAD: f64 = 1.25;
/// Unused pace is kept for this long, so that one late tick is made up for.
const CREDIT: Duration = Duration::from_secs(2);

/// What decides about the next release.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// Time since the runner began, by a clock that never steps.
    pub elapsed: Duration,
    /// The campaign's pace.
    pub pace: &'a Pace,
    /// What the app sends for all its tenants together, requests a second.
    pub app_per_second: f64,
    /// For how long the campaign's first released push has been due.
    pub backlog: Duration,
    /// Targets that are released and have not ended: open or awaiting.
    pub level: u64,
    /// Whether the console has asked to slow down.
    pub slowed: bool,
}

/// The pace kept over time.
#[derive(Clone, Debug, Default)]
pub struct Allowance {
    credit: f64,
    last: Option<Duration>,
    levels: VecDeque<(Duration, u64)>,
}

impl Allowance {
    /// How many targets may be released; what is taken is told by [`Allowance::spend`].
    pub fn look(&mut self, look: &Look<'_>) -> u64 {
        let rate = rate(look.pace, look.app_per_second);
        let since = match self.last {
            Some(last) => look.elapsed.saturating_sub(last),
            None => Duration::from_secs(1),
        };
        self.last = Some(look.elapsed);
        self.note_level(look);
        if look.slowed || look.backlog > AHEAD {
            self.credit = 0.0;
            return 0;
        }
        let most = (rate * CREDIT.as_secs_f64()).max(1.0);
        self.credit = (self.credit + rate * since.as_secs_f64()).min(most);
        let by_pace = self.credit as u64;
        match look.pace.open_sessions_max {
            Some(max) => by_pace.min(max.saturating_sub(self.sessions(look.level))),
            None => by_pace,
        }
    }

    /// Takes `count` released targets from the credit.
    pub fn spend(&mut self, count: u64) {
        self.credit = (self.credit - count as f64).max(0.0);
    }

    fn note_level(&mut self, look: &Look<'_>) {
        self.levels.push_back((look.elapsed, look.level));
        let begin = look.elapsed.saturating_sub(SESSION);
        // The newest sample from before the minute stays: the level is compared with it.
        while self.levels.get(1).is_some_and(|(at, _)| *at < begin) {
            self.levels.pop_front();
        }
    }

    /// Devices released within the last minute that have not checked in.
    fn sessions(&self, level: u64) -> u64 {
        let before = self.levels.front().map_or(level, |(_, level)| *level);
        level.saturating_sub(before)
    }
}

/// Targets a second that a campaign releases at most, for an app that sends `app_per_second`.
#[must_use]
pub fn rate(pace: &Pace, app_per_second: f64) -> f64 {
    pace.per_second.unwrap_or(app_per_second * LEAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pace(per_second: Option<f64>, open_sessions_max: Option<u64>) -> Pace {
        Pace {
            per_second,
            open_sessions_max,
        }
    }

    fn look(elapsed: Duration, pace: &Pace) -> Look<'_> {
        Look {
            elapsed,
            pace,
            app_per_second: 800.0,
            backlog: Duration::ZERO,
            level: 0,
            slowed: false,
        }
    }

    #[test]
    fn the_pace_is_kept_over_uneven_ticks() {
        let pace = pace(Some(10.5), None);
        let mut allowance = Allowance::default();
        let mut released = 0;
        for tenths in [0_u32, 3, 10, 14, 31, 40, 50, 62, 77, 88, 100] {
            let most = allowance.look(&look(SECOND * tenths / 10, &pace));
            allowance.spend(most);
            released += most;
        }
        // The first second's share is given at once, ten more follow.
        assert_eq!(released, 115);
    }

    #[test]
    fn without_a_pace_the_app_sets_it() {
        let pace = pace(None, None);
        assert_eq!(Allowance::default().look(&look(SECOND, &pace)), 1_000);
    }

    #[test]
    fn a_backlog_stops_the_release_and_leaves_no_burst_behind() {
        let pace = pace(Some(100.0), None);
        let mut allowance = Allowance::default();
        for seconds in 0..10 {
            let behind = Look {
                backlog: AHEAD + SECOND,
                ..look(SECOND * seconds, &pace)
            };
            assert_eq!(allowance.look(&behind), 0);
        }
        assert_eq!(allowance.look(&look(SECOND * 10, &pace)), 100);
    }

    #[test]
    fn open_sessions_are_capped_until_devices_check_in_or_a_minute_has_passed() {
        let pace = pace(Some(1_000.0), Some(300));
        let mut allowance = Allowance::default();
        let at = |seconds: u32, level: u64| Look {
            level,
            ..look(SECOND * seconds, &pace)
        };
        assert_eq!(allowance.look(&at(0, 0)), 300);
        allowance.spend(300);
        assert_eq!(allowance.look(&at(1, 300)), 0);
        // A hundred have checked in.
        assert_eq!(allowance.look(&at(2, 200)), 100);
        allowance.spend(100);
        assert_eq!(allowance.look(&at(61, 300)), 0);
        assert_eq!(allowance.look(&at(63, 300)), 200);
    }

    #[test]
    fn a_console_that_asks_for_time_gets_it() {
        let pace = pace(Some(5.0), None);
        let mut allowance = Allowance::default();
        let slowed = Look {
            slowed: true,
            ..look(SECOND, &pace)
        };
        assert_eq!(allowance.look(&slowed), 0);
        assert_eq!(allowance.look(&look(SECOND * 2, &pace)), 5);
    }
}
