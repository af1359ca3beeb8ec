//! What the actors say of themselves, as the API asks for it.

use std::{collections::BTreeMap, sync::Arc};

use tokio::time::Instant;

use super::watch::Watchman;
use crate::{
    actors::{self, broker::Broker},
    api::MetricsText,
    domain::id::{AppId, TenantId},
    service::status::{ActorStatus, AppStatus, BrokerStatus, Hold, TokenState, TokenStatus},
    telemetry::{RecentFailure, Telemetry},
};

/// Answers from what the actors share.
pub(super) struct Standing {
    broker: Arc<Broker>,
    telemetry: Telemetry,
    watch: Arc<Watchman>,
}

impl Standing {
    pub(super) fn new(broker: Arc<Broker>, telemetry: Telemetry, watch: Arc<Watchman>) -> Self {
        Self {
            broker,
            telemetry,
            watch,
        }
    }
}

impl BrokerStatus for Standing {
    fn app(&self, app: &AppId) -> Option<AppStatus> {
        let found = self.broker.apps.iter().find(|a| a.settings.id == *app)?;
        let status = actors::AppStatus::of(found, self.broker.clock.now());
        let metrics = self.telemetry.app(app);
        Some(AppStatus {
            token: token(&status.token),
            pace_per_second: status.pace_per_second,
            share_per_second: status.share_per_second,
            in_flight: metrics.in_flight(),
            throttled_until: status.throttle.as_ref().map(|t| t.until),
            outage: status.outage,
            holds: holds(&status),
            hosts_avoided: status.hosts_avoided,
        })
    }

    fn recent_failures(&self, app: &AppId) -> Vec<RecentFailure> {
        self.telemetry.recent_failures(app)
    }

    fn unserved(&self) -> BTreeMap<TenantId, u64> {
        self.broker.roster.unserved()
    }

    fn actors(&self) -> Vec<ActorStatus> {
        self.watch.actors()
    }
}

fn token(status: &actors::TokenStatus) -> TokenStatus {
    let told = |state, expires_at, detail| TokenStatus {
        state,
        expires_at,
        detail,
    };
    match status {
        actors::TokenStatus::Starting => told(TokenState::Pending, None, None),
        actors::TokenStatus::Good { expires_at } => {
            told(TokenState::Valid, Some(*expires_at), None)
        }
        actors::TokenStatus::Refused {
            detail,
            cure,
            expires_at,
            ..
        } => told(
            TokenState::Refused,
            *expires_at,
            Some(format!("{detail}; {cure}")),
        ),
        actors::TokenStatus::Unavailable {
            detail, expires_at, ..
        } => told(TokenState::Unavailable, *expires_at, Some(detail.clone())),
    }
}

fn holds(status: &actors::AppStatus) -> Vec<Hold> {
    let throttle = status.throttle.as_ref().map(|t| Hold {
        reason: "throttled".to_owned(),
        since: t.since,
        until: Some(t.until),
    });
    let hold = status.hold.as_ref().map(|h| Hold {
        reason: h.reason.as_str().to_owned(),
        since: h.since,
        until: Some(h.probe_at),
    });
    throttle.into_iter().chain(hold).collect()
}

/// The metrics of this process.
pub(super) struct Metrics(pub(super) Telemetry);

impl MetricsText for Metrics {
    fn metrics_text(&self) -> String {
        self.0.render(Instant::now())
    }
}
