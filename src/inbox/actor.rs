//! Sees to it that the streams of every tenant have somebody who reads and writes them.
//!
//! Owns one task a stream, so that a slow tenant delays no other; which broker has which stream is settled by leases in the
//! store. Nothing is lost on a restart: what was not settled is done again.

use std::{sync::Arc, time::Duration};

use actix::{Actor, Addr, Context, Supervised};
use futures_util::future::join_all;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;

use super::{Parts, outbox, reader::Reader};
use crate::{
    actors::supervise::{self, Watch, live},
    domain::id::TenantId,
    ports::error::StoreError,
    telemetry::{ActorKind, ActorMetrics},
};

/// Messages that may wait; it has none.
pub const CAPACITY: usize = 1;
/// When to try again for a stream that another broker has.
const ELSEWHERE_MAX: Duration = Duration::from_secs(5);
/// When to begin again after the store failed.
const REST: Duration = Duration::from_secs(1);

/// Reads inboxes and writes outboxes.
#[derive(Clone)]
pub struct Inbox {
    /// What it works with.
    pub parts: Parts,
    /// Its sign of life.
    pub metrics: Arc<ActorMetrics>,
    tracker: TaskTracker,
}

/// An inbox that runs, for as long as this is kept.
pub struct Running {
    parts: Parts,
    tracker: TaskTracker,
    _actor: Addr<Inbox>,
}

impl Inbox {
    /// Joins what it works with.
    #[must_use]
    pub fn new(parts: Parts, metrics: Arc<ActorMetrics>) -> Self {
        Self {
            parts,
            metrics,
            tracker: TaskTracker::new(),
        }
    }

    /// Starts it on the current arbiter.
    pub fn start(self, watch: Arc<dyn Watch>) -> Running {
        let (parts, tracker) = (self.parts.clone(), self.tracker.clone());
        Running {
            parts,
            tracker,
            _actor: supervise::start(ActorKind::Inbox, CAPACITY, watch, |_| self),
        }
    }
}

impl Running {
    /// Ends in order: no message is begun any more, and other brokers need not wait for the streams. Bounded by `within`.
    pub async fn drain(&self, within: Duration) {
        self.parts.stop.cancel();
        self.tracker.close();
        // What does not end in time is done again by another broker.
        let _late = timeout(within, self.tracker.wait()).await;
    }
}

impl Actor for Inbox {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        live(ctx, self.clone().look_after());
    }
}

impl Supervised for Inbox {}

impl Inbox {
    async fn look_after(self) {
        let tenants = &self.parts.settings.tenants;
        let reading = tenants.iter().map(|tenant| self.read(tenant));
        let outboxes = tenants.iter().filter(|_| self.parts.settings.outbox);
        let writing = outboxes.map(|tenant| self.write(tenant));
        let all = async { tokio::join!(join_all(reading), join_all(writing)) };
        self.tracker.track_future(all).await;
        // Stopped: being built anew would begin again.
        std::future::pending().await
    }

    async fn read(&self, tenant: &TenantId) {
        let reader = Reader {
            parts: &self.parts,
            tenant,
            metrics: &self.metrics,
        };
        while !self.parts.stop.is_cancelled() {
            let worked = reader.work().await;
            self.rest(worked).await;
        }
    }

    async fn write(&self, tenant: &TenantId) {
        while !self.parts.stop.is_cancelled() {
            let written = outbox::write(&self.parts, tenant).await;
            self.rest(written).await;
        }
    }

    async fn rest(&self, ended: Result<(), StoreError>) {
        self.metrics.progressed(Instant::now());
        let rest = match &ended {
            Ok(()) => ELSEWHERE_MAX.min(self.parts.settings.lease),
            Err(error) => {
                self.parts.desk.unreadable(error);
                REST
            }
        };
        tokio::select! {
            () = sleep(rest) => {}
            () = self.parts.stop.cancelled() => {}
        }
    }
}
