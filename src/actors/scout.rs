//! Keeps the view of due queues: listens to the store's announcements and asks it anew now and then; and looks how many
//! sessions the re-pushes among them may open.
//!
//! Owns the subscription only; after a restart it asks for everything again.

use std::{sync::Arc, time::Duration};

use actix::{Actor, Context, Supervised};
use tokio::{
    sync::broadcast::error::RecvError,
    time::{Instant, sleep, sleep_until},
};

use super::{
    broker::Broker,
    ready::Place,
    sessions,
    supervise::{SIGN_OF_LIFE, live},
};
use crate::{
    domain::id::TenantId,
    ports::{error::StoreError, queues::Wake},
    telemetry::ActorMetrics,
};

/// Messages that may wait; it has none.
pub const CAPACITY: usize = 1;
/// How often the store is asked at least while something happens; it announces what becomes due.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// How often it is asked otherwise.
const LOOK_INTERVAL_QUIET: Duration = Duration::from_secs(30);
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
    let (mut next, mut outdated) = (Instant::now(), false);
    loop {
        scout.metrics.progressed(Instant::now());
        tokio::select! {
            biased;
            wake = wakes.recv() => match wake {
                Ok(wake) => {
                    announce(broker, wake).await;
                    next = next.min(Instant::now() + LOOK_INTERVAL);
                }
                // Some were missed: ask for everything.
                Err(RecvError::Lagged(_)) => next = Instant::now(),
                Err(RecvError::Closed) => return,
            },
            () = sleep_until(next) => {
                // Tenants are looked up again, now that documents have changed.
                if std::mem::take(&mut outdated) {
                    broker.roster.outdate();
                }
                let interval = match look(broker).await {
                    Ok(()) => LOOK_INTERVAL_QUIET,
                    // The dispatchers meet a failing store themselves, and say so.
                    Err(_) => LOOK_INTERVAL,
                };
                next = Instant::now() + interval;
            }
            Ok(()) = documents.changed() => {
                outdated = true;
                next = next.min(Instant::now() + LOOK_INTERVAL);
            }
            () = broker.ready.stale() => next = next.min(Instant::now() + LOOK_GAP),
            () = sleep(SIGN_OF_LIFE) => {}
        }
    }
}

async fn announce(broker: &Broker, wake: Wake) {
    // A tenant that cannot be looked up now is found at the next look.
    if let Ok(Some(place)) = place(broker, &wake.queue.tenant).await {
        broker.ready.announce(wake.queue, wake.earliest, place);
    }
}

async fn look(broker: &Broker) -> Result<(), StoreError> {
    let look = broker.ready.look();
    let found = broker.store.ready().await?;
    let mut ready = Vec::with_capacity(found.len());
    for entry in found {
        if let Ok(Some(place)) = place(broker, &entry.queue.tenant).await {
            ready.push((entry.queue, entry.earliest, place));
        }
    }
    broker.ready.replace(look, ready);
    Ok(())
}

/// Where a tenant's queues belong; none if this broker cannot serve it.
async fn place(broker: &Broker, tenant: &TenantId) -> Result<Option<Place>, StoreError> {
    let seat = broker.roster.find(&*broker.directory, tenant).await?;
    Ok(seat.app.map(|app| Place {
        app,
        share: seat.share,
    }))
}
