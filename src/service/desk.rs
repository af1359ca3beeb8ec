//! What the use cases that change devices work with: a store, a clock, the rules, and where to tell what happens.

use std::sync::Arc;

use tokio::time::Instant;

use crate::{
    domain::{
        ask::CloseReason,
        id::{DeviceId, DeviceKey, TenantId},
        record::DeviceRecord,
        schedule::Rules,
        transition::Step,
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
                    let closed = effects.closed.iter();
                    let ended = closed.map(|closed| closed.ask.reason).collect();
                    Decision::Commit(record, effects, (answer, ended))
                }
                Decision::Leave(answer) => Decision::Leave((answer, Vec::new())),
            }
        };
        let terms = Terms {
            urgency,
            fence: self.fence.as_ref(),
            acknowledged: true,
        };
        let done = edit(&*self.store, edits.collect(), terms, decide).await;
        let done = done.inspect_err(|error| self.unreadable(error))?;
        let mut answers = Vec::with_capacity(done.len());
        let mut ended: Vec<CloseReason> = Vec::new();
        for (answer, more) in done {
            answers.push(answer);
            ended.extend(more);
        }
        let metrics = self.telemetry.tenant(tenant);
        for (reason, asks) in counted(&ended) {
            self.telemetry.asks_closed(&metrics, reason, asks);
        }
        Ok(answers)
    }

    /// Tells of what the store gave and nobody can read. All other failures are told where the store is called.
    pub fn unreadable(&self, error: &StoreError) {
        if let StoreError::Damaged { detail } = error {
            let (operation, fault) = (StoreOperation::Read, StoreFault::Damaged);
            self.telemetry
                .store_failed(operation, fault, detail, Instant::now());
        }
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
