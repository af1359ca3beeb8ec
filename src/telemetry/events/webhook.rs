//! Webhooks: events on their way to consoles that do not poll.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    domain::id::TenantId,
    telemetry::{DeliveryResult, Telemetry, TenantMetrics},
};

impl Telemetry {
    /// A console took `events` events, in so many requests.
    pub fn webhook_delivered(&self, tenant: &TenantMetrics, requests: u64, events: usize) {
        tenant.webhook_deliveries[&DeliveryResult::Delivered].inc_by(requests);
        tracing::debug!(tenant = %tenant.tenant, events, "delivered a webhook");
    }

    /// A console did not take so many requests; `reason` is what came of the first, without an address.
    pub fn webhook_failed(
        &self,
        tenant: &TenantMetrics,
        requests: u64,
        (reason, now): (&str, Instant),
    ) {
        tenant.webhook_deliveries[&DeliveryResult::Failed].inc_by(requests);
        self.failure("webhook_failed", tenant.tenant.as_str(), now, |suppressed| {
            tracing::warn!(tenant = %tenant.tenant, reason, suppressed, "a webhook was not taken");
        });
    }

    /// A webhook is switched off; `reason` says why, without an address.
    pub fn webhook_disabled(&self, tenant: &TenantMetrics, webhook: &str, reason: &str) {
        tenant.webhook_deliveries[&DeliveryResult::Disabled].inc();
        tracing::error!(tenant = %tenant.tenant, webhook, reason, "switched a webhook off");
    }

    /// So many webhooks of each tenant are switched off; of a tenant that is not named, none.
    pub fn webhooks_disabled(&self, disabled: &BTreeMap<TenantId, u64>) {
        let tenants = self.0.tenants.read();
        let known = tenants.unwrap_or_else(PoisonError::into_inner);
        for (_, tenant) in known.iter().filter(|(id, _)| !disabled.contains_key(*id)) {
            tenant.webhooks_disabled.set(0);
        }
        drop(known);
        for (id, count) in disabled {
            let count = i64::try_from(*count).unwrap_or(i64::MAX);
            self.tenant(id).webhooks_disabled.set(count);
        }
    }

    /// The lag of one webhook of a tenant, zero to begin with. Dropping it takes it out of the tenant's, which is the largest.
    #[must_use]
    pub fn webhook_lag(&self, tenant: &TenantId) -> WebhookLag {
        let tenant = self.tenant(tenant);
        let lags = tenant.webhook_lags.lock();
        let mut lags = lags.unwrap_or_else(PoisonError::into_inner);
        let number = lags.last_key_value().map_or(0, |(last, _)| last + 1);
        lags.insert(number, Duration::ZERO);
        drop(lags);
        WebhookLag { tenant, number }
    }
}

/// How old the oldest event is that one webhook has not taken.
#[derive(Debug)]
pub struct WebhookLag {
    tenant: Arc<TenantMetrics>,
    number: u64,
}

impl WebhookLag {
    /// It is this old now; zero when all were taken.
    pub fn set(&self, lag: Duration) {
        self.change(|lags| {
            lags.insert(self.number, lag);
        });
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<u64, Duration>)) {
        let lags = self.tenant.webhook_lags.lock();
        let mut lags = lags.unwrap_or_else(PoisonError::into_inner);
        change(&mut lags);
        let largest = lags.values().max().copied().unwrap_or_default();
        self.tenant.webhook_lag.set(largest.as_secs_f64());
    }
}

impl Drop for WebhookLag {
    fn drop(&mut self) {
        self.change(|lags| {
            lags.remove(&self.number);
        });
    }
}
