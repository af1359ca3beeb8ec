//! Adding targets to a draft.

use std::collections::HashSet;

use super::{CampaignError, Campaigns};
use crate::{
    domain::{
        campaign::{Enrolment, Refusal, Selection, State, enrol},
        id::{CampaignId, DeviceId, DeviceKey, TenantId},
    },
    ports::records::{BATCH_MAX, Committed, Urgency},
};

/// Most targets in one call; longer lists are the caller's to split.
pub const TARGETS_PER_CALL_MAX: usize = BATCH_MAX;

/// What became of a list of targets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// Listed now.
    pub added: u64,
    /// Listed before, or twice in this list.
    pub repeated: u64,
    /// Places in the list of devices that nobody knows; they are not listed.
    pub unknown: Vec<usize>,
}

impl Campaigns {
    /// Adds at most [`TARGETS_PER_CALL_MAX`] targets to a draft. A device without a record is refused, unless
    /// `register_unknown`.
    ///
    /// # Errors
    /// [`CampaignError::Refused`] when the campaign is no draft or finds its targets itself.
    pub async fn add_targets(
        &self,
        tenant: &TenantId,
        id: &CampaignId,
        devices: &[DeviceId],
        register_unknown: bool,
    ) -> Result<Added, CampaignError> {
        let campaign = self.get(tenant, id).await?;
        if campaign.state != State::Draft || campaign.definition.selection != Selection::Listed {
            return Err(CampaignError::Refused(Refusal::WrongState {
                state: campaign.state,
                verb: "take targets",
            }));
        }
        let key = |device: &DeviceId| DeviceKey::new(tenant.clone(), device.clone());
        let keys: Vec<DeviceKey> = devices.iter().map(key).collect();
        let stored = self.store.read(&keys).await?;
        let mut added = Added::default();
        let mut seen = HashSet::with_capacity(devices.len());
        let mut items = Vec::with_capacity(devices.len());
        for (at, (key, stored)) in keys.into_iter().zip(stored).enumerate() {
            let unknown = stored.is_none();
            if !seen.insert(key.clone()) {
                added.repeated += 1;
            } else if unknown && !register_unknown {
                added.unknown.push(at);
            } else {
                items.push(enrol(id, Enrolment { key, unknown }));
            }
        }
        if items.is_empty() {
            return Ok(added);
        }
        for outcome in self.store.commit(items, Urgency::Open, None).await? {
            match outcome {
                Committed::Done => added.added += 1,
                Committed::Listed | Committed::Conflict(_) | Committed::LeaseLost(_) => {
                    added.repeated += 1;
                }
            }
        }
        Ok(added)
    }
}
