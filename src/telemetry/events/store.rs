//! Calls to the store.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    domain::event::EventKind,
    telemetry::{StoreFault, StoreOperation, Telemetry},
};

impl Telemetry {
    /// The store has answered a call, well or not.
    pub fn store_answered(&self, operation: StoreOperation, took: Duration) {
        self.0.store_durations[operation as usize].observe(took.as_secs_f64());
        tracing::trace!(operation = operation.as_str(), "the store answered");
    }

    /// A call to the store failed; `detail` holds no secret.
    pub fn store_failed(
        &self,
        operation: StoreOperation,
        fault: StoreFault,
        detail: &str,
        now: Instant,
    ) {
        let labels = [operation.as_str(), fault.as_str()];
        self.0.families.store_errors.with(&labels).inc();
        let class = match fault {
            StoreFault::Unavailable => "store_unavailable",
            StoreFault::Full => "store_full",
            StoreFault::Damaged => "store_damaged",
            StoreFault::Fenced => "store_fenced",
        };
        self.failure(class, operation.as_str(), now, |suppressed| {
            let operation = operation.as_str();
            tracing::error!(
                operation,
                fault = fault.as_str(),
                detail,
                suppressed,
                "the store failed"
            );
        });
    }

    /// `items` changes went to the store together.
    pub fn store_committed(&self, items: usize) {
        let count = u32::try_from(items).unwrap_or(u32::MAX);
        self.0.store_batch.observe(f64::from(count));
        tracing::trace!(items, "committed");
    }

    /// Events of these types were written to feeds.
    pub fn feed_written(&self, kinds: impl IntoIterator<Item = EventKind>) {
        let mut counts = [0; EventKind::ALL.len()];
        for kind in kinds {
            counts[kind as usize] += 1;
        }
        for (kind, events) in EventKind::ALL.into_iter().zip(counts) {
            if events > 0 {
                self.0.feed_events[kind as usize].inc_by(events);
                tracing::trace!(kind = kind.as_str(), events, "wrote to the feed");
            }
        }
    }
}
