//! Tracing from the start of the broker to its end.

use std::time::Duration;

use crate::{
    adapters::otlp::{OtlpError, exporter},
    config::Config,
    telemetry::Telemetry,
};

/// Longest wait at the end for a collector to take the last spans.
const STOP_MAX: Duration = Duration::from_secs(3);

/// Has spans exported, if the configuration names a collector.
pub(super) fn begin(config: &Config, telemetry: &Telemetry) -> Result<(), OtlpError> {
    let traces = &config.traces;
    if let Some(endpoint) = &traces.endpoint {
        let exporter = exporter(endpoint.expose(), traces.timeout, telemetry.clone())?;
        telemetry.export_traces(exporter, traces.sample.ratio());
    }
    Ok(())
}

/// Gives the collector what is left.
pub(super) async fn end(telemetry: &Telemetry) {
    let telemetry = telemetry.clone();
    let ended = tokio::task::spawn_blocking(move || telemetry.stop_traces(STOP_MAX));
    // It fails only by a panic, which has a line of its own.
    drop(ended.await);
}
