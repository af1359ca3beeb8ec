//! Ends what is over where no dispatcher looks: asks whose deadline passed in a paused or crowded queue, and old events.
//!
//! Owns nothing but how far it has come; one broker at a time does it, by a lease, and another may begin anew any time.

use std::{collections::HashMap, sync::Arc, time::Duration};

use actix::{Actor, Context, Supervised};
use tokio::time::{Instant, sleep};

use super::{broker::Broker, supervise::live};
use crate::{
    domain::{
        ask::CloseReason,
        id::{DeviceId, DeviceKey},
        queue::{Lane, Queue, place},
        record::codec,
        transition::{Step, overdue},
    },
    ports::{
        error::StoreError,
        queues::Held,
        records::{Stored, Urgency},
    },
    service::{
        edit::{Decision, Edit, damaged, edit},
        expiry::Reminders,
    },
    telemetry::ActorMetrics,
};

/// Messages that may wait; it has none.
pub const CAPACITY: usize = 1;
/// Time between two rounds.
const ROUND: Duration = Duration::from_secs(15);
/// Time until events are looked at again after none was too old: while they come fast, commits trim them too.
const TRIM_QUIET: Duration = Duration::from_secs(120);
/// The lease, and for how long it is held at a time.
const LEASE_NAME: &str = "janitor";
const LEASE_TERM: Duration = Duration::from_secs(60);
/// From so long overdue on, a queue is looked through: its turn does not come soon.
const OVERDUE: Duration = Duration::from_secs(60);
/// Entries looked at in one round and queue; the next round goes on from there.
const ENTRIES_MAX: usize = 20_000;
const PAGE: usize = 512;

/// Ends what is over.
#[derive(Clone)]
pub struct Janitor {
    /// What it works with.
    pub broker: Arc<Broker>,
    /// Its sign of life.
    pub metrics: Arc<ActorMetrics>,
}

impl Actor for Janitor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        live(ctx, tidy(self.clone()));
    }
}

impl Supervised for Janitor {}

async fn tidy(janitor: Janitor) {
    let broker = &janitor.broker;
    let mut progress = Progress::default();
    loop {
        janitor.metrics.progressed(Instant::now());
        match round(broker, &mut progress).await {
            Ok(()) => {}
            Err(error) => broker.unreadable(&error),
        }
        sleep(ROUND).await;
    }
}

/// How far each queue was looked through.
type Cursors = HashMap<Queue, String>;

/// How far everything has come.
#[derive(Default)]
struct Progress {
    cursors: Cursors,
    reminders: Reminders,
    /// When none of the events was too old.
    trimmed_at: Option<Instant>,
}

async fn round(broker: &Broker, progress: &mut Progress) -> Result<(), StoreError> {
    let owner = &broker.settings.broker;
    if broker
        .store
        .hold(LEASE_NAME, owner, LEASE_TERM)
        .await?
        .is_none()
    {
        *progress = Progress::default();
        return Ok(());
    }
    remind(broker, progress).await?;
    trim(broker, progress).await?;
    let crowded = jiff::SignedDuration::try_from(OVERDUE).unwrap_or(jiff::SignedDuration::ZERO);
    let now = broker.clock.now();
    for Held { ready, .. } in broker.store.census().await? {
        let late = now.duration_since(ready.earliest) > crowded;
        if ready.queue.lane != Lane::Timer && late {
            match sweep(broker, &ready.queue, &mut progress.cursors).await {
                // The other queues are none the worse for it.
                Err(error @ StoreError::Damaged { .. }) => broker.unreadable(&error),
                swept => swept?,
            }
        }
    }
    Ok(())
}

async fn trim(broker: &Broker, progress: &mut Progress) -> Result<(), StoreError> {
    let quiet = |at: Instant| at.elapsed() < TRIM_QUIET;
    if !progress.trimmed_at.is_some_and(quiet) {
        let trimmed = broker.store.trim().await?;
        progress.trimmed_at = (trimmed == 0).then(Instant::now);
    }
    Ok(())
}

async fn remind(broker: &Broker, progress: &mut Progress) -> Result<(), StoreError> {
    let tenants = async || {
        let mut tenants = Vec::new();
        for app in &broker.apps {
            tenants.extend(broker.directory.tenants_of(&app.settings.id).await?);
        }
        Ok(tenants)
    };
    let reminders = &mut progress.reminders;
    reminders.go_on(&broker.desk(), tenants, ENTRIES_MAX).await
}

async fn sweep(broker: &Broker, queue: &Queue, cursors: &mut Cursors) -> Result<(), StoreError> {
    let mut cursor = cursors.remove(queue);
    let mut seen = 0;
    while seen < ENTRIES_MAX {
        let page = broker.store.browse(queue, cursor.as_deref(), PAGE).await?;
        seen += page.items.len().max(1);
        expire_all(broker, queue, page.items).await?;
        cursor = page.next;
        if cursor.is_none() {
            return Ok(());
        }
    }
    if let Some(cursor) = cursor {
        cursors.insert(queue.clone(), cursor);
    }
    Ok(())
}

/// Closes what is over, and brings what belongs elsewhere there: it stays where it was claimed if that is parked before the claim
/// ends. Who holds a claim on one of them settles on the newer record.
async fn expire_all(
    broker: &Broker,
    queue: &Queue,
    found: Vec<(DeviceId, Stored)>,
) -> Result<(), StoreError> {
    let now = broker.clock.now();
    // One that cannot be read keeps nobody else's from ending.
    let edits = found.into_iter().filter_map(|(device, stored)| {
        let key = DeviceKey::new(queue.tenant.clone(), device);
        if let Err(error) = codec::decode(&stored.bytes) {
            broker.unreadable(&damaged(&key, &error));
            return None;
        }
        Some(Edit {
            stored: Some(stored),
            ..Edit::new(key, ())
        })
    });
    let closed = edit(
        &*broker.store,
        edits.collect(),
        Urgency::Settle,
        |key, (), record| {
            let Some(mut record) = record else {
                return Decision::Leave(Vec::new());
            };
            let step = Step {
                rules: &broker.rules,
                device: &key.device,
                now,
                jitter: 0.0,
            };
            let effects = overdue(&step, &mut record);
            let reasons: Vec<CloseReason> = effects.closed.iter().map(|c| c.ask.reason).collect();
            let stays = place(&key.tenant, &record).is_none_or(|due| due.queue == *queue);
            if reasons.is_empty() && stays {
                return Decision::Leave(reasons);
            }
            Decision::Commit(Some(record), effects, reasons)
        },
    )
    .await?;
    let tenant = broker.telemetry.tenant(&queue.tenant);
    for reason in closed.into_iter().flatten() {
        broker.telemetry.asks_closed(&tenant, reason, 1);
    }
    Ok(())
}
