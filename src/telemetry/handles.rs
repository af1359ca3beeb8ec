//! Metrics resolved once for an app, a tenant or an actor, so that counting is an atomic addition and no look-up.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use prometheus::{Gauge, Histogram, IntCounter, IntGauge};
use tokio::time::Instant;

use crate::domain::{
    ask::{Class, CloseReason},
    channel::ChannelKind,
    id::{AppId, TenantId},
    wns::reply::OutcomeKind,
};

use super::{
    catalogue::Families,
    labels::{
        ActorKind, CampaignPhase, DeliveryResult, Horizon, PauseReason, PushState, ResultClass,
        TargetPhase, TokenResult,
    },
};

/// What is counted for one app. Counting happens through [`super::Telemetry`]'s events.
#[derive(Debug)]
pub struct AppMetrics {
    pub(super) app: AppId,
    pub(super) attempts: [IntCounter; OutcomeKind::ALL.len()],
    pub(super) results: [[IntCounter; ResultClass::ALL.len()]; Class::ALL.len()],
    pub(super) duration: Histogram,
    pub(super) in_flight: IntGauge,
    pub(super) pace: Gauge,
    pub(super) pace_ceiling: Gauge,
    pub(super) paused: BTreeMap<PauseReason, IntGauge>,
    pub(super) pauses: BTreeMap<PauseReason, IntCounter>,
    pub(super) pushes_due: IntGauge,
    pub(super) put_off: IntCounter,
    pub(super) breakers_open: IntGauge,
    pub(super) token_expiry: IntGauge,
    pub(super) credential_refused: IntGauge,
    pub(super) token_refreshes: BTreeMap<TokenResult, IntCounter>,
    pub(super) secret_expiry: IntGauge,
}

impl AppMetrics {
    pub(super) fn new(app: AppId, all: &Families) -> Self {
        let id = app.as_str();
        let result = |class: Class, result: &ResultClass| {
            all.attempt_results
                .with(&[id, class.as_str(), result.as_str()])
        };
        Self {
            attempts: OutcomeKind::ALL.map(|kind| all.attempts.with(&[id, kind.label()])),
            results: Class::ALL
                .map(|class| std::array::from_fn(|at| result(class, &ResultClass::ALL[at]))),
            duration: all.attempt_duration.with(&[id]),
            in_flight: all.attempts_in_flight.with(&[id]),
            pace: all.pace.with(&[id]),
            pace_ceiling: all.pace_ceiling.with(&[id]),
            paused: each(PauseReason::ALL, |reason| {
                all.app_paused.with(&[id, reason.as_str()])
            }),
            pauses: each(PauseReason::ALL, |reason| {
                all.app_pauses.with(&[id, reason.as_str()])
            }),
            pushes_due: all.app_pushes_due.with(&[id]),
            put_off: all.pushes_put_off.with(&[id]),
            breakers_open: all.breakers_open.with(&[id]),
            token_expiry: all.token_expiry.with(&[id]),
            credential_refused: all.credential_refused.with(&[id]),
            token_refreshes: each(TokenResult::ALL, |result| {
                all.token_refreshes.with(&[id, result.as_str()])
            }),
            secret_expiry: all.secret_expiry.with(&[id]),
            app,
        }
    }

    /// Attempts on the wire now.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        u64::try_from(self.in_flight.get()).unwrap_or(0)
    }

    /// The app that is counted.
    #[must_use]
    pub fn app(&self) -> &AppId {
        &self.app
    }
}

/// What is counted for one tenant.
#[derive(Debug)]
pub struct TenantMetrics {
    pub(super) tenant: TenantId,
    pub(super) pushes_open: [IntGauge; Class::ALL.len()],
    pub(super) pushes: BTreeMap<PushState, IntGauge>,
    pub(super) oldest_due: Gauge,
    pub(super) asks_closed: [IntCounter; CloseReason::LABELS.len()],
    pub(super) check_ins: IntCounter,
    pub(super) check_in_delay: Histogram,
    pub(super) check_in_skew: Gauge,
    pub(super) channels: [IntGauge; ChannelKind::ALL.len()],
    pub(super) channels_expiring: BTreeMap<Horizon, IntGauge>,
    pub(super) campaigns: BTreeMap<CampaignPhase, IntGauge>,
    pub(super) campaign_targets: BTreeMap<TargetPhase, IntGauge>,
    pub(super) webhooks_disabled: IntGauge,
    pub(super) webhook_deliveries: BTreeMap<DeliveryResult, IntCounter>,
    pub(super) webhook_lag: Gauge,
    /// By webhook that is delivered to, numbered as they came.
    pub(super) webhook_lags: Mutex<BTreeMap<u64, Duration>>,
}

impl TenantMetrics {
    pub(super) fn new(tenant: TenantId, all: &Families) -> Self {
        let id = tenant.as_str();
        Self {
            pushes_open: Class::ALL.map(|class| all.pushes_open.with(&[id, class.as_str()])),
            pushes: each(PushState::ALL, |state| {
                all.pushes.with(&[id, state.as_str()])
            }),
            oldest_due: all.push_oldest_due.with(&[id]),
            asks_closed: CloseReason::LABELS.map(|reason| all.asks_closed.with(&[id, reason])),
            check_ins: all.check_ins.with(&[id]),
            check_in_delay: all.check_in_delay.with(&[id]),
            check_in_skew: all.check_in_skew.with(&[id]),
            channels: ChannelKind::ALL.map(|kind| all.channels.with(&[id, kind.as_str()])),
            channels_expiring: each(Horizon::ALL, |horizon| {
                all.channels_expiring.with(&[id, horizon.as_str()])
            }),
            campaigns: each(CampaignPhase::ALL, |state| {
                all.campaigns.with(&[id, state.as_str()])
            }),
            campaign_targets: each(TargetPhase::ALL, |state| {
                all.campaign_targets.with(&[id, state.as_str()])
            }),
            webhooks_disabled: all.webhooks_disabled.with(&[id]),
            webhook_deliveries: each(DeliveryResult::ALL, |result| {
                all.webhook_deliveries.with(&[id, result.as_str()])
            }),
            webhook_lag: all.webhook_lag.with(&[id]),
            webhook_lags: Mutex::default(),
            tenant,
        }
    }

    /// The tenant that is counted.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }
}

/// What is counted for one actor: when it last made progress.
#[derive(Debug)]
pub struct ActorMetrics {
    pub(super) kind: ActorKind,
    started: Instant,
    /// Milliseconds from `started`.
    progressed: AtomicU64,
}

impl ActorMetrics {
    pub(super) fn new(kind: ActorKind, now: Instant) -> Arc<Self> {
        Arc::new(Self {
            kind,
            started: now,
            progressed: AtomicU64::new(0),
        })
    }

    /// Notes progress at `now`. A healthy actor calls this at least every ten seconds, idle or not.
    pub fn progressed(&self, now: Instant) {
        let millis = now.saturating_duration_since(self.started).as_millis();
        let millis = u64::try_from(millis).unwrap_or(u64::MAX);
        self.progressed.fetch_max(millis, Ordering::Relaxed);
    }

    pub(super) fn age_seconds(&self, now: Instant) -> f64 {
        let progressed = std::time::Duration::from_millis(self.progressed.load(Ordering::Relaxed));
        now.saturating_duration_since(self.started)
            .saturating_sub(progressed)
            .as_secs_f64()
    }
}

fn each<L: Copy + Ord, M>(all: &[L], make: impl Fn(L) -> M) -> BTreeMap<L, M> {
    all.iter().map(|label| (*label, make(*label))).collect()
}
