//! Requests to the message API.

use std::time::Duration;

use prometheus::IntGauge;
use tokio::time::Instant;

use crate::{
    domain::{api_key::KeyRefusal, trace_context::TraceContext},
    telemetry::Telemetry,
};

/// A request that is being answered; counted until dropped.
#[derive(Debug)]
pub struct RequestInFlight(IntGauge);

impl Drop for RequestInFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Telemetry {
    /// A request has come in. Keep the answer until it has been answered.
    #[must_use]
    pub fn request_started(&self) -> RequestInFlight {
        let gauge = self.0.families.http_in_flight.with(&[]);
        gauge.inc();
        RequestInFlight(gauge)
    }

    /// A request was answered with `code`. Its name is the method and the path's pattern, never the path:
    /// `/v1/tenants/{tenant}/pushes`. `trace` is there if it is traced.
    pub fn request_answered(
        &self,
        (method, route): (&'static str, &'static str),
        code: u16,
        took: Duration,
        trace: Option<TraceContext>,
    ) {
        let code_text = code.to_string();
        let labels = [method, route, code_text.as_str()];
        self.0.families.http_requests.with(&labels).inc();
        self.0
            .families
            .http_duration
            .with(&[route])
            .observe(took.as_secs_f64());
        tracing::debug!(
            method,
            route,
            code,
            took_seconds = took.as_secs_f64(),
            trace_id = trace.map(TraceContext::trace_text),
            "answered a request"
        );
    }

    /// A caller's key was not taken.
    pub fn key_refused(&self, peer: &str, refusal: &KeyRefusal, now: Instant) {
        self.failure("key_refused", "", now, |suppressed| {
            tracing::warn!(peer, suppressed, "refused a caller: {refusal}");
        });
    }
}
