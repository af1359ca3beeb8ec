//! A breaker for one host: when WNS or the way to it fails, pushes wait for one probe instead of a timeout each.
//!
//! Times are monotonic, since any fixed origin.

use std::time::Duration;

/// So many failures in a row open it.
const IN_A_ROW: u32 = 8;
/// It looks at this many last results at most, and opens when half of a full window has failed.
const WINDOW: u32 = 32;
/// First and longest time that it stays open.
const OPEN_MIN: Duration = Duration::from_secs(5);
const OPEN_MAX: Duration = Duration::from_secs(300);
/// A probe that has not reported for so long is lost, and another may go.
const PROBE_LOST: Duration = Duration::from_secs(60);
/// While a probe is out, the others ask again after so long: most are answered soon.
const PROBE_LOOK: Duration = Duration::from_secs(2);

/// Whether a request may go to the host now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Yes.
    Free,
    /// Yes, one, and what comes of it decides for all.
    Probe,
    /// Not before this time.
    NotBefore(Duration),
}

/// The state of one host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breaker {
    state: State,
    /// One bit a result, the newest lowest; set for a failure.
    results: u32,
    seen: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Closed,
    Open {
        until: Duration,
        openings: u32,
    },
    Probing {
        since: Duration,
        openings: u32,
    },
}

impl Breaker {
    /// Asks whether a request may go now. Whoever sends a probe says so by [`Breaker::probe`].
    #[must_use]
    pub fn pass(&self, now: Duration) -> Pass {
        match self.state {
            State::Closed => Pass::Free,
            State::Open { until, .. } if now < until => Pass::NotBefore(until),
            State::Probing { since, .. } if now < since + PROBE_LOST => {
                Pass::NotBefore((now + PROBE_LOOK).min(since + PROBE_LOST))
            }
            State::Open { .. } | State::Probing { .. } => Pass::Probe,
        }
    }

    /// Notes that a probe is sent; the others wait for what comes of it.
    pub fn probe(&mut self, now: Duration) {
        match self.state {
            State::Closed => {}
            State::Open { openings, .. } | State::Probing { openings, .. } => {
                self.state = State::Probing {
                    since: now,
                    openings,
                };
            }
        }
    }

    /// Notes that the host answered, whatever it said.
    pub fn answered(&mut self) {
        match self.state {
            State::Closed => self.push(0),
            State::Probing { .. } => *self = Self::default(),
            // Of a request that began before it opened: the probe decides.
            State::Open { .. } => {}
        }
    }

    /// Notes that the host did not answer, or that it cannot. `asked` is the wait that it asks for: whoever was told so waits as
    /// long, and the others no longer than `OPEN_MAX` before one of them has another look.
    pub fn failed(&mut self, now: Duration, asked: Option<Duration>) {
        let openings = match self.state {
            State::Closed => {
                self.push(1);
                if !self.fails() {
                    return;
                }
                0
            }
            State::Probing { openings, .. } => openings,
            State::Open { .. } => return,
        };
        let pause = OPEN_MIN.saturating_mul(1 << openings.min(10));
        self.state = State::Open {
            until: now + pause.max(asked.unwrap_or(Duration::ZERO)).min(OPEN_MAX),
            openings: openings + 1,
        };
    }

    /// Whether requests wait for a probe.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state != State::Closed
    }

    /// Whether there is nothing to remember: it is closed, and no failure is in its window.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.state == State::Closed && self.results == 0
    }

    fn push(&mut self, bit: u32) {
        self.results = (self.results << 1) | bit;
        self.seen = (self.seen + 1).min(WINDOW);
    }

    fn fails(&self) -> bool {
        let in_a_row = self.results.trailing_ones() >= IN_A_ROW;
        let half = self.seen == WINDOW && self.results.count_ones() * 2 >= WINDOW;
        in_a_row || half
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..IN_A_ROW {
            assert_eq!(breaker.pass(secs(1)), Pass::Free);
            breaker.failed(secs(1), None);
        }
        breaker
    }

    #[test]
    fn failures_in_a_row_open_it_and_one_probe_closes_it() {
        let mut breaker = opened();
        assert_eq!(breaker.pass(secs(5)), Pass::NotBefore(secs(6)));
        assert_eq!(breaker.pass(secs(6)), Pass::Probe);
        breaker.probe(secs(6));
        assert_eq!(breaker.pass(secs(6)), Pass::NotBefore(secs(8)));
        assert_eq!(breaker.pass(secs(65)), Pass::NotBefore(secs(66)));
        breaker.answered();
        assert_eq!(breaker.pass(secs(6)), Pass::Free);
    }

    #[test]
    fn failed_probes_double_the_wait_up_to_five_minutes() {
        let mut breaker = opened();
        let mut now = secs(1);
        let mut waits = Vec::new();
        for _ in 0..9 {
            let Pass::NotBefore(until) = breaker.pass(now) else {
                panic!("open")
            };
            waits.push((until - now).as_secs());
            now = until;
            assert_eq!(breaker.pass(now), Pass::Probe);
            breaker.probe(now);
            breaker.failed(now, None);
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
    }

    #[test]
    fn half_of_a_window_opens_it_too() {
        let mut breaker = Breaker::default();
        for _ in 0..WINDOW / 2 {
            assert!(!breaker.is_open());
            breaker.answered();
            breaker.failed(secs(0), None);
        }
        assert!(breaker.is_open());
    }

    #[test]
    fn what_the_host_asks_for_and_a_lost_probe_are_waited_for() {
        let mut breaker = opened();
        breaker.probe(secs(6));
        breaker.failed(secs(7), Some(secs(100)));
        assert_eq!(breaker.pass(secs(8)), Pass::NotBefore(secs(107)));
        breaker.probe(secs(107));
        assert_eq!(breaker.pass(secs(166)), Pass::NotBefore(secs(167)));
        assert_eq!(breaker.pass(secs(167)), Pass::Probe);
    }

    #[test]
    fn a_host_that_asks_for_an_hour_is_looked_at_after_five_minutes() {
        let mut breaker = opened();
        breaker.probe(secs(6));
        breaker.failed(secs(7), Some(secs(3600)));
        assert_eq!(breaker.pass(secs(8)), Pass::NotBefore(secs(307)));
        assert_eq!(breaker.pass(secs(307)), Pass::Probe);
    }

    proptest! {
        #[test]
        fn it_never_stays_shut_for_longer_than_asked_or_five_minutes(steps in proptest::collection::vec((0_u64..120, any::<bool>()), 1..200)) {
            let mut breaker = Breaker::default();
            let mut now = secs(0);
            for (wait, good) in steps {
                now += secs(wait);
                let pass = breaker.pass(now);
                if pass == Pass::Probe {
                    breaker.probe(now);
                }
                match pass {
                    Pass::Free | Pass::Probe if good => breaker.answered(),
                    Pass::Free | Pass::Probe => breaker.failed(now, None),
                    Pass::NotBefore(until) => prop_assert!(until > now && until <= now + OPEN_MAX),
                }
            }
        }
    }
}
