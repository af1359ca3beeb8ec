//! What a server's clock shows, reckoned from what the server has said.
//!
//! An answer tells a time that lies between the sending of its question and its arrival here, which may be late: a frozen broker
//! or a busy one looks at it long after. So what was said can prove a reckoning to be behind, but to be ahead only where it is so
//! even by the time of the question. A reckoning is never ahead of a clock that has not been set, and behind by no more than the
//! promptest answer was late.

use tokio::time::Instant;

/// See the module.
#[derive(Clone, Copy, Default)]
pub(super) struct Reckoning(Option<(i64, Instant)>);

impl Reckoning {
    /// The time in µs, nothing while no answer has come.
    pub(super) fn now(&self) -> Option<i64> {
        self.at(Instant::now())
    }

    /// Notes that the server has said this time, who knows when.
    pub(super) fn heard(&mut self, micros: i64) {
        let now = Instant::now();
        if micros > 0 && self.at(now).is_none_or(|known| known < micros) {
            self.0 = Some((micros, now));
        }
    }

    /// Notes the time in the answer to a question that was sent at `asked`.
    pub(super) fn answered(&mut self, micros: i64, asked: Instant) {
        if self.at(asked).is_some_and(|known| known > micros) {
            self.0 = None;
        }
        self.heard(micros);
    }

    fn at(&self, moment: Instant) -> Option<i64> {
        let (micros, known) = self.0?;
        let micros_of = |time: Instant, since: Instant| {
            let passed = time.saturating_duration_since(since).as_micros();
            i64::try_from(passed).unwrap_or(i64::MAX)
        };
        let after = micros.saturating_add(micros_of(moment, known));
        Some(after.saturating_sub(micros_of(known, moment)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_late_answer_does_not_put_the_clock_back() {
        let mut clock = Reckoning::default();
        assert_eq!(clock.now(), None);
        clock.answered(10_000_000, Instant::now());
        // an answer that lay about for a second, and one that somebody passed on
        let asked = Instant::now();
        advance(SECOND).await;
        clock.answered(10_000_100, asked);
        assert_eq!(clock.now(), Some(11_000_000));
        clock.heard(9_000_000);
        assert_eq!(clock.now(), Some(11_000_000));
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_is_said_of_a_later_time_puts_it_forward() {
        // given a first answer that lay about for a second
        let mut clock = Reckoning::default();
        let asked = Instant::now();
        advance(SECOND).await;
        clock.answered(10_000_000, asked);
        // when something is heard that was said since
        clock.heard(10_900_000);
        // then time goes on from there
        assert_eq!(clock.now(), Some(10_900_000));
        clock.answered(11_000_000, Instant::now());
        assert_eq!(clock.now(), Some(11_000_000));
        advance(SECOND).await;
        assert_eq!(clock.now(), Some(12_000_000));
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_was_set_back_is_believed_at_the_next_answer() {
        let mut clock = Reckoning::default();
        clock.heard(0);
        assert_eq!(clock.now(), None, "no time at all");
        clock.answered(10_000_000, Instant::now());
        advance(SECOND).await;
        clock.answered(10_900_000, Instant::now());
        assert_eq!(clock.now(), Some(10_900_000));
    }
}
