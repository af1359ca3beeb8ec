//! What the use cases that change devices work with: a store, a clock, the rules.

use std::sync::Arc;

use crate::{
    domain::{
        id::{DeviceId, DeviceKey, TenantId},
        record::DeviceRecord,
        schedule::Rules,
        transition::Step,
    },
    ports::{Store, clock::Clock, error::StoreError, records::Urgency},
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
        edit(
            &*self.store,
            edits.collect(),
            urgency,
            |key, job, record| {
                let step = Step {
                    rules: &self.rules,
                    device: &key.device,
                    now,
                    jitter: rand::random(),
                };
                decide(&step, job, record)
            },
        )
        .await
    }
}
