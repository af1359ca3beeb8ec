//! The sandbox's own time: nanoseconds since it started, and what they mean on the wall.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

/// A moment in nanoseconds since the sandbox started; fits an atomic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(pub(crate) u64);

impl Moment {
    /// Later than every other moment.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    pub(crate) fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(nanos(wait)))
    }

    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Nanoseconds of a duration, cut at 584 years.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Reads the time.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
    wall_at_start: Timestamp,
}

impl Clock {
    /// Starts at moment 1, so that 0 can mean "not yet" in an atomic.
    #[expect(
        clippy::disallowed_methods,
        reason = "the sandbox stands in for a service on another machine: it has a clock of its own, read here and nowhere else"
    )]
    pub(crate) fn start() -> Self {
        Self {
            start: Instant::now(),
            wall_at_start: Timestamp::now(),
        }
    }

    pub(crate) fn now(&self) -> Moment {
        Moment(nanos(self.start.elapsed()).saturating_add(1))
    }

    pub(crate) fn wall(&self, moment: Moment) -> Timestamp {
        self.wall_at_start
            .checked_add(Duration::from_nanos(moment.0))
            .unwrap_or(Timestamp::MAX)
    }
}
