//! Inboxes and outboxes: consoles that speak through streams.

use std::time::Duration;

use tokio::time::Instant;

use crate::telemetry::{MessageResult, Telemetry, TenantMetrics};

impl Telemetry {
    /// What so many messages asked for is durable.
    pub fn inbox_done(&self, tenant: &TenantMetrics, messages: usize) {
        self.count_messages(tenant, MessageResult::Done, messages);
        tracing::debug!(tenant = %tenant.tenant, messages, "did what messages asked for");
    }

    /// A message was put to the dead letters. `reason` holds no channel URI.
    pub fn inbox_refused(&self, tenant: &TenantMetrics, id: &str, reason: &str, now: Instant) {
        self.count_messages(tenant, MessageResult::Refused, 1);
        self.failure("inbox_refused", tenant.tenant.as_str(), now, |suppressed| {
            tracing::warn!(tenant = %tenant.tenant, id, reason, suppressed, "a message cannot be taken");
        });
    }

    /// The oldest message that a tenant's inbox holds is this old. The tenant's other series begin here, at zero.
    pub fn inbox_lags(&self, tenant: &TenantMetrics, lag: Duration) {
        for result in MessageResult::ALL {
            self.count_messages(tenant, *result, 0);
        }
        self.outbox_written(tenant, 0);
        let gauge = self.0.families.inbox_lag.with(&[tenant.tenant.as_str()]);
        gauge.set(lag.as_secs_f64());
    }

    /// So many events were written to a tenant's outbox.
    pub fn outbox_written(&self, tenant: &TenantMetrics, events: usize) {
        let counter = self
            .0
            .families
            .outbox_events
            .with(&[tenant.tenant.as_str()]);
        counter.inc_by(u64::try_from(events).unwrap_or(u64::MAX));
    }

    fn count_messages(&self, tenant: &TenantMetrics, result: MessageResult, messages: usize) {
        let labels = [tenant.tenant.as_str(), result.as_str()];
        let counter = self.0.families.inbox_messages.with(&labels);
        counter.inc_by(u64::try_from(messages).unwrap_or(u64::MAX));
    }
}
