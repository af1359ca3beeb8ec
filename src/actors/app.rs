//! What everybody may know of one app without asking: its token, its pace, what stands in its way, which hosts to avoid.
//!
//! Dispatchers read it for each push and report each answer to it; what they report takes effect at once, on all of them.
//! The pacer writes down what other brokers and the next start have to know.

mod observe;
mod seen;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use jiff::{SignedDuration, Timestamp};
use tokio::{sync::Notify, time::Instant};

use self::seen::{Seen, Watched};
use super::{limiter::Limiter, tokens::Token, tokens::Tokens};
use crate::{
    domain::{
        app_state::{AppState, Change, Decided, Gate},
        breaker::Pass,
        id::AppId,
        pace::PaceBounds,
        schedule::Backoff,
        wns::token::{TokenFailure, TokenReply},
    },
    telemetry::{AppMetrics, PauseReason, Telemetry},
};

/// A probe that has not reported for so long is lost, and another may go.
const PROBE_LOST: Duration = Duration::from_secs(90);

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
    /// What was told of the token: whether there is one, and whether the credential is refused and there is none.
    has_token: AtomicBool,
    stopped: AtomicBool,
}

impl App {
    /// An app that nothing is known of yet. It notifies `hunger` when it could start more requests than its share allows.
    #[must_use]
    pub fn new(settings: AppSettings, telemetry: &Telemetry, hunger: &Arc<Notify>) -> Self {
        Self {
            metrics: telemetry.app(&settings.id),
            pace: AtomicU64::new(settings.pace.start.to_bits()),
            settings,
            tokens: Tokens::default(),
            limiter: Limiter::new(hunger.clone()),
            telemetry: telemetry.clone(),
            origin: Instant::now(),
            seen: ArcSwap::default(),
            watched: Mutex::default(),
            changed: Notify::new(),
            has_token: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
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

    /// Whether refusals of channels are not to be believed now.
    #[must_use]
    pub fn in_wave(&self) -> bool {
        let seen = self.seen.load();
        seen.healing.is_some() || seen.state.hold(&seen.decided).is_some()
    }

    /// Since when channel marks have to be taken back, because the hold in which they were made has ended by itself.
    #[must_use]
    pub fn healing(&self) -> Option<Timestamp> {
        self.seen.load().healing
    }

    /// The marks made since `since` were taken back.
    pub(super) fn healed(&self, since: Timestamp) {
        let mut watched = self.watched();
        watched.seen.healing.take_if(|healing| *healing == since);
        self.publish(&watched);
    }

    /// What stands in its way, and what people have decided.
    #[must_use]
    pub fn standing(&self) -> (AppState, Decided) {
        let seen = self.seen.load();
        (seen.state.clone(), seen.decided)
    }

    /// Whether no host has answered for a while.
    #[must_use]
    pub fn outage(&self) -> bool {
        self.seen.load().outage
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
            healing: watched.seen.healing,
            outage: watched.seen.outage,
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
        let token = self.tokens.grant(reply, asked, asked_at);
        self.telemetry
            .token_granted(&self.metrics, token.expires_at);
        self.look_at_token();
        token
    }

    /// Notes that there was no token.
    pub(super) fn token_failed(&self, failure: &TokenFailure, now: Timestamp) {
        self.tokens.fail(failure, now);
        self.telemetry
            .token_failed(&self.metrics, failure, Instant::now());
        self.look_at_token();
    }

    /// Tells that the last token has ended, or was refused, and whether that stops the app: a credential that is refused does so
    /// only when there is no token left from before.
    pub(super) fn look_at_token(&self) {
        let has_token = self.tokens.usable().is_some();
        if self.has_token.swap(has_token, Ordering::AcqRel) && !has_token {
            self.telemetry.token_lost(&self.metrics);
        }
        let stopped = self.tokens.credential_refused() && !has_token;
        if self.stopped.swap(stopped, Ordering::AcqRel) == stopped {
            return;
        }
        let reason = PauseReason::CredentialRefused;
        if stopped {
            self.telemetry.app_paused(&self.metrics, reason, None);
        } else {
            self.telemetry.app_resumed(&self.metrics, reason);
        }
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        actors::status::{AppStatus, TokenStatus},
        domain::wns::{text::Text, token::AccessToken},
    };

    use super::*;

    const LIFE: Duration = Duration::from_secs(240);

    #[tokio::test(start_paused = true)]
    async fn a_refused_credential_stops_the_app_when_its_last_token_has_ended() {
        let telemetry = Telemetry::new(Duration::from_secs(60));
        let id = AppId::new("contoso").unwrap();
        let settings = AppSettings::new(id, PaceBounds::default());
        let app = App::new(settings, &telemetry, &Arc::default());
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let ends: Timestamp = "2026-03-01T12:04:00Z".parse().unwrap();
        let grant = || TokenReply {
            access_token: AccessToken::new("EwAA").unwrap(),
            expires_in: LIFE,
        };
        let refused = TokenFailure::Credential {
            error: Text::known("invalid_client"),
            description: Text::default(),
        };
        let shown = |name: &str, labels: &str, value: i64| {
            let line = format!("reveille_{name}{{app=\"contoso\"{labels}}} {value}");
            let metrics = telemetry.render(Instant::now());
            assert!(metrics.lines().any(|l| l == line), "{line} in {metrics}");
        };
        let paused = |value| shown("app_paused", ",reason=\"credential_refused\"", value);
        let until = || match AppStatus::of(&app, now).token {
            TokenStatus::Refused { expires_at, .. } => expires_at,
            other => panic!("{other:?}"),
        };

        // The renewal is refused: the old token goes on serving.
        app.token_granted(&grant(), Instant::now(), now);
        app.token_failed(&refused, now);
        assert!(app.tokens.usable().is_some());
        assert_eq!(until(), Some(ends));
        paused(0);
        shown("credential_refused", "", 1);
        shown("token_expiry_timestamp_seconds", "", ends.as_second());

        // It ends: now the app is stopped.
        tokio::time::advance(LIFE).await;
        app.look_at_token();
        assert_eq!(until(), None);
        paused(1);
        shown("token_expiry_timestamp_seconds", "", 0);

        // An endpoint that is away has not taken the credential back.
        let away = TokenFailure::Unavailable {
            kind: crate::domain::wns::token::TokenOutage::Unreadable,
            retry_after: None,
        };
        app.token_failed(&away, now);
        shown("credential_refused", "", 1);

        // Somebody mends it.
        app.token_granted(&grant(), Instant::now(), now);
        paused(0);
        shown("credential_refused", "", 0);
    }
}
