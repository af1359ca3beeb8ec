//! Told when an actor dies; tells the process when one cannot be kept alive.

use std::{sync::Mutex, time::Duration};

use tokio::{sync::watch, time::Instant};

use crate::{
    actors::supervise::{Exit, Watch},
    service::status::ActorStatus,
    telemetry::{ActorKind, Telemetry},
};

/// Counts restarts and remembers who was given up.
pub(super) struct Watchman {
    telemetry: Telemetry,
    given_up: watch::Sender<Option<&'static str>>,
    restarts: Mutex<Vec<(ActorKind, u64)>>,
}

impl Watchman {
    pub(super) fn new(telemetry: Telemetry) -> Self {
        let given_up = watch::Sender::new(None);
        Self {
            telemetry,
            given_up,
            restarts: Mutex::default(),
        }
    }

    /// Waits until an actor was given up; gives its name.
    pub(super) async fn gave_up(&self) -> &'static str {
        let mut seen = self.given_up.subscribe();
        match seen.wait_for(Option::is_some).await.map(|name| *name) {
            Ok(Some(name)) => name,
            // The sender lives as long as `self`.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// The actors that were restarted or given up.
    pub(super) fn actors(&self) -> Vec<ActorStatus> {
        let dead = *self.given_up.borrow();
        let restarts = self
            .restarts
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let count = |kind: ActorKind| {
            let found = restarts.iter().find(|(k, _)| *k == kind);
            found.map_or(0, |(_, n)| *n)
        };
        let status = |kind: ActorKind| ActorStatus {
            name: kind.as_str().to_owned(),
            running: dead != Some(kind.as_str()),
            restarts: count(kind),
        };
        ActorKind::ALL.iter().copied().map(status).collect()
    }
}

impl Watch for Watchman {
    fn exited(&self, kind: ActorKind, _exit: Exit, restarts: u32, backoff: Duration) {
        self.telemetry
            .actor_restarted(kind, restarts, backoff, Instant::now());
        let mut all = self
            .restarts
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        match all.iter_mut().find(|(k, _)| *k == kind) {
            Some((_, n)) => *n += 1,
            None => all.push((kind, 1)),
        }
    }

    fn gave_up(&self, kind: ActorKind, restarts: u32) {
        self.telemetry.actor_given_up(kind, restarts);
        self.given_up.send_replace(Some(kind.as_str()));
    }
}
