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

/// What became of a device that was to be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// It is a target now.
    Added,
    /// It was one already.
    Repeated,
    /// Nobody has named the device; it is not listed.
    Unknown,
}

impl Campaigns {
    /// Adds at most [`TARGETS_PER_CALL_MAX`] targets to a draft; one answer for each, in order. A device without a record is
    /// refused, unless `register_unknown`.
    ///
    /// # Errors
    /// [`CampaignError::Refused`] when the campaign is no draft or finds its targets itself.
    pub async fn add_targets(
        &self,
        tenant: &TenantId,
        id: &CampaignId,
        devices: &[DeviceId],
        register_unknown: bool,
    ) -> Result<Vec<Listing>, CampaignError> {
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
        let mut listings = vec![Listing::Repeated; devices.len()];
        let mut seen = HashSet::with_capacity(devices.len());
        let mut items = Vec::with_capacity(devices.len());
        let mut places = Vec::with_capacity(devices.len());
        for (at, (key, stored)) in keys.into_iter().zip(stored).enumerate() {
            let unknown = stored.is_none();
            if unknown && !register_unknown {
                listings[at] = Listing::Unknown;
            } else if seen.insert(key.clone()) {
                items.push(enrol(id, Enrolment { key, unknown }));
                places.push(at);
            }
        }
        if items.is_empty() {
            return Ok(listings);
        }
        let outcomes = self.store.commit(items, Urgency::Open, None).await?;
        for (at, outcome) in places.into_iter().zip(outcomes) {
            if outcome == Committed::Done {
                listings[at] = Listing::Added;
            }
        }
        Ok(listings)
    }
}
