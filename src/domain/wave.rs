//! A wave of refusals: when WNS suddenly refuses a good part of an app's channels, the fault is the app's and not theirs.
//!
//! A wrong secret, a blocked package name or an endpoint gone mad looks like thousands of dead channels. So the last
//! verdicts are watched: `SAMPLES` at most, none older than `SPAN`. It is a wave when half of many or nearly all of some
//! are refusals; a fleet with one dead channel in ten never comes near. Whether WNS serves the app at all is then found out by
//! a probe, and channels that it refuses again are believed to be dead, unless it refuses all. Times are monotonic, since any fixed origin.

use std::{collections::VecDeque, time::Duration};

/// Most verdicts looked at.
const SAMPLES: usize = 200;
/// Oldest verdict looked at.
const SPAN: Duration = Duration::from_secs(60);
/// From so many verdicts on, half of them refusals is a wave.
const MANY: usize = 50;
/// From so many verdicts on, nine tenths of them refusals is a wave.
const SOME: usize = 20;

/// What was seen when a wave was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wave {
    /// Refusals among the verdicts.
    pub refused: usize,
    /// Verdicts looked at.
    pub samples: usize,
}

/// Watches the verdicts of one app.
#[derive(Clone, Debug, Default)]
pub struct WaveWatch {
    verdicts: VecDeque<(Duration, bool)>,
    refused: usize,
}

impl Wave {
    /// Whether as many verdicts as are looked at were refusals, all of them.
    #[must_use]
    pub fn is_total(&self) -> bool {
        self.samples == SAMPLES && self.refused == self.samples
    }
}

impl WaveWatch {
    /// Notes a verdict, and says whether a wave runs now.
    pub fn note(&mut self, now: Duration, refused: bool) -> Option<Wave> {
        self.verdicts.push_back((now, refused));
        self.refused += usize::from(refused);
        while self.verdicts.len() > SAMPLES
            || self
                .verdicts
                .front()
                .is_some_and(|(at, _)| *at + SPAN < now)
        {
            let oldest = self.verdicts.pop_front();
            self.refused -= usize::from(oldest.is_some_and(|(_, refused)| refused));
        }
        // Only a refusal can begin a wave.
        refused.then(|| self.wave()).flatten()
    }

    /// Forgets what was seen: after the app was held, it is judged anew.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn wave(&self) -> Option<Wave> {
        let (refused, samples) = (self.refused, self.verdicts.len());
        let half_of_many = samples >= MANY && refused * 2 >= samples;
        let most_of_some = samples >= SOME && refused * 10 >= samples * 9;
        (half_of_many || most_of_some).then_some(Wave { refused, samples })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(verdicts: impl IntoIterator<Item = (u64, bool)>) -> Option<Wave> {
        let mut watch = WaveWatch::default();
        let mut waves = verdicts
            .into_iter()
            .map(|(at, refused)| watch.note(Duration::from_millis(at), refused));
        waves.find_map(|wave| wave)
    }

    #[test]
    fn nearly_only_refusals_are_a_wave_from_twenty_on() {
        assert_eq!(run((0..19).map(|n| (n, true))), None);
        assert_eq!(
            run((0..20).map(|n| (n, true))),
            Some(Wave {
                refused: 20,
                samples: 20
            })
        );
    }

    #[test]
    fn half_are_a_wave_from_fifty_on() {
        let halves = |n: u64| (0..n).map(|n| (n, n % 2 == 1));
        assert_eq!(run(halves(49)), None);
        assert_eq!(
            run(halves(50)),
            Some(Wave {
                refused: 25,
                samples: 50
            })
        );
    }

    #[test]
    fn old_verdicts_do_not_count() {
        assert_eq!(run((0..100).map(|n| (n * 4_000, true))), None);
    }

    #[test]
    fn a_wave_is_found_soon_after_a_long_good_time() {
        let good = (0..10_000).map(|n| (n, false));
        let bad = (10_000..10_101).map(|n| (n, true));
        assert_eq!(
            run(good.chain(bad)),
            Some(Wave {
                refused: 100,
                samples: 200
            })
        );
    }

    #[test]
    fn refusals_and_nothing_else_are_total_from_two_hundred_on() {
        let mut watch = WaveWatch::default();
        watch.note(Duration::ZERO, false);
        let mut total = (1..=200).map(|n| {
            let wave = watch.note(Duration::from_millis(n), true);
            wave.is_some_and(|wave| wave.is_total())
        });
        assert_eq!(total.position(|total| total), Some(199));
    }

    #[test]
    fn after_clearing_it_is_judged_anew() {
        let mut watch = WaveWatch::default();
        for n in 0..20 {
            watch.note(Duration::from_secs(n), true);
        }
        watch.clear();
        assert_eq!(watch.note(Duration::from_secs(20), true), None);
    }

    proptest! {
        #[test]
        fn one_dead_channel_in_ten_is_never_a_wave(seed in proptest::collection::vec(0_u64..1_000, 1..2_000)) {
            let mut refusals = 0;
            let verdicts = seed.iter().enumerate().map(|(at, n)| {
                let refused = at % 10 == usize::try_from(*n % 10).unwrap_or(0) && refusals * 10 < at;
                refusals += usize::from(refused);
                (n + at as u64, refused)
            });
            prop_assert_eq!(run(verdicts.collect::<Vec<_>>()), None);
        }

        #[test]
        fn the_count_of_refusals_is_that_of_the_verdicts(steps in proptest::collection::vec((0_u64..5_000, any::<bool>()), 1..500)) {
            let mut watch = WaveWatch::default();
            let mut now = Duration::ZERO;
            for (wait, refused) in steps {
                now += Duration::from_millis(wait);
                watch.note(now, refused);
                prop_assert_eq!(watch.refused, watch.verdicts.iter().filter(|(_, refused)| *refused).count());
                prop_assert!(watch.verdicts.len() <= SAMPLES);
            }
        }
    }
}
