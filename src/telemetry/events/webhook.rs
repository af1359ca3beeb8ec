//! Webhooks: events on their way to consoles that do not poll.

use std::time::Duration;

use tokio::time::Instant;

use crate::telemetry::{DeliveryResult, Telemetry, TenantMetrics};

impl Telemetry {
    /// A console took `events` events.
    pub fn webhook_delivered(&self, tenant: &TenantMetrics, events: usize) {
        tenant.webhook_deliveries[&DeliveryResult::Delivered].inc();
        tracing::debug!(tenant = %tenant.tenant, events, "delivered a webhook");
    }

    /// A console did not take its events; they are sent again. `reason` holds no address with a secret in it.
    pub fn webhook_failed(&self, tenant: &TenantMetrics, reason: &str, now: Instant) {
        tenant.webhook_deliveries[&DeliveryResult::Failed].inc();
        self.failure("webhook_failed", tenant.tenant.as_str(), now, |suppressed| {
            tracing::warn!(tenant = %tenant.tenant, reason, suppressed, "a webhook was not taken");
        });
    }

    /// A webhook has failed for days and is switched off.
    pub fn webhook_disabled(&self, tenant: &TenantMetrics, webhook: &str) {
        tenant.webhook_deliveries[&DeliveryResult::Disabled].inc();
        tracing::error!(tenant = %tenant.tenant, webhook, "switched a webhook off after days of failure");
    }

    /// The oldest event that a tenant's webhooks have not taken is this old.
    pub fn webhook_lags(&self, tenant: &TenantMetrics, lag: Duration) {
        tenant.webhook_lag.set(lag.as_secs_f64());
    }
}
