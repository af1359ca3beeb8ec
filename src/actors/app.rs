//! What everybody may know of one app without asking: its token, its pace, what stands in its way, which hosts to avoid.
//!
//! Dispatchers read it for each push and report each answer to it; what they report takes effect at once, on all of them.
//! The pacer writes down what other brokers and the next start have to know.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use jiff::{SignedDuration, Timestamp};
use tokio::{sync::Notify, time::Instant};

use super::{limiter::Limiter, tokens::Token, tokens::Tokens};
use crate::{
    domain::{
        app_state::{AppState, Change, Decided, Gate, HoldReason},
        breaker::{Breaker, Pass},
        id::AppId,
        pace::PaceBounds,
        schedule::Backoff,
        wave::WaveWatch,
        wns::{
            reply::Outcome,
            token::{TokenFailure, TokenReply},
        },
    },
    telemetry::{AppMetrics, PauseReason, Telemetry},
};

/// A probe that has not reported for so long is lost, and another may go.
const PROBE_LOST: Duration = Duration::from_secs(90);
/// Hosts whose breakers are remembered; WNS has a few dozen.
const HOSTS_MAX: usize = 1_024;

/// How an app is configured.
#[derive(Clone, Debug)]
pub struct AppSettings {
    /// Its name.
    pub id: AppId,
    /// Its pace.
    pub pace: PaceBounds,
    /// How the probes of a hold are spaced.
    pub probing: Backoff,
}

impl AppSettings {
    /// The defaults: probes after 5 minutes, doubling to an hour.
    #[must_use]
    pub fn new(id: AppId, pace: PaceBounds) -> Self {
        let probing = Backoff::new(SignedDuration::from_mins(5), SignedDuration::from_hours(1));
        Self {
            id,
            pace,
            probing: probing.expect("five minutes are less than an hour"),
        }
    }
}

/// Whether pushes of an app may go out now.
#[derive(Clone, Debug)]
pub enum Allowance {
    /// With this token.
    Free(Arc<Token>),
    /// One, with this token, and what comes of it decides.
    Probe(Arc<Token>),
    /// Not before this time, if it is known.
    Shut(Option<Timestamp>),
}

/// One app.
pub struct App {
    /// How it is configured.
    pub settings: AppSettings,
    /// Its token.
    pub tokens: Tokens,
    /// Its pace on this broker.
    pub limiter: Limiter,
    /// What is counted for it.
    pub metrics: Arc<AppMetrics>,
    telemetry: Telemetry,
    origin: Instant,
    /// The pace of all brokers together: a float's bits.
    pace: AtomicU64,
    seen: ArcSwap<Seen>,
    watched: Mutex<Watched>,
    changed: Notify,
}

/// What stands in the app's way, for reading.
#[derive(Clone, Debug, Default)]
struct Seen {
    state: AppState,
    decided: Decided,
    /// Whether the store was asked since the start: what it knows must be known before anything is sent.
    loaded: bool,
}

#[derive(Default)]
struct Watched {
    seen: Seen,
    /// Changes that the store has not taken yet.
    pending: Vec<(Change, Timestamp)>,
    wave: WaveWatch,
    breakers: HashMap<Box<str>, Breaker>,
    probe: Option<Instant>,
}

impl App {
    /// An app that nothing is known of yet.
    #[must_use]
    pub fn new(settings: AppSettings, telemetry: &Telemetry) -> Self {
        Self {
            metrics: telemetry.app(&settings.id),
            pace: AtomicU64::new(settings.pace.start.to_bits()),
            settings,
            tokens: Tokens::default(),
            limiter: Limiter::default(),
            telemetry: telemetry.clone(),
            origin: Instant::now(),
            seen: ArcSwap::default(),
            watched: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Whether pushes may go out at `now`.
    #[must_use]
    pub fn allowance(&self, now: Timestamp) -> Allowance {
        let seen = self.seen.load();
        let Some(token) = self.tokens.usable().filter(|_| seen.loaded) else {
            return Allowance::Shut(None);
        };
        match seen.state.gate(&seen.decided, now) {
            Gate::Open => Allowance::Free(token),
            Gate::Probe => Allowance::Probe(token),
            Gate::Shut(until) => Allowance::Shut(until),
        }
    }

    /// Takes the one probe of a hold; false while another one is out.
    #[must_use]
    pub fn take_probe(&self) -> bool {
        let mut watched = self.watched();
        let out = watched
            .probe
            .is_some_and(|since| since.elapsed() < PROBE_LOST);
        if !out {
            watched.probe = Some(Instant::now());
        }
        !out
    }

    /// Whether a probe is out.
    #[must_use]
    pub fn probing(&self) -> bool {
        self.watched()
            .probe
            .is_some_and(|since| since.elapsed() < PROBE_LOST)
    }

    /// Gives the probe back: it was not sent.
    pub fn return_probe(&self) {
        self.watched().probe = None;
    }

    /// Asks whether to send to `host` now. The time of [`Pass::NotBefore`] counts from now.
    #[must_use]
    pub fn pass(&self, host: &str) -> Pass {
        let now = self.origin.elapsed();
        let watched = self.watched();
        let Some(breaker) = watched.breakers.get(host) else {
            return Pass::Free;
        };
        match breaker.pass(now) {
            Pass::NotBefore(at) => Pass::NotBefore(at.saturating_sub(now)),
            pass @ (Pass::Free | Pass::Probe) => pass,
        }
    }

    /// Notes that a notification to `host` goes out although it is avoided: what comes of it decides.
    pub fn probe_host(&self, host: &str) {
        let now = self.origin.elapsed();
        if let Some(breaker) = self.watched().breakers.get_mut(host) {
            breaker.probe(now);
        }
    }

    /// Reports what came of a notification to `host`; `probe` if it was the probe of a hold. Returns whether refusals are
    /// not to be believed now.
    pub fn observe(&self, host: &str, outcome: &Outcome, probe: bool, now: Timestamp) -> bool {
        let mut watched = self.watched();
        self.feed_breaker(&mut watched, host, outcome);
        if probe {
            watched.probe = None;
        }
        let verdict = |refused: bool| (refused, !refused && probe);
        let (refused, passed) = match outcome {
            Outcome::Accepted { .. } | Outcome::Dropped | Outcome::ChannelThrottled { .. } => {
                verdict(false)
            }
            Outcome::ChannelRefused { .. }
            | Outcome::OurFault { .. }
            | Outcome::Redirected { .. } => verdict(true),
            Outcome::AppThrottled { retry_after } => {
                let change = Change::Throttled {
                    pause: *retry_after,
                    per_second: self.limiter.per_second(),
                };
                self.change(&mut watched, change, now);
                return watched.held();
            }
            Outcome::TokenRefused => {
                return self.hold(&mut watched, HoldReason::TokenRefused, probe, now);
            }
            Outcome::DomainBlocked { .. } => {
                return self.hold(&mut watched, HoldReason::DomainBlocked, probe, now);
            }
            Outcome::Unavailable { .. } => return watched.held(),
        };
        let wave = watched.wave.note(self.origin.elapsed(), refused);
        if passed && watched.held() {
            watched.wave.clear();
            self.change(&mut watched, Change::ProbePassed, now);
        } else if refused && probe {
            self.change(&mut watched, Change::ProbeFailed, now);
        } else if wave.is_some() && watched.seen.decided.believes_waves(now) {
            return self.hold(&mut watched, HoldReason::Wave, probe, now);
        }
        watched.held()
    }

    /// Whether refusals of channels are not to be believed now.
    #[must_use]
    pub fn in_wave(&self) -> bool {
        let seen = self.seen.load();
        seen.state.hold(&seen.decided).is_some()
    }

    /// What stands in its way, and what people have decided.
    #[must_use]
    pub fn standing(&self) -> (AppState, Decided) {
        let seen = self.seen.load();
        (seen.state.clone(), seen.decided)
    }

    /// Hosts that are avoided now.
    #[must_use]
    pub fn hosts_avoided(&self) -> Vec<String> {
        let watched = self.watched();
        let open = watched
            .breakers
            .iter()
            .filter(|(_, breaker)| breaker.is_open());
        open.map(|(host, _)| host.to_string()).collect()
    }

    /// The pace of all brokers together, requests a second.
    #[must_use]
    pub fn pace_per_second(&self) -> f64 {
        f64::from_bits(self.pace.load(Ordering::Relaxed))
    }

    pub(super) fn set_pace(&self, per_second: f64) {
        self.pace.store(per_second.to_bits(), Ordering::Relaxed);
    }

    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Changes that the store has to take, with the time at which they happened.
    pub(super) fn pending(&self) -> Vec<(Change, Timestamp)> {
        self.watched().pending.clone()
    }

    /// The store has taken the first `taken` pending changes, and this is what it holds now.
    pub(super) fn synchronised(&self, mut state: AppState, decided: Decided, taken: usize) {
        let mut watched = self.watched();
        watched.pending.drain(..taken);
        for (change, at) in &watched.pending {
            state.apply(change, *at, &self.settings.probing);
        }
        watched.seen = Seen {
            state,
            decided,
            loaded: true,
        };
        self.publish(&watched);
    }

    pub(super) fn note(&self, change: Change, now: Timestamp) {
        let mut watched = self.watched();
        self.change(&mut watched, change, now);
    }

    /// Takes up a token.
    pub(super) fn token_granted(
        &self,
        reply: &TokenReply,
        asked: Instant,
        asked_at: Timestamp,
    ) -> Arc<Token> {
        let stopped = self.tokens.stopped();
        let token = self.tokens.grant(reply, asked, asked_at);
        self.telemetry
            .token_granted(&self.metrics, token.expires_at);
        if stopped {
            self.telemetry
                .app_resumed(&self.metrics, PauseReason::CredentialRefused);
        }
        token
    }

    /// Notes that there was no token.
    pub(super) fn token_failed(&self, failure: &TokenFailure, now: Timestamp) {
        let stopped = self.tokens.stopped();
        self.tokens.fail(failure, now);
        self.telemetry
            .token_failed(&self.metrics, failure, Instant::now());
        if self.tokens.stopped() && !stopped {
            self.telemetry
                .app_paused(&self.metrics, PauseReason::CredentialRefused, None);
        }
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hold(&self, watched: &mut Watched, reason: HoldReason, probe: bool, now: Timestamp) -> bool {
        watched.wave.clear();
        let change = if probe && watched.held() {
            Change::ProbeFailed
        } else {
            Change::Held(reason)
        };
        self.change(watched, change, now);
        true
    }

    fn change(&self, watched: &mut Watched, change: Change, now: Timestamp) {
        let before = watched.seen.state.clone();
        watched
            .seen
            .state
            .apply(&change, now, &self.settings.probing);
        // The rest of what was on the wire when the app was throttled or held changes nothing.
        if watched.seen.state == before {
            return;
        }
        watched.pending.push((change, now));
        self.publish(watched);
        self.changed.notify_one();
    }

    fn publish(&self, watched: &Watched) {
        let old = self.seen.swap(Arc::new(watched.seen.clone()));
        let (old, new) = (old.blocks(), watched.seen.blocks());
        for (reason, _) in old
            .iter()
            .filter(|(reason, _)| new.iter().all(|(r, _)| r != reason))
        {
            self.telemetry.app_resumed(&self.metrics, *reason);
        }
        for (reason, until) in new
            .iter()
            .filter(|(reason, _)| old.iter().all(|(r, _)| r != reason))
        {
            self.telemetry.app_paused(&self.metrics, *reason, *until);
        }
    }

    fn feed_breaker(&self, watched: &mut Watched, host: &str, outcome: &Outcome) {
        let now = self.origin.elapsed();
        let failed = match outcome {
            Outcome::Unavailable { retry_after, .. } => Some(*retry_after),
            Outcome::Accepted { .. }
            | Outcome::Dropped
            | Outcome::ChannelThrottled { .. }
            | Outcome::TokenRefused
            | Outcome::ChannelRefused { .. }
            | Outcome::DomainBlocked { .. }
            | Outcome::AppThrottled { .. }
            | Outcome::OurFault { .. }
            | Outcome::Redirected { .. } => None,
        };
        let known = watched.breakers.len();
        let breaker = match watched.breakers.get_mut(host) {
            Some(breaker) => breaker,
            None if failed.is_none() || known >= HOSTS_MAX => return,
            None => watched.breakers.entry(host.into()).or_default(),
        };
        let was_open = breaker.is_open();
        match failed {
            Some(asked) => breaker.failed(now, asked),
            None => breaker.answered(),
        }
        let is_open = breaker.is_open();
        if was_open == is_open {
            return;
        }
        let open = watched
            .breakers
            .values()
            .filter(|breaker| breaker.is_open())
            .count();
        if is_open {
            self.telemetry.breaker_opened(&self.metrics, host, open);
        } else {
            self.telemetry.breaker_closed(&self.metrics, host, open);
        }
    }
}

impl Watched {
    fn held(&self) -> bool {
        self.seen.state.hold(&self.seen.decided).is_some()
    }
}

impl Seen {
    /// Why nothing is sent, and until when.
    fn blocks(&self) -> Vec<(PauseReason, Option<Timestamp>)> {
        let mut blocks = Vec::new();
        if self.decided.paused {
            blocks.push((PauseReason::Operator, None));
        }
        let throttle = self.state.throttle.as_ref();
        if let Some(throttle) = throttle.filter(|t| !self.decided.ended(t.since)) {
            blocks.push((PauseReason::AppThrottled, Some(throttle.until)));
        }
        if let Some(hold) = self.state.hold(&self.decided) {
            let reason = match hold.reason {
                HoldReason::TokenRefused => PauseReason::TokenRefused,
                HoldReason::DomainBlocked | HoldReason::Wave => PauseReason::RefusalWave,
            };
            blocks.push((reason, Some(hold.probe_at)));
        }
        blocks
    }
}
