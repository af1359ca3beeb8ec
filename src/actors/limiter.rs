//! The smooth part of an app's pace: whether a request may start at this very moment.
//!
//! Shared by all dispatchers. The rate is this broker's share and is valid for a while only: a broker that cannot renew it
//! sends nothing, so that all together never exceed the pace.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
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
use tokio::{sync::Notify, time::Instant};

/// Part of a second's requests that may start at once.
const BURST: f64 = 0.02;
/// A change of the rate smaller than this part is not worth a new limiter.
const SAME: f64 = 0.001;
/// When to look again while there is no share.
const WITHOUT_SHARE: Duration = Duration::from_millis(20);
/// Longest sleep of one that waits for its turn: the share may have grown meanwhile.
const TAKEN_LOOK: Duration = Duration::from_millis(100);
/// How much longer than it has to wait an urgent request keeps the others back: it comes with the next turn of its dispatcher.
const URGENT_GRACE: Duration = Duration::from_millis(5);
/// Slowest rate that is told from none, requests a second.
const RATE_MIN: f64 = 0.001;
/// Fastest rate.
const RATE_MAX: f64 = 10_000_000.0;

type Governor =
    RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<std::time::Instant>>;

/// Tokio's clock for governor, so that paused time holds here too. It can be put forward.
#[derive(Clone, Debug, Default)]
struct TokioClock {
    ahead_nanos: Arc<AtomicU64>,
}

impl Clock for TokioClock {
    type Instant = std::time::Instant;

    fn now(&self) -> Self::Instant {
        Instant::now().into_std() + Duration::from_nanos(self.ahead_nanos.load(Ordering::Relaxed))
    }
}

struct Paced {
    per_second: f64,
    clock: TokioClock,
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
    /// Whether a request was refused since somebody asked.
    hungry: AtomicBool,
    hunger: Arc<Notify>,
}

impl Limiter {
    /// A limiter without a share. It notifies `hunger` when it refuses a request for the first time since [`Limiter::was_hungry`].
    #[must_use]
    pub fn new(hunger: Arc<Notify>) -> Self {
        Self {
            origin: Instant::now(),
            paced: ArcSwapOption::empty(),
            valid_until: AtomicU64::new(0),
            urgent_until: AtomicU64::new(0),
            started: AtomicU64::new(0),
            hungry: AtomicBool::new(false),
            hunger,
        }
    }

    /// Sets the rate, requests a second, valid until `until`. A request that has waited for a part of its turn at the old rate
    /// has that part behind it at the new one.
    pub fn set(&self, per_second: f64, until: Instant) {
        if per_second < RATE_MIN {
            self.valid_until.store(0, Ordering::Relaxed);
            return;
        }
        self.valid_until.store(self.nanos(until), Ordering::Relaxed);
        self.change(per_second.min(RATE_MAX));
    }

    /// Lowers the rate to `per_second` for the rest of its term, if it is greater.
    pub fn at_most(&self, per_second: f64) {
        if self.per_second() > per_second {
            self.change(per_second.max(RATE_MIN));
        }
    }

    fn change(&self, per_second: f64) {
        let old = self.paced.load();
        if old
            .as_ref()
            .is_some_and(|old| (old.per_second - per_second).abs() <= SAME * per_second)
        {
            return;
        }
        let paced = Paced::new(per_second);
        if let Some(old) = old.as_ref() {
            paced.follow(old);
        }
        self.paced.store(Some(Arc::new(paced)));
    }

    /// Takes leave to start one request now. One that waits with urgent ones has the next leave before all others, so that a
    /// dispatcher with bulk work only does not snatch it away.
    ///
    /// # Errors
    /// How long to wait before asking again.
    pub fn take(&self, haste: Haste) -> Result<(), Duration> {
        let taken = self.try_take(haste);
        if taken.is_err() && !self.hungry.swap(true, Ordering::Relaxed) {
            self.hunger.notify_one();
        }
        taken
    }

    fn try_take(&self, haste: Haste) -> Result<(), Duration> {
        let now = self.nanos(Instant::now());
        let paced = self.paced.load();
        let Some(paced) = paced.as_ref().filter(|_| self.valid()) else {
            return Err(WITHOUT_SHARE);
        };
        let urgent_until = self.urgent_until.load(Ordering::Relaxed);
        if haste == Haste::Usual && now < urgent_until {
            return Err(Duration::from_nanos(urgent_until - now));
        }
        let leave = paced.leave();
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

    /// Waits until a request may start; false if that is not before `until`.
    pub async fn taken(&self, until: Instant) -> bool {
        loop {
            let Err(wait) = self.take(Haste::Usual) else {
                return true;
            };
            let now = Instant::now();
            if now >= until {
                return false;
            }
            // By the share as it is: it grows as soon as somebody is hungry.
            tokio::time::sleep(wait.min(TAKEN_LOOK).min(until - now)).await;
        }
    }

    /// The rate, requests a second; zero without a share.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        let paced = self.paced.load();
        let paced = paced.as_ref().filter(|_| self.valid());
        paced.map_or(0.0, |paced| paced.per_second)
    }

    /// Whether a request was refused since the last call of [`Limiter::was_hungry`].
    #[must_use]
    pub fn is_hungry(&self) -> bool {
        self.hungry.load(Ordering::Relaxed)
    }

    /// Whether a request was refused since the last call.
    #[must_use]
    pub fn was_hungry(&self) -> bool {
        self.hungry.swap(false, Ordering::Relaxed)
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
        let quota = Quota::with_period(period(per_second));
        let quota = quota.expect("a rate of at most ten million has a period above zero");
        let clock = TokioClock::default();
        let governor =
            RateLimiter::direct_with_clock(quota.allow_burst(burst(per_second)), clock.clone());
        Self {
            per_second,
            clock,
            governor,
        }
    }

    /// Leave to start one request, or how long to wait for it.
    fn leave(&self) -> Result<(), Duration> {
        let leave = self.governor.check();
        leave.map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }

    /// Takes over from another: a limiter begins full, and must not give a burst of its own, nor let anybody wait anew.
    fn follow(&self, old: &Self) {
        let wait = old.leave().err().unwrap_or_default();
        let part = (wait.as_secs_f64() * old.per_second).min(1.0);
        while self.governor.check().is_ok() {}
        let waited = period(self.per_second).mul_f64(1.0 - part);
        let nanos = u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX);
        self.clock.ahead_nanos.store(nanos, Ordering::Relaxed);
    }
}

fn period(per_second: f64) -> Duration {
    Duration::from_secs_f64(1.0 / per_second)
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

    fn limiter() -> Limiter {
        Limiter::new(Arc::default())
    }

    fn in_an_hour() -> Instant {
        Instant::now() + Duration::from_secs(3_600)
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_never_holds_more_than_the_rate_and_a_fiftieth() {
        let limiter = limiter();
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
        let limiter = limiter();
        let mut starts = 0;
        for n in 0_u32..100 {
            limiter.set(100.0 + f64::from(n % 2) * 10.0, in_an_hour());
            starts += starts_in(&limiter, Duration::from_millis(100)).await;
        }
        assert!(starts <= 1_060, "{starts}");
    }

    #[tokio::test(start_paused = true)]
    async fn slow_rates_that_change_faster_than_they_give_leave_keep_their_mean() {
        for rate in [0.5, 2.0, 10.0] {
            let limiter = limiter();
            let mut starts = 0;
            for n in 0_u32..1_000 {
                limiter.set(rate * (1.0 + f64::from(n % 2) * 0.2), in_an_hour());
                starts += starts_in(&limiter, Duration::from_millis(100)).await;
            }
            let (least, most) = (rate * 100.0 * 0.95, rate * 120.0 + 2.0);
            let starts = starts as f64;
            assert!((least..=most).contains(&starts), "{starts} at {rate}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_request_is_told_once_until_somebody_asks() {
        let hunger = Arc::new(Notify::new());
        let limiter = Limiter::new(hunger.clone());
        assert!(!limiter.is_hungry());
        let told = async || tokio::time::timeout(Duration::ZERO, hunger.notified()).await;

        assert!(limiter.take(Haste::Usual).is_err());
        assert!(limiter.take(Haste::Usual).is_err());
        assert!(told().await.is_ok());
        assert!(told().await.is_err());

        assert!(limiter.was_hungry());
        assert!(!limiter.was_hungry());
        assert!(limiter.take(Haste::Usual).is_err());
        assert!(told().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn an_urgent_request_that_waits_has_the_next_leave_whoever_asks_before_it() {
        let limiter = limiter();
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
        let limiter = limiter();
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
