//! Keeps the view of due queues: listens to the store's announcements and asks it anew now and then; and looks how many
//! sessions the re-pushes among them may open.
//!
//! Owns the subscription only; after a restart it asks for everything again.

use std::{sync::Arc, time::Duration};

use actix::{Actor, Context, Supervised};
use tokio::{
    sync::{broadcast::error::RecvError, watch},
    time::{Instant, sleep_until},
};

use super::{broker::Broker, ready::Place, sessions, supervise::live};
use crate::{
    domain::id::TenantId,
    ports::{error::StoreError, queues::Wake},
    telemetry::ActorMetrics,
};

/// Messages that may wait; it has none.
pub const CAPACITY: usize = 1;
/// How often the store is asked at least; it announces what becomes due.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// Least time between two questions.
const LOOK_GAP: Duration = Duration::from_millis(200);

/// Keeps the view.
#[derive(Clone)]
pub struct Scout {
    /// What it works with.
    pub broker: Arc<Broker>,
    /// Its sign of life.
    pub metrics: Arc<ActorMetrics>,
}

impl Actor for Scout {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        live(ctx, keep(self.clone()));
    }
}

impl Supervised for Scout {}

async fn keep(scout: Scout) {
    let broker = scout.broker.clone();
    tokio::select! {
        () = watch(scout) => {}
        () = sessions::keep(broker) => {}
    }
}

async fn watch(scout: Scout) {
    let broker = &scout.broker;
    let mut wakes = broker.store.wakes();
    let mut documents = broker.store.changed();
    let mut next = Instant::now();
    loop {
        tokio::select! {
            biased;
            wake = wakes.recv() => match wake {
                Ok(wake) => announce(broker, wake).await,
                // Some were missed: ask for everything.
                Err(RecvError::Lagged(_)) => next = Instant::now(),
                Err(RecvError::Closed) => return,
            },
            () = sleep_until(next) => {
                scout.metrics.progressed(Instant::now());
                look_tenants_up_again(broker, &mut documents);
                look(broker).await;
                next = Instant::now() + LOOK_INTERVAL;
            }
            () = broker.ready.stale() => next = next.min(Instant::now() + LOOK_GAP),
        }
    }
}

async fn announce(broker: &Broker, wake: Wake) {
    // A tenant that cannot be looked up now is found at the next look.
    if let Ok(Some(place)) = place(broker, &wake.queue.tenant).await {
        broker.ready.announce(wake.queue, wake.earliest, place);
    }
}

async fn look(broker: &Broker) {
    let look = broker.ready.look();
    // The dispatchers meet a failing store themselves, and say so.
    let Ok(found) = broker.store.ready().await else {
        return;
    };
    let mut ready = Vec::with_capacity(found.len());
    for entry in found {
        if let Ok(Some(place)) = place(broker, &entry.queue.tenant).await {
            ready.push((entry.queue, entry.earliest, place));
        }
    }
    broker.ready.replace(look, ready);
}

/// Where a tenant's queues belong; none if this broker cannot serve it.
async fn place(broker: &Broker, tenant: &TenantId) -> Result<Option<Place>, StoreError> {
    let seat = broker.roster.find(&*broker.directory, tenant).await?;
    Ok(seat.app.map(|app| Place {
        app,
        share: seat.share,
    }))
}

fn look_tenants_up_again(broker: &Broker, documents: &mut watch::Receiver<u64>) {
    if documents.has_changed().unwrap_or(false) {
        documents.mark_unchanged();
        broker.roster.outdate();
    }
}
