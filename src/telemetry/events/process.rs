//! The process from start to end.

use std::{net::SocketAddr, time::Duration};

use tokio::time::Instant;

use crate::telemetry::Telemetry;

impl Telemetry {
    /// The broker takes requests.
    pub fn started(&self, listen: SocketAddr, store: &str) {
        tracing::info!(version = env!("CARGO_PKG_VERSION"), %listen, store, "started");
    }

    /// Something in the configuration or the surroundings should be mended, but nothing has failed.
    pub fn advised(&self, advice: &str) {
        tracing::warn!("{advice}");
    }

    /// A library has something to say, at this place of its source. Whether it is to be written.
    pub(in crate::telemetry) fn library_said(&self, place: &str, now: Instant) -> bool {
        self.0.failures.is_first("library", place, now)
    }

    /// The broker takes no more requests and waits for what is on the wire.
    pub fn draining(&self, timeout: Duration) {
        tracing::info!(timeout_seconds = timeout.as_secs_f64(), "draining");
    }

    /// The broker ends; `unfinished` attempts were left to their leases.
    pub fn stopped(&self, unfinished: usize) {
        self.summarise_last_failures(Instant::now());
        tracing::info!(unfinished, "stopped");
    }
}
