//! When targets will have been released: by the pace, the cap on open sessions and the holds of the waves.

use std::time::Duration;

use super::wave::Wave;

/// A release that is foreseen: every gate passes as soon as it is judged, and nothing else gets in the way.
#[derive(Clone, Copy, Debug)]
pub struct Timetable<'a> {
    /// Targets released a second, above zero.
    pub per_second: f64,
    /// The cap on open sessions.
    pub open_sessions_max: Option<u64>,
    /// How long a session counts as open, above zero: at worst
    /// [`WakeSlot::COUNTED`](crate::domain::counter::WakeSlot::COUNTED), if no device checks in meanwhile.
    pub session: Duration,
    /// The waves that are not over, in their order.
    pub waves: &'a [Wave],
    /// All targets of the campaign.
    pub targets: u64,
    /// Those of them that are released already.
    pub released: u64,
}

/// A moment of the release, in seconds from its begin.
#[derive(Default)]
struct Moment {
    at: f64,
    /// Sessions that may still be opened before the span that the cap counts is over, and when that is.
    span: (u64, f64),
}

impl Timetable<'_> {
    /// Until `count` targets are released, those that are already included.
    #[must_use]
    pub fn until(&self, count: u64) -> Duration {
        let mut moment = Moment::default();
        let mut released = self.released;
        for wave in self.waves {
            let end = wave.size.of(self.targets);
            if end >= count || released >= count {
                break;
            }
            self.release(&mut moment, end.saturating_sub(released));
            released = released.max(end);
            moment.at += wave.gate.hold.as_secs_f64();
        }
        self.release(&mut moment, count.saturating_sub(released));
        Duration::try_from_secs_f64(moment.at).unwrap_or(Duration::MAX)
    }

    /// How many targets will have been released after `time`, those that are already included.
    #[must_use]
    pub fn within(&self, time: Duration) -> u64 {
        let (mut done, mut most) = (self.released, self.targets.max(self.released));
        while done < most {
            let middle = most - (most - done) / 2;
            if self.until(middle) <= time {
                done = middle;
            } else {
                most = middle - 1;
            }
        }
        done
    }

    fn release(&self, moment: &mut Moment, count: u64) {
        let span = self.session.as_secs_f64();
        let free = |max: u64| self.per_second * span <= max as f64;
        let Some(max) = self.open_sessions_max.filter(|max| !free(*max)) else {
            moment.at += count as f64 / self.per_second;
            return;
        };
        if count > 0 && moment.at >= moment.span.1 {
            moment.span = (max, moment.at + span);
        }
        let mut left = count;
        if left > moment.span.0 {
            left -= moment.span.0;
            let full = left.saturating_sub(1) / max;
            moment.at = moment.span.1 + full as f64 * span;
            moment.span = (max, moment.at + span);
            left -= full * max;
        }
        moment.span.0 -= left;
        moment.at += left as f64 / self.per_second;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::campaign::{Gate, WaveSize};

    fn wave(targets: u64, hold: u64) -> Wave {
        Wave {
            size: WaveSize::Targets(targets),
            gate: Gate {
                hold: Duration::from_secs(hold),
                ..Gate::default()
            },
        }
    }

    fn timetable(open_sessions_max: Option<u64>, waves: &[Wave]) -> Timetable<'_> {
        Timetable {
            per_second: 100.0,
            open_sessions_max,
            session: Duration::from_secs(70),
            waves,
            targets: 100_000,
            released: 0,
        }
    }

    fn seconds(time: Duration) -> f64 {
        (time.as_secs_f64() * 1_000.0).round() / 1_000.0
    }

    #[test]
    fn a_target_waits_for_the_holds_of_the_waves_before_it() {
        let waves = [wave(1_000, 600), wave(10_000, 3_600), wave(100_000, 7_200)];
        let table = timetable(None, &waves);
        let at = [1, 1_000, 1_001, 10_000, 10_001, 100_000].map(|n| seconds(table.until(n)));
        assert_eq!(at, [0.01, 10.0, 610.01, 700.0, 4_300.01, 5_200.0]);
    }

    #[test]
    fn what_a_time_suffices_for_is_what_is_released_until_then() {
        let waves = [wave(1_000, 600), wave(10_000, 3_600)];
        let table = timetable(Some(500), &waves);
        for time in [0, 4, 10, 300, 609, 611, 2_000, 4_000, 6_000, 86_400] {
            let time = Duration::from_secs(time);
            let done = table.within(time);
            assert!(table.until(done) <= time, "{done} within {time:?}");
            assert!(done == 100_000 || table.until(done + 1) > time, "{done}");
        }
        let late = Timetable {
            released: 5_000,
            ..table
        };
        assert_eq!(late.within(Duration::ZERO), 5_000);
    }

    #[test]
    fn so_many_sessions_and_no_more_are_opened_until_they_are_not_counted_any_longer() {
        let table = timetable(Some(500), &[]);
        let at = [500, 501, 1_000, 1_001, 100_000].map(|n| seconds(table.until(n)));
        assert_eq!(at, [5.0, 70.01, 75.0, 140.01, 199.0 * 70.0 + 5.0]);
        let wide = timetable(Some(7_000), &[]);
        assert_eq!(wide.until(100_000), timetable(None, &[]).until(100_000));
    }

    #[test]
    fn sessions_that_end_soon_let_more_be_opened() {
        let soon = Timetable {
            session: Duration::from_secs(20),
            ..timetable(Some(500), &[])
        };
        let at = [500, 501, 1_000, 1_001, 100_000].map(|n| seconds(soon.until(n)));
        assert_eq!(at, [5.0, 20.01, 25.0, 40.01, 199.0 * 20.0 + 5.0]);
        let at_once = Timetable {
            session: Duration::from_secs(5),
            ..soon
        };
        assert_eq!(seconds(at_once.until(100_000)), 1_000.0);
    }

    #[test]
    fn a_hold_that_is_shorter_than_a_session_frees_none() {
        let table = |hold| seconds(timetable(Some(500), &[wave(300, hold)]).until(600));
        assert_eq!(table(10), 71.0);
        assert_eq!(table(67), 70.0 + 3.0);
    }
}
