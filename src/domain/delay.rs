//! How long devices take from push to check-in: a histogram whose buckets are plain counters, so that shards add up.

use std::{collections::BTreeMap, time::Duration};

use jiff::SignedDuration;

/// Buckets for each doubling of the delay: a percentile is at most 19 % too high.
const PER_DOUBLING: u32 = 4;
/// Upper end of bucket 0 in milliseconds.
const FIRST_MS: f64 = 100.0;
/// The last bucket ends at about 77 days, beyond every deadline, and holds what is longer too.
const LAST: u16 = 104;

/// A range of delays; bucket 0 ends at 100 ms, each further one 2^(1/4) later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DelayBucket(pub u16);

impl DelayBucket {
    /// The bucket of a delay; negative ones count as none.
    #[must_use]
    pub fn of(delay: SignedDuration) -> Self {
        let ms = delay.as_millis_f64();
        if ms <= FIRST_MS {
            return Self(0);
        }
        let doublings = (ms / FIRST_MS).log2() * f64::from(PER_DOUBLING);
        // A float becomes an integer by saturating, so the result is within the buckets.
        Self((doublings.ceil() as u16).min(LAST))
    }

    /// The longest delay in the bucket.
    #[must_use]
    pub fn upper(self) -> SignedDuration {
        let ms = FIRST_MS * 2_f64.powf(f64::from(self.0) / f64::from(PER_DOUBLING));
        SignedDuration::from_millis(ms.round() as i64)
    }
}

/// Counted delays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delays(BTreeMap<DelayBucket, u64>);

impl Delays {
    /// Counts `count` delays of a bucket.
    pub fn add(&mut self, bucket: DelayBucket, count: u64) {
        *self.0.entry(bucket).or_default() += count;
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.values().sum()
    }

    /// The delay that a `share` (in `0.0..=1.0`) of the counted ones does not exceed, rounded up to its bucket; `None` when
    /// nothing was counted.
    #[must_use]
    pub fn percentile(&self, share: f64) -> Option<SignedDuration> {
        let rank = (share.clamp(0.0, 1.0) * self.count() as f64)
            .ceil()
            .max(1.0) as u64;
        let mut below = 0;
        self.0.iter().find_map(|(bucket, count)| {
            below += count;
            (below >= rank).then(|| bucket.upper())
        })
    }

    /// Seconds of all counted delays together, each rounded up to its bucket and cut at `most`.
    #[must_use]
    pub fn seconds_up_to(&self, most: Duration) -> f64 {
        let most = most.as_secs_f64();
        let each = |(bucket, count): (&DelayBucket, &u64)| {
            bucket.upper().as_secs_f64().min(most) * *count as f64
        };
        self.0.iter().map(each).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_delays_have_no_percentiles() {
        assert_eq!(Delays::default().percentile(0.5), None);
    }

    #[test]
    fn percentiles_walk_the_buckets() {
        let mut delays = Delays::default();
        let fast = DelayBucket::of(SignedDuration::from_secs(1));
        let slow = DelayBucket::of(SignedDuration::from_hours(2));
        delays.add(fast, 99);
        delays.add(slow, 1);
        assert_eq!(delays.percentile(0.5), Some(fast.upper()));
        assert_eq!(delays.percentile(0.99), Some(fast.upper()));
        assert_eq!(delays.percentile(1.0), Some(slow.upper()));
    }

    proptest! {
        #[test]
        fn a_delay_lies_in_its_bucket(ms in 0_i64..40 * 24 * 3_600_000) {
            let delay = SignedDuration::from_millis(ms);
            let bucket = DelayBucket::of(delay);
            let slack = SignedDuration::from_millis(1);
            prop_assert!(delay <= bucket.upper() + slack);
            if bucket.0 > 0 {
                prop_assert!(delay + slack >= DelayBucket(bucket.0 - 1).upper());
            }
        }
    }
}
