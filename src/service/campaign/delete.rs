//! Forgetting campaigns, and finding those that have something to do.

use std::{collections::HashSet, time::Duration};

use jiff::Timestamp;

use super::{CampaignError, Campaigns, PREFIX, document, named, read, selector};
use crate::{
    domain::{
        campaign::{Campaign, Counts, Refusal, State},
        id::{CampaignId, TenantId},
    },
    ports::{error::StoreError, records::ListName},
};

/// Documents read at once.
const PAGE: usize = 256;

/// What a look at all campaigns found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Campaigns that a runner must see to.
    pub active: Vec<(TenantId, CampaignId)>,
    /// Campaigns that ended longer ago than reports are kept.
    pub outlived: Vec<(TenantId, CampaignId)>,
}

impl Campaigns {
    /// Forgets a draft or a closed campaign with its targets and counters. Repeat it after an error.
    ///
    /// # Errors
    /// [`CampaignError::Refused`] while it is at work or being swept.
    pub async fn delete(&self, tenant: &TenantId, id: &CampaignId) -> Result<(), CampaignError> {
        let campaign = match self.get(tenant, id).await {
            Err(unknown @ CampaignError::Unknown(_)) => {
                self.store.confirm_document(&document(tenant, id)).await?;
                return Err(unknown);
            }
            campaign => campaign?,
        };
        let over = campaign.state == State::Draft || campaign.counted_out();
        if !over {
            return Err(CampaignError::Refused(Refusal::WrongState {
                state: campaign.state,
                verb: "be deleted yet",
            }));
        }
        let store = &self.store;
        store.unpark(&selector(tenant, id)).await?;
        for list in [ListName::Waiting(id.clone()), ListName::Targets(id.clone())] {
            store.drop_list(tenant, &list).await?;
        }
        store.drop_counters(tenant, &Counts::prefix(id)).await?;
        store.delete(&document(tenant, id)).await?;
        Ok(())
    }

    /// Looks at all campaigns of all tenants; reports are kept for `retention`. A document that cannot be read is passed
    /// over.
    ///
    /// # Errors
    /// The store's.
    pub async fn survey(&self, retention: Duration) -> Result<Census, StoreError> {
        let now = self.clock.now();
        let mut census = Census::default();
        let mut cursor = None;
        loop {
            let page = self.store.list(PREFIX, cursor.as_deref(), PAGE).await?;
            for (name, document) in &page.items {
                let (Some(key), Ok(campaign)) = (named(name), read(name, document)) else {
                    continue;
                };
                if campaign.active() {
                    census.active.push(key);
                } else if outlived(&campaign, retention, now) {
                    census.outlived.push(key);
                }
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(census);
            }
        }
    }
    /// The paused campaigns of a tenant.
    ///
    /// # Errors
    /// The store's.
    pub async fn paused(&self, tenant: &TenantId) -> Result<HashSet<CampaignId>, StoreError> {
        let prefix = format!("{PREFIX}{tenant}/");
        let mut paused = HashSet::new();
        let mut cursor = None;
        loop {
            let page = self.store.list(&prefix, cursor.as_deref(), PAGE).await?;
            let read = page.items.iter().filter_map(|(n, d)| read(n, d).ok());
            paused.extend(read.filter(|c| c.state == State::Paused).map(|c| c.id));
            cursor = page.next;
            if cursor.is_none() {
                return Ok(paused);
            }
        }
    }
}

fn outlived(campaign: &Campaign, retention: Duration, now: Timestamp) -> bool {
    let Some(ended) = campaign.ended_at else {
        return false;
    };
    now.checked_sub(retention).is_ok_and(|since| ended < since)
}
