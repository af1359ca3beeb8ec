//! The queue clock: the time of day for due times, made to never go back.
//!
//! When the wall clock is set back, what waits must not wait longer by the step. So due times are kept in queue time, which
//! is wall time plus a correction; a step back raises the correction, and a later step forward takes it away again.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::ports::clock::Clock;

/// Steps up to this are taken as jitter.
const STEP_MS: i64 = 5_000;
/// A step back is told for as long as it set the clock back, and for so long at least.
const TOLD_MIN: Duration = Duration::from_secs(600);

/// One look at both clocks, taken by the caller on its own runtime.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) instant: Instant,
    pub(super) wall_ms: i64,
}

impl Moment {
    pub(super) fn now(clock: &dyn Clock) -> Self {
        Self {
            instant: Instant::now(),
            wall_ms: clock.now().as_millisecond(),
        }
    }
}

/// The queue clock.
#[derive(Debug)]
pub(super) struct QueueClock {
    correction_ms: i64,
    wall_ms: i64,
    now_ms: i64,
    instant: Option<Instant>,
    step: Option<StepBack>,
}

/// The wall clock was set back.
#[derive(Clone, Copy, Debug)]
struct StepBack {
    ms: i64,
    seen: Instant,
}

impl QueueClock {
    /// A clock that was last seen at `wall_ms`, if ever.
    pub(super) fn new(correction_ms: i64, wall_ms: i64) -> Self {
        Self {
            correction_ms,
            wall_ms,
            now_ms: wall_ms.saturating_add(correction_ms),
            instant: None,
            step: None,
        }
    }

    /// The queue time of a moment; never less than what was told before. A moment that waited for its turn says nothing new.
    pub(super) fn observe(&mut self, moment: Moment) -> i64 {
        if self.instant.is_some_and(|last| moment.instant < last) {
            return self.now_ms;
        }
        let passed = moment.wall_ms.saturating_sub(self.wall_ms);
        if passed < -STEP_MS {
            self.correction_ms = self.correction_ms.saturating_sub(passed);
            self.step = Some(StepBack {
                ms: passed.saturating_neg(),
                seen: moment.instant,
            });
        } else if let (Some(last), true) = (self.instant, self.correction_ms > 0) {
            let elapsed = moment.instant.saturating_duration_since(last);
            let ahead =
                passed.saturating_sub(i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX));
            if ahead > STEP_MS {
                self.correction_ms -= ahead.min(self.correction_ms);
            }
        }
        self.wall_ms = moment.wall_ms;
        self.instant = Some(moment.instant);
        let now_ms = self.wall_ms.saturating_add(self.correction_ms);
        self.now_ms = self.now_ms.max(now_ms);
        self.now_ms
    }

    /// How far queue time is ahead of the wall clock because of steps back.
    pub(super) fn correction_ms(&self) -> i64 {
        self.correction_ms
    }

    /// How far the wall clock was set back lately, in milliseconds: until it shows again what it showed before.
    pub(super) fn set_back_ms(&self, now: Instant) -> Option<i64> {
        let step = self.step.filter(|_| self.correction_ms > 0)?;
        let told = Duration::from_millis(step.ms.unsigned_abs()).max(TOLD_MIN);
        (now.saturating_duration_since(step.seen) < told).then_some(step.ms)
    }

    /// Queue time of a time of day.
    pub(super) fn due_ms(&self, at: Timestamp) -> i64 {
        at.as_millisecond().saturating_add(self.correction_ms)
    }

    /// The time of day that a queue time is now.
    pub(super) fn timestamp(&self, due_ms: i64) -> Timestamp {
        let wall_ms = due_ms.saturating_sub(self.correction_ms);
        let limit = if wall_ms < 0 {
            Timestamp::MIN
        } else {
            Timestamp::MAX
        };
        Timestamp::from_millisecond(wall_ms).unwrap_or(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    fn moment(start: Instant, elapsed_ms: u64, wall_ms: i64) -> Moment {
        let instant = start + Duration::from_millis(elapsed_ms);
        Moment { instant, wall_ms }
    }

    #[test]
    fn a_step_back_keeps_what_is_left_to_wait() {
        let (start, wall) = (Instant::now(), 100 * HOUR_MS);
        let mut clock = QueueClock::new(0, wall);
        let due = clock.due_ms(Timestamp::from_millisecond(wall + 60_000).unwrap());

        let now = clock.observe(moment(start, 10, wall - HOUR_MS + 10));

        assert_eq!((now, clock.correction_ms()), (wall, HOUR_MS - 10));
        let earliest = clock.timestamp(due).as_millisecond();
        assert_eq!(earliest, wall - HOUR_MS + 10 + 60_000);
    }

    #[test]
    fn a_step_back_and_forth_cancels_out() {
        let (start, wall) = (Instant::now(), 100 * HOUR_MS);
        let mut clock = QueueClock::new(0, wall);
        clock.observe(moment(start, 0, wall));
        clock.observe(moment(start, 1_000, wall - HOUR_MS));

        let now = clock.observe(moment(start, 2_000, wall + 2_000));

        assert_eq!(clock.correction_ms(), 0);
        assert_eq!(now, wall + 2_000);
    }

    #[test]
    fn a_look_that_waited_for_its_turn_is_no_step_back() {
        let (start, wall) = (Instant::now(), 100 * HOUR_MS);
        let mut clock = QueueClock::new(0, wall);
        let waited = moment(start, 0, wall);
        assert_eq!(
            clock.observe(moment(start, 11_000, wall + 11_000)),
            wall + 11_000
        );

        assert_eq!(clock.observe(waited), wall + 11_000);

        assert_eq!(clock.correction_ms(), 0);
        assert_eq!(clock.set_back_ms(start), None);
    }

    #[test]
    fn a_step_back_is_told_until_the_clock_shows_again_what_it_showed() {
        let (start, wall) = (Instant::now(), 100 * HOUR_MS);
        let mut clock = QueueClock::new(0, wall);
        clock.observe(moment(start, 0, wall - HOUR_MS));
        let after = |ms| start + Duration::from_millis(ms);
        assert_eq!(clock.set_back_ms(after(3_599_000)), Some(HOUR_MS));
        assert_eq!(clock.set_back_ms(after(3_600_000)), None);
        assert_eq!(
            clock.correction_ms(),
            HOUR_MS,
            "what waits is not moved again"
        );

        clock.observe(moment(start, 4_000_000, wall - HOUR_MS + 4_000_000));
        clock.observe(moment(start, 4_001_000, wall - HOUR_MS + 3_990_000));
        assert_eq!(clock.set_back_ms(after(4_500_000)), Some(10_000));
        assert_eq!(clock.set_back_ms(after(4_601_000)), None);
    }

    #[test]
    fn jitter_never_turns_the_clock_back() {
        let (start, wall) = (Instant::now(), 100 * HOUR_MS);
        let mut clock = QueueClock::new(0, wall);
        assert_eq!(clock.observe(moment(start, 0, wall + 3_000)), wall + 3_000);

        assert_eq!(clock.observe(moment(start, 0, wall - 1_000)), wall + 3_000);

        assert_eq!(clock.correction_ms(), 0);
    }
}
