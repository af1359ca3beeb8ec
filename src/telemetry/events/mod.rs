//! Everything that is told, by what it is about: one function for each event, with its line and its counters.

mod actor;
mod api;
mod app;
mod attempt;
mod inbox;
mod process;
mod store;
mod tenant;
mod token;
mod trace;
mod webhook;

pub use self::{
    api::RequestInFlight,
    attempt::{AttemptFinished, InFlight},
    tenant::{Leased, TenantSample},
    webhook::WebhookLag,
};

use tokio::time::Instant;

use super::{Summary, Telemetry, Verdict};
use attempt::is_routine;

impl Telemetry {
    /// Writes a line about a failure with `write`, which is told how many were not written before it; or counts it.
    fn failure(&self, class: &'static str, scope: &str, now: Instant, write: impl FnOnce(u64)) {
        match self.0.failures.note(class, scope, now) {
            Verdict::Write { suppressed } => {
                self.suppressed(class, suppressed);
                write(suppressed);
            }
            Verdict::Suppress => {}
        }
    }

    /// Writes the summaries of failures whose lines were not written. To be called about once a failure interval.
    pub fn summarise_failures(&self, now: Instant) {
        self.write_summaries(self.0.failures.sweep(now));
    }

    /// Writes all that [`Telemetry::summarise_failures`] has not come to.
    fn summarise_last_failures(&self, now: Instant) {
        self.write_summaries(self.0.failures.flush(now));
    }

    fn write_summaries(&self, summaries: Vec<Summary>) {
        for summary in summaries {
            self.suppressed(summary.class, summary.suppressed);
            let (class, scope, count) = (summary.class, summary.scope, summary.suppressed);
            if is_routine(class) {
                tracing::info!(class, scope, count, "more failures of this kind");
            } else {
                tracing::warn!(class, scope, count, "more failures of this kind");
            }
        }
    }

    fn suppressed(&self, class: &'static str, lines: u64) {
        if lines > 0 {
            let counter = self.0.families.log_lines_suppressed.with(&[class]);
            counter.inc_by(lines);
        }
    }
}
