//! Calls that are traced, and the way of their spans to the collector.

use std::time::Duration;

use opentelemetry_sdk::trace::SpanExporter;
use tokio::time::Instant;

use crate::telemetry::{ExportResult, RequestSpan, Telemetry, traces::Traces};

impl Telemetry {
    /// From now on spans go to `exporter`: those of calls whose caller records them, and `ratio` of the others. To be called
    /// once, before anything is traced.
    pub fn export_traces(&self, exporter: impl SpanExporter + 'static, ratio: f64) {
        self.0
            .traces
            .get_or_init(move || Traces::new(exporter, ratio));
    }

    /// Begins the span of a call with this `traceparent` header; none if it is not recorded. The span ends when it is given
    /// to [`Telemetry::request_traced`], or dropped.
    #[must_use]
    pub fn request_span(
        &self,
        traceparent: Option<&str>,
        method: &'static str,
        route: &'static str,
    ) -> Option<RequestSpan> {
        self.0.traces.get()?.request(traceparent, method, route)
    }

    /// A call that is traced was answered with `code`.
    pub fn request_traced(&self, mut span: RequestSpan, code: u16) {
        span.answered(code);
    }

    /// The collector took some spans.
    pub fn traces_exported(&self) {
        let sent = ExportResult::Sent.as_str();
        self.0.families.trace_exports.with(&[sent]).inc();
    }

    /// The collector did not take some spans; they are sent again a few times, then given up. `why` holds no address.
    pub fn traces_not_exported(&self, why: &str, now: Instant) {
        let failed = ExportResult::Failed.as_str();
        self.0.families.trace_exports.with(&[failed]).inc();
        self.failure("traces_not_exported", "", now, |suppressed| {
            tracing::warn!(why, suppressed, "the collector did not take traces");
        });
    }

    /// Hands the collector what waits, for so long at most, and ends tracing. Blocks the thread.
    pub fn stop_traces(&self, longest: Duration) {
        let stopped = self.0.traces.get().map(|traces| traces.stop(longest));
        if let Some(Err(why)) = stopped {
            tracing::warn!(why, "some traces were not exported at the end");
        }
    }
}
