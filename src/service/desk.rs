//! What the use cases that change devices work with: a store, a clock, the rules, and where to tell what happens.

use std::sync::Arc;

use tokio::time::Instant;

use crate::{
    domain::{
        ask::CloseReason,
        event::EventKind,
        id::{DeviceId, DeviceKey, TenantId},
        record::DeviceRecord,
        schedule::Rules,
        transition::{Effects, Step},
    },
    ports::{
        Store,
        clock::Clock,
        error::StoreError,
        records::{Fence, Urgency},
    },
    telemetry::{StoreFault, StoreOperation, Telemetry},
};

use super::edit::{Decision, Edit, Terms, edit};

/// What the use cases that change devices work with. Cloning is cheap.
#[derive(Clone)]
pub struct Desk {
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// The broker's policy.
    pub rules: Arc<Rules>,
    /// Told of the asks that end.
    pub telemetry: Telemetry,
    /// Refuses changes once another works in this one's stead.
    pub fence: Option<Fence>,
}

impl Desk {
    /// Changes devices of one tenant by transitions, each device as often as it is named, in order; one answer for each job.
    ///
    /// # Errors
    /// [`StoreError`]; some of the jobs may have been done then, each whole.
    ///
    /// # Cancel safety
    /// A dropped call may have done some of the jobs, each whole.
    pub async fn change<J, R>(
        &self,
        tenant: &TenantId,
        jobs: Vec<(DeviceId, J)>,
        urgency: Urgency,
        mut decide: impl FnMut(&Step<'_>, &J, Option<DeviceRecord>) -> Decision<R>,
    ) -> Result<Vec<R>, StoreError> {
        let edits = jobs
            .into_iter()
            .map(|(device, job)| Edit::new(DeviceKey::new(tenant.clone(), device), job));
        let now = self.clock.now();
        let decide = |key: &DeviceKey, job: &J, record| {
            let step = Step {
                rules: &self.rules,
                device: &key.device,
                now,
                jitter: rand::random(),
            };
            match decide(&step, job, record) {
                Decision::Commit(record, effects, answer) => {
                    let news = News::of(&effects);
                    Decision::Commit(record, effects, (answer, news))
                }
                Decision::Leave(answer) => Decision::Leave((answer, News::default())),
            }
        };
        let terms = Terms {
            urgency,
            fence: self.fence.as_ref(),
            acknowledged: true,
        };
        let done = edit(&*self.store, edits.collect(), terms, decide).await;
        let done = done.inspect_err(|error| self.failed(StoreOperation::Commit, error))?;
        let mut answers = Vec::with_capacity(done.len());
        let mut news = News::default();
        for (answer, more) in done {
            answers.push(answer);
            news.absorb(more);
        }
        self.tell(tenant, &news);
        Ok(answers)
    }

    /// Tells that a call to the store failed.
    pub fn failed(&self, operation: StoreOperation, error: &StoreError) {
        let fault = match error {
            StoreError::Unavailable { .. } => StoreFault::Unavailable,
            StoreError::Full { .. } => StoreFault::Full,
            StoreError::Damaged { .. } => StoreFault::Damaged,
            StoreError::Fenced => StoreFault::Fenced,
        };
        let detail = error.to_string();
        self.telemetry
            .store_failed(operation, fault, &detail, Instant::now());
    }

    fn tell(&self, tenant: &TenantId, news: &News) {
        let metrics = self.telemetry.tenant(tenant);
        for (reason, asks) in counted(&news.ended) {
            self.telemetry.asks_closed(&metrics, reason, asks);
        }
        for (kind, events) in counted(&news.told) {
            self.telemetry.feed_written(kind, events);
        }
    }
}

/// What has to be told once a change is durable.
#[derive(Default)]
struct News {
    ended: Vec<CloseReason>,
    told: Vec<EventKind>,
}

impl News {
    fn of(effects: &Effects) -> Self {
        let ended = effects.closed.iter().map(|closed| closed.ask.reason);
        let told = effects.events.iter().map(|event| event.kind);
        Self {
            ended: ended.collect(),
            told: told.collect(),
        }
    }

    fn absorb(&mut self, more: Self) {
        self.ended.extend(more.ended);
        self.told.extend(more.told);
    }
}

/// How often each of a few different things occurs.
fn counted<K: Copy + PartialEq>(things: &[K]) -> Vec<(K, u64)> {
    let mut counts: Vec<(K, u64)> = Vec::new();
    for thing in things {
        match counts.iter_mut().find(|(known, _)| known == thing) {
            Some((_, count)) => *count += 1,
            None => counts.push((*thing, 1)),
        }
    }
    counts
}
