//! How many targets may be released now: the pace, a few seconds ahead of sending, and the cap on open sessions.

use std::time::Duration;

use super::definition::Pace;

/// How far releasing may run ahead of sending: what a pause or cancel finds released already.
pub const AHEAD: Duration = Duration::from_secs(5);
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
    /// Whether pushes are to be repeated: a part of the sessions is theirs.
    pub repush_due: bool,
    /// Targets that were told to wake within the last minute and have not checked in.
    pub sessions: u64,
    /// Whether the console has asked to slow down.
    pub slowed: bool,
}

/// The pace kept over time.
#[derive(Clone, Debug, Default)]
pub struct Allowance {
    credit: f64,
    last: Option<Duration>,
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
        if look.slowed || look.backlog > AHEAD {
            self.credit = 0.0;
            return 0;
        }
        let most = (rate * CREDIT.as_secs_f64()).max(1.0);
        self.credit = (self.credit + rate * since.as_secs_f64()).min(most);
        let by_pace = self.credit as u64;
        match look.pace.open_sessions_max {
            Some(max) => {
                by_pace.min(first_sessions(max, look.repush_due).saturating_sub(look.sessions))
            }
            None => by_pace,
        }
    }

    /// Takes `count` released targets from the credit.
    pub fn spend(&mut self, count: u64) {
        self.credit = (self.credit - count as f64).max(0.0);
    }
}

/// Of `max` open sessions, those that first pushes may open: while re-pushes wait, a tenth is left to them.
fn first_sessions(max: u64, repush_due: bool) -> u64 {
    if repush_due { max - max / 10 } else { max }
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
            repush_due: false,
            sessions: 0,
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
    fn open_sessions_are_capped_whatever_the_pace_allows() {
        let pace = pace(Some(1_000.0), Some(300));
        for (sessions, allowed) in [(0, 300), (200, 100), (300, 0), (400, 0)] {
            let look = Look {
                sessions,
                ..look(SECOND, &pace)
            };
            // A runner that has just begun knows no less than one that has been at it for hours.
            assert_eq!(Allowance::default().look(&look), allowed);
        }
    }

    #[test]
    fn a_tenth_of_the_sessions_is_left_to_repushes_that_wait() {
        for (max, sessions, allowed) in [
            (300, 0, 270),
            (300, 269, 1),
            (300, 290, 0),
            (9, 0, 9),
            (1, 0, 1),
        ] {
            let pace = pace(Some(1_000.0), Some(max));
            let look = Look {
                sessions,
                repush_due: true,
                ..look(SECOND, &pace)
            };
            assert_eq!(Allowance::default().look(&look), allowed, "{max}");
        }
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
