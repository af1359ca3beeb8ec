//! The time of day of this machine.

use jiff::Timestamp;

use crate::ports::clock::Clock;

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place where the time of day comes in"
    )]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
