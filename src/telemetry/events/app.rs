//! An app's pace, pauses and breakers.

use jiff::Timestamp;

use crate::telemetry::{AppMetrics, PauseReason, Telemetry};

impl Telemetry {
    /// The app sends nothing until `until`, or until somebody lets it.
    pub fn app_paused(&self, app: &AppMetrics, reason: PauseReason, until: Option<Timestamp>) {
        app.paused[&reason].set(1);
        app.pauses[&reason].inc();
        let until = until.map(|until| until.to_string()).unwrap_or_default();
        tracing::warn!(app = %app.app, reason = reason.as_str(), until, "paused the app");
    }

    /// The app may send again, as far as this reason goes.
    pub fn app_resumed(&self, app: &AppMetrics, reason: PauseReason) {
        app.paused[&reason].set(0);
        tracing::info!(app = %app.app, reason = reason.as_str(), "resumed the app");
    }

    /// The app's rate has changed: requests a second now, and at most.
    pub fn pace_changed(&self, app: &AppMetrics, per_second: f64, ceiling_per_second: f64) {
        app.pace.set(per_second);
        app.pace_ceiling.set(ceiling_per_second);
        tracing::debug!(app = %app.app, per_second, ceiling_per_second, "changed the pace");
    }

    /// The store was asked how many pushes of the app's tenants are due.
    pub fn app_sampled(&self, app: &AppMetrics, due: u64) {
        app.pushes_due.set(i64::try_from(due).unwrap_or(i64::MAX));
    }

    /// A push waits until its host is tried again.
    pub fn put_off(&self, app: &AppMetrics) {
        app.put_off.inc();
    }

    /// Nothing is sent to `host` for a while; `open` hosts are avoided now.
    pub fn breaker_opened(&self, app: &AppMetrics, host: &str, open: usize) {
        app.breakers_open
            .set(i64::try_from(open).unwrap_or(i64::MAX));
        tracing::warn!(app = %app.app, host, open, "keeps away from a host that does not answer");
    }

    /// `host` answers again; `open` others are still avoided.
    pub fn breaker_closed(&self, app: &AppMetrics, host: &str, open: usize) {
        app.breakers_open
            .set(i64::try_from(open).unwrap_or(i64::MAX));
        tracing::info!(app = %app.app, host, open, "a host answers again");
    }
}
