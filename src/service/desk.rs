//! What the use cases that change devices work with: a store, a clock, the rules, and where to tell what happens.

use std::sync::Arc;

use crate::{
    domain::{
        ask::CloseReason,
        event::EventKind,
        id::{DeviceId, DeviceKey, TenantId},
        record::DeviceRecord,
        schedule::Rules,
        transition::Step,
    },
    ports::{Store, clock::Clock, error::StoreError, records::Urgency},
    telemetry::Telemetry,
};

use super::edit::{Decision, Edit, edit};

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
                    let ended = effects.closed.iter().map(|closed| closed.ask.reason);
                    let ended: Vec<CloseReason> = ended.collect();
                    let told: Vec<EventKind> = effects.events.iter().map(|e| e.kind).collect();
                    Decision::Commit(record, effects, (answer, ended, told))
                }
                Decision::Leave(answer) => Decision::Leave((answer, Vec::new(), Vec::new())),
            }
        };
        let done = edit(&*self.store, edits.collect(), urgency, decide).await?;
        let mut answers = Vec::with_capacity(done.len());
        let mut ended: Vec<(CloseReason, u64)> = Vec::new();
        for (answer, reasons, told) in done {
            answers.push(answer);
            for kind in told {
                self.telemetry.feed_written(kind, 1);
            }
            for reason in reasons {
                match ended.iter_mut().find(|(known, _)| *known == reason) {
                    Some((_, count)) => *count += 1,
                    None => ended.push((reason, 1)),
                }
            }
        }
        let metrics = self.telemetry.tenant(tenant);
        for (reason, asks) in ended {
            self.telemetry.asks_closed(&metrics, reason, asks);
        }
        Ok(answers)
    }
}
