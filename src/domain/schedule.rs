//! When to try again: backoff, silence of throttled channels, re-pushes until a device checks in.

use jiff::{SignedDuration, Timestamp};

use super::{ask::Class, record::DeviceRecord};

/// An exponential backoff: doubles from `min` to `max`; half of each delay is jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    min: SignedDuration,
    max: SignedDuration,
}

/// The bounds are not a backoff.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a backoff needs 0 < min <= max <= 30 days")]
pub struct BackoffError;

const BACKOFF_MAX: SignedDuration = SignedDuration::from_hours(30 * 24);

impl Backoff {
    /// A backoff from `min` to `max`, both above zero and at most 30 days.
    ///
    /// # Errors
    /// [`BackoffError`] when the bounds are out of range or out of order.
    pub const fn new(min: SignedDuration, max: SignedDuration) -> Result<Self, BackoffError> {
        let (lo, hi) = (min.as_millis(), max.as_millis());
        if lo < 1 || lo > hi || hi > BACKOFF_MAX.as_millis() {
            return Err(BackoffError);
        }
        Ok(Self { min, max })
    }

    /// The delay after `failures` fruitless attempts in a row (0: the first), with `jitter` in `0.0..=1.0`: between half
    /// of `min * 2^failures` and all of it, at most `max`.
    #[must_use]
    pub fn delay(&self, failures: u16, jitter: f64) -> SignedDuration {
        let factor = 1_i32
            .checked_shl(u32::from(failures).min(30))
            .unwrap_or(i32::MAX);
        let full = self
            .min
            .checked_mul(factor)
            .unwrap_or(self.max)
            .min(self.max);
        let half = full / 2;
        half + half.mul_f64(jitter.clamp(0.0, 1.0))
    }

    /// The longest delay.
    #[must_use]
    pub fn max(&self) -> SignedDuration {
        self.max
    }
}

/// The policy of the broker, from its configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// Least time between two POSTs that WNS answers for one channel.
    pub interval: SignedDuration,
    /// The same for urgent asks.
    pub interval_urgent: SignedDuration,
    /// How much earlier than an ask a session may seem to begin and still count: clocks differ.
    pub check_in_skew: SignedDuration,
    /// After a dropped notification: the device sleeps or re-binds.
    pub retry: Backoff,
    /// After an attempt without a verdict: WNS or the way to it fails.
    pub outage: Backoff,
    /// Silence of a throttled channel when WNS names none.
    pub silence: Backoff,
    /// Delays between an accepted notification and the next one for a device that has not checked in; the last repeats.
    pub repush: Vec<SignedDuration>,
    /// Longest `X-WNS-TTL`: how long WNS may keep a notification for an offline device.
    pub ttl_max: SignedDuration,
    /// Whether `push.opened` and `push.accepted` go into the feed.
    pub verbose_events: bool,
}

impl Default for Rules {
    fn default() -> Self {
        let backoff = |min_secs, max_secs| Backoff {
            min: SignedDuration::from_secs(min_secs),
            max: SignedDuration::from_secs(max_secs),
        };
        Self {
            interval: SignedDuration::from_secs(30),
            interval_urgent: SignedDuration::from_secs(5),
            check_in_skew: SignedDuration::from_secs(5),
            retry: backoff(30, 30 * 60),
            outage: backoff(2, 5 * 60),
            silence: backoff(10 * 60, 24 * 3_600),
            repush: [15 * 60, 3_600, 6 * 3_600, 24 * 3_600]
                .map(SignedDuration::from_secs)
                .to_vec(),
            ttl_max: SignedDuration::from_hours(24),
            verbose_events: false,
        }
    }
}

impl Rules {
    /// The first moment at which `class` may send to the device: now, or when the minimum interval since the last POST that
    /// WNS answered is over. A last POST that lies in the future (the clock was set back) does not count.
    #[must_use]
    pub fn earliest(&self, record: &DeviceRecord, class: Class, now: Timestamp) -> Timestamp {
        let interval = match class {
            Class::Urgent => self.interval_urgent,
            Class::Normal | Class::Bulk => self.interval,
        };
        match record
            .last_attempt
            .as_ref()
            .filter(|a| a.reached && a.at <= now)
        {
            Some(last) => later(last.at, interval).max(now),
            None => now,
        }
    }

    /// The delay after the `accepted`-th accepted notification (1: the first), with `jitter` in `0.0..=1.0` adding up to a
    /// tenth.
    #[must_use]
    pub fn repush_delay(&self, accepted: u16, jitter: f64) -> SignedDuration {
        let at = usize::from(accepted.saturating_sub(1)).min(self.repush.len().saturating_sub(1));
        let base = self.repush.get(at).copied().unwrap_or(TTL_FALLBACK);
        base + base.mul_f64(0.1 * jitter.clamp(0.0, 1.0))
    }
}

/// Re-push delay when the configured schedule is empty.
const TTL_FALLBACK: SignedDuration = SignedDuration::from_hours(24);

/// `at` plus `delay`, held within what a timestamp can say.
#[must_use]
pub fn later(at: Timestamp, delay: SignedDuration) -> Timestamp {
    at.saturating_add(delay).unwrap_or(Timestamp::MAX)
}

/// `at` less `time`, held within what a timestamp can say.
#[must_use]
pub fn earlier(at: Timestamp, time: SignedDuration) -> Timestamp {
    at.saturating_sub(time).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nonsense_is_no_backoff() {
        let secs = SignedDuration::from_secs;
        assert_eq!(Backoff::new(secs(0), secs(1)), Err(BackoffError));
        assert_eq!(Backoff::new(secs(2), secs(1)), Err(BackoffError));
        assert_eq!(
            Backoff::new(secs(1), secs(31 * 24 * 3_600)),
            Err(BackoffError)
        );
    }

    #[test]
    fn repushes_follow_the_schedule_and_then_repeat_its_last_step() {
        let rules = Rules::default();
        let minutes: Vec<i64> = (1..=6)
            .map(|n| rules.repush_delay(n, 0.0).as_mins())
            .collect();
        assert_eq!(minutes, [15, 60, 360, 1440, 1440, 1440]);
    }

    proptest! {
        #[test]
        fn delays_stay_between_half_of_the_step_and_the_maximum(
            min in 1_i64..100_000, more in 0_i64..1_000_000, failures in 0_u16..=u16::MAX, jitter in 0.0_f64..=1.0,
        ) {
            let (lo, hi) = (SignedDuration::from_millis(min), SignedDuration::from_millis(min + more));
            let backoff = Backoff::new(lo, hi).unwrap();
            let delay = backoff.delay(failures, jitter);
            prop_assert!(delay >= lo / 2 && delay <= hi);
            prop_assert!(backoff.delay(failures.saturating_add(1), 0.0) >= backoff.delay(failures, 0.0));
        }
    }
}
