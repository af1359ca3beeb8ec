//! Sees to it that every webhook has somebody who delivers to it.
//!
//! Owns one task an endpoint, so that a slow one delays no other; which broker delivers to which endpoint is settled by
//! leases in the store. Nothing is lost on a restart: the cursors are in the store, and at most a page is sent again.

use std::{collections::HashMap, sync::Arc, time::Duration};

use actix::{Actor, Addr, Context, Supervised};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use super::supervise::{self, Watch, live, wait_for};
use crate::{
    domain::id::{TenantId, WebhookId},
    ports::error::StoreError,
    service::webhook::{Delivering, Means, Webhooks},
    telemetry::{ActorKind, ActorMetrics},
};

/// Messages that may wait; it has none.
pub const CAPACITY: usize = 1;
/// Most endpoints that one broker delivers to; others wait, or are another broker's.
pub const ENDPOINTS_MAX: usize = 1024;
/// Shortest and longest time between two looks at all webhooks; a changed document shortens it.
const LOOK_MIN: Duration = Duration::from_millis(500);
const LOOK_MAX: Duration = Duration::from_secs(5);
/// Longest time between two looks while there are no webhooks.
const LOOK_MAX_WITHOUT: Duration = Duration::from_secs(120);
/// When to begin again where a task has ended: another broker delivers there, or the store failed.
const REST: Duration = Duration::from_secs(5);

/// Delivers webhooks.
#[derive(Clone)]
pub struct Notifier {
    /// The use cases.
    pub webhooks: Webhooks,
    /// What delivering needs.
    pub means: Means,
    /// This broker's name, unlike that of any other.
    pub broker: String,
    /// Its sign of life.
    pub metrics: Arc<ActorMetrics>,
}

impl Notifier {
    /// Starts it on the current arbiter.
    pub fn start(self, watch: Arc<dyn Watch>) -> Addr<Self> {
        supervise::start(ActorKind::Notifier, CAPACITY, watch, |_| self)
    }
}

impl Actor for Notifier {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        live(ctx, look_after(self.clone()));
    }
}

impl Supervised for Notifier {}

type Key = (TenantId, WebhookId);

/// The tasks that deliver, and since when those that ended rest. Dropping it ends them.
#[derive(Default)]
struct Tasks {
    running: HashMap<Key, JoinHandle<Result<(), StoreError>>>,
    resting: HashMap<Key, Instant>,
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.running.values().for_each(JoinHandle::abort);
    }
}

async fn look_after(notifier: Notifier) {
    let mut changed = notifier.webhooks.changed();
    let mut tasks = Tasks::default();
    loop {
        let began = Instant::now();
        notifier.metrics.progressed(began);
        changed.mark_unchanged();
        tasks.reap(began);
        let mut wait = LOOK_MAX;
        // A store that cannot be read now can be read at the next look.
        if let Ok(survey) = notifier.webhooks.survey().await {
            if survey.active.is_empty() {
                wait = LOOK_MAX_WITHOUT;
            }
            let telemetry = &notifier.means.telemetry;
            telemetry.webhooks_disabled(&survey.disabled);
            tasks.begin(&notifier, survey.active);
        }
        // Neither a change nor the end of the time is an error.
        wait_for(&notifier.metrics, wait, changed.changed()).await;
        sleep_until(began + LOOK_MIN).await;
    }
}

impl Tasks {
    fn begin(&mut self, notifier: &Notifier, active: Vec<Key>) {
        let now = Instant::now();
        for key in active {
            let rests = self.resting.get(&key).is_some_and(|until| *until > now);
            if rests || self.running.contains_key(&key) || self.running.len() >= ENDPOINTS_MAX {
                continue;
            }
            self.resting.remove(&key);
            let owner = format!("{}/{:016x}", notifier.broker, rand::random::<u64>());
            let (desk, means) = (notifier.webhooks.clone(), notifier.means.clone());
            let delivering = Delivering::new(desk, means, key.clone(), owner);
            self.running.insert(key, actix_rt::spawn(delivering.work()));
        }
    }

    fn reap(&mut self, now: Instant) {
        self.resting.retain(|_, until| *until > now);
        let resting = &mut self.resting;
        self.running.retain(|key, task| {
            if task.is_finished() {
                resting.insert(key.clone(), now + REST);
            }
            !task.is_finished()
        });
    }
}
