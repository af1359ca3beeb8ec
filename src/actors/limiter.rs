//! The smooth part of an app's pace: whether a request may start at this very moment.
//!
//! Shared by all dispatchers. The rate is this broker's share and is valid for a while only: a broker that cannot renew it
//! sends nothing, so that all together never exceed the pace.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use governor::{
    Quota, RateLimiter,
    clock::Clock,
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};
use tokio::time::Instant;

/// Part of a second's requests that may start at once.
const BURST: f64 = 0.02;
/// A change of the rate smaller than this part is not worth a new limiter.
const SAME: f64 = 0.001;
/// When to look again while there is no share.
const WITHOUT_SHARE: Duration = Duration::from_millis(20);
/// How much longer than it has to wait an urgent request keeps the others back: it comes with the next turn of its dispatcher.
const URGENT_GRACE: Duration = Duration::from_millis(5);
/// Slowest rate that is told from none, requests a second.
const RATE_MIN: f64 = 0.001;
/// Fastest rate.
const RATE_MAX: f64 = 10_000_000.0;

type Governor =
    RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<std::time::Instant>>;

/// Tokio's clock for governor, so that paused time holds here too.
#[derive(Clone, Copy, Debug, Default)]
struct TokioClock;

impl Clock for TokioClock {
    type Instant = std::time::Instant;

    fn now(&self) -> Self::Instant {
        Instant::now().into_std()
    }
}

struct Paced {
    per_second: f64,
    governor: Governor,
}

/// Whether a request has to go before others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Haste {
    /// It goes, or waits with others that go, before all that are not.
    Urgent,
    /// It takes what is left.
    Usual,
}

/// Lets requests start at a rate.
pub struct Limiter {
    origin: Instant,
    paced: ArcSwapOption<Paced>,
    /// Nanoseconds from `origin`.
    valid_until: AtomicU64,
    /// Nanoseconds from `origin`: until then the next request is an urgent one's, whichever dispatcher has it.
    urgent_until: AtomicU64,
    started: AtomicU64,
}

impl Default for Limiter {
    fn default() -> Self {
        Self {
            origin: Instant::now(),
            paced: ArcSwapOption::empty(),
            valid_until: AtomicU64::new(0),
            urgent_until: AtomicU64::new(0),
            started: AtomicU64::new(0),
        }
    }
}

impl Limiter {
    /// Sets the rate, requests a second, valid until `until`.
    pub fn set(&self, per_second: f64, until: Instant) {
        self.valid_until.store(self.nanos(until), Ordering::Relaxed);
        if per_second < RATE_MIN {
            self.paced.store(None);
            return;
        }
        let per_second = per_second.min(RATE_MAX);
        let old = self.paced.load();
        if old
            .as_ref()
            .is_some_and(|old| (old.per_second - per_second).abs() <= SAME * per_second)
        {
            return;
        }
        let paced = Paced::new(per_second);
        if old.is_some() {
            paced.drain();
        }
        self.paced.store(Some(Arc::new(paced)));
    }

    /// Takes leave to start one request now. One that waits with urgent ones has the next leave before all others, so that a
    /// dispatcher with bulk work only does not snatch it away.
    ///
    /// # Errors
    /// How long to wait before asking again.
    pub fn take(&self, haste: Haste) -> Result<(), Duration> {
        let now = self.nanos(Instant::now());
        let paced = self.paced.load();
        let Some(paced) = paced.as_ref().filter(|_| self.valid()) else {
            return Err(WITHOUT_SHARE);
        };
        let urgent_until = self.urgent_until.load(Ordering::Relaxed);
        if haste == Haste::Usual && now < urgent_until {
            return Err(Duration::from_nanos(urgent_until - now));
        }
        let leave = paced.governor.check();
        let leave = leave.map_err(|not_until| not_until.wait_time_from(TokioClock.now()));
        if haste == Haste::Urgent {
            let until = leave.err().map_or(0, |wait| {
                let wait = (wait + URGENT_GRACE).as_nanos();
                now.saturating_add(u64::try_from(wait).unwrap_or(u64::MAX))
            });
            self.urgent_until.store(until, Ordering::Relaxed);
        }
        leave?;
        self.started.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Waits until a request may start.
    pub async fn taken(&self) {
        while let Err(wait) = self.take(Haste::Usual) {
            tokio::time::sleep(wait).await;
        }
    }

    /// The rate, requests a second; zero without a share.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        let paced = self.paced.load();
        let paced = paced.as_ref().filter(|_| self.valid());
        paced.map_or(0.0, |paced| paced.per_second)
    }

    /// Requests started since the broker started.
    #[must_use]
    pub fn started(&self) -> u64 {
        self.started.load(Ordering::Relaxed)
    }

    fn valid(&self) -> bool {
        self.nanos(Instant::now()) < self.valid_until.load(Ordering::Relaxed)
    }

    fn nanos(&self, at: Instant) -> u64 {
        let nanos = at.saturating_duration_since(self.origin).as_nanos();
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }
}

impl Paced {
    fn new(per_second: f64) -> Self {
        let quota = Quota::with_period(Duration::from_secs_f64(1.0 / per_second));
        let quota = quota.expect("a rate of at most ten million has a period above zero");
        let governor =
            RateLimiter::direct_with_clock(quota.allow_burst(burst(per_second)), TokioClock);
        Self {
            per_second,
            governor,
        }
    }

    /// A limiter begins full; one that takes over from another must not give a burst of its own.
    fn drain(&self) {
        while self.governor.check().is_ok() {}
    }
}

fn burst(per_second: f64) -> NonZeroU32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate of at most ten million"
    )]
    let burst = (per_second * BURST).ceil() as u32;
    NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn starts_in(limiter: &Limiter, span: Duration) -> u64 {
        let before = limiter.started();
        let end = Instant::now() + span;
        while Instant::now() < end {
            match limiter.take(Haste::Usual) {
                Ok(()) => {}
                Err(wait) => tokio::time::sleep(wait.min(Duration::from_millis(1))).await,
            }
        }
        limiter.started() - before
    }

    fn in_an_hour() -> Instant {
        Instant::now() + Duration::from_secs(3_600)
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_never_holds_more_than_the_rate_and_a_fiftieth() {
        let limiter = Limiter::default();
        for rate in [1.0, 7.0, 200.0, 900.0] {
            limiter.set(rate, in_an_hour());
            let starts = starts_in(&limiter, Duration::from_secs(10)).await as f64;
            assert!(
                starts <= rate * 10.0 + (rate * BURST).ceil() + 1.0,
                "{starts} at {rate}"
            );
            assert!(starts >= rate * 10.0 * 0.9, "{starts} at {rate}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn rates_that_change_every_tick_give_no_bursts() {
        let limiter = Limiter::default();
        let mut starts = 0;
        for n in 0_u32..100 {
            limiter.set(100.0 + f64::from(n % 2) * 10.0, in_an_hour());
            starts += starts_in(&limiter, Duration::from_millis(100)).await;
        }
        assert!(starts <= 1_060, "{starts}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_urgent_request_that_waits_has_the_next_leave_whoever_asks_before_it() {
        let limiter = Limiter::default();
        limiter.set(100.0, in_an_hour());
        while limiter.take(Haste::Usual).is_ok() {}
        let wait = limiter.take(Haste::Urgent).unwrap_err();
        tokio::time::sleep(wait).await;

        assert!(limiter.take(Haste::Usual).is_err());
        assert!(limiter.take(Haste::Urgent).is_ok());

        // One that asked and went away keeps nobody back for long.
        let wait = limiter.take(Haste::Urgent).unwrap_err();
        tokio::time::sleep(wait + URGENT_GRACE).await;
        assert!(limiter.take(Haste::Usual).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_share_that_is_valid_nothing_starts() {
        let limiter = Limiter::default();
        assert!(limiter.take(Haste::Usual).is_err());
        limiter.set(100.0, Instant::now() + Duration::from_secs(1));
        assert!(limiter.take(Haste::Usual).is_ok());
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(limiter.take(Haste::Usual).is_err());
        assert_eq!(limiter.per_second(), 0.0);
        limiter.set(0.0, in_an_hour());
        assert!(limiter.take(Haste::Usual).is_err());
    }
}
