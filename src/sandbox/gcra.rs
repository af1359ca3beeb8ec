//! The ceiling of an app or a channel: the generic cell rate algorithm on one atomic.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use super::clock::{Moment, nanos};

/// How many requests are let through, and how many of them at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gcra {
    interval: u64,
    tolerance: u64,
}

impl Gcra {
    /// `rate` requests per second, `burst` (at least 1) of them at once.
    pub(crate) fn per_second(rate: f64, burst: u32) -> Self {
        let interval = ((1e9 / rate) as u64).max(1);
        Self {
            interval,
            tolerance: interval.saturating_mul(u64::from(burst.saturating_sub(1))),
        }
    }

    /// `count` (at least 1) requests at once, and as many again with each `window`.
    pub(crate) fn per_window(count: u32, window: Duration) -> Self {
        let interval = (nanos(window) / u64::from(count.max(1))).max(1);
        Self {
            interval,
            tolerance: interval.saturating_mul(u64::from(count.saturating_sub(1))),
        }
    }

    /// Whether a request may pass now; `state` holds the time at which the ceiling would be unused again, 0 to begin with.
    pub(crate) fn admits(self, state: &AtomicU64, now: Moment) -> bool {
        state
            .fetch_update(Relaxed, Relaxed, |free_at| {
                let start = free_at.max(now.0);
                (start - now.0 <= self.tolerance).then(|| start.saturating_add(self.interval))
            })
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_burst_passes_at_once_and_then_one_per_interval() {
        let (gcra, state) = (Gcra::per_second(100.0, 5), AtomicU64::new(0));
        let now = Moment(1);
        assert_eq!((0..20).filter(|_| gcra.admits(&state, now)).count(), 5);
        assert!(!gcra.admits(&state, now.after(Duration::from_millis(9))));
        assert!(gcra.admits(&state, now.after(Duration::from_millis(10))));
        assert!(!gcra.admits(&state, now.after(Duration::from_millis(10))));
    }

    #[test]
    fn one_per_window_means_the_second_waits_for_the_window() {
        let (gcra, state) = (
            Gcra::per_window(1, Duration::from_secs(30)),
            AtomicU64::new(0),
        );
        assert!(gcra.admits(&state, Moment(1)));
        assert!(!gcra.admits(&state, Moment(1).after(Duration::from_secs(29))));
        assert!(gcra.admits(&state, Moment(1).after(Duration::from_secs(30))));
    }

    proptest! {
        #[test]
        fn never_more_than_rate_plus_burst_in_any_second(steps in proptest::collection::vec(0..20_000_000_u64, 1..400)) {
            let (gcra, state) = (Gcra::per_second(50.0, 10), AtomicU64::new(0));
            let (mut now, mut passed) = (1, Vec::new());
            for step in steps {
                now += step;
                if gcra.admits(&state, Moment(now)) {
                    passed.push(now);
                }
            }
            for start in &passed {
                let within = passed.iter().filter(|at| (*start..*start + 1_000_000_000).contains(*at)).count();
                prop_assert!(within <= 60, "{within}");
            }
        }
    }
}
