//! Actors and dispatchers.

use std::time::Duration;

use tokio::time::Instant;

use crate::telemetry::{ActorKind, Telemetry};

impl Telemetry {
    /// An actor panicked or stopped and is built anew after `backoff`. The panic itself has a line of its own.
    pub fn actor_restarted(&self, kind: ActorKind, restarts: u32, backoff: Duration, now: Instant) {
        self.0.families.actor_restarts.with(&[kind.as_str()]).inc();
        self.failure("actor_restarted", kind.as_str(), now, |suppressed| {
            let backoff_seconds = backoff.as_secs_f64();
            tracing::error!(
                actor = kind.as_str(),
                restarts,
                backoff_seconds,
                suppressed,
                "restarts an actor"
            );
        });
    }

    /// An actor has used up its restarts; the process ends.
    pub fn actor_given_up(&self, kind: ActorKind, restarts: u32) {
        tracing::error!(
            actor = kind.as_str(),
            restarts,
            "gives up on an actor; the process ends to be restarted"
        );
    }

    /// How many notifications the dispatcher `number` may still put on the wire.
    pub fn permits_left(&self, number: usize, permits: usize) {
        let gauge = self
            .0
            .families
            .permits_available
            .with(&[&number.to_string()]);
        gauge.set(i64::try_from(permits).unwrap_or(i64::MAX));
    }
}
