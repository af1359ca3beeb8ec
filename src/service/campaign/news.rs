//! What a campaign has to tell gets into the feed: at least once, since the document and the feed are two writes.

use super::{CampaignError, Campaigns, ROUNDS_MAX};
use crate::{
    domain::{
        campaign::{Campaign, News},
        id::TenantId,
    },
    ports::error::StoreError,
};

impl Campaigns {
    /// Appends the campaign's news to the feed and takes them off the document. What fails is left to the runner.
    pub(super) async fn announce(
        &self,
        tenant: &TenantId,
        version: u64,
        campaign: Campaign,
    ) -> Campaign {
        if campaign.news.is_empty() {
            return campaign;
        }
        match self.tell(tenant, version, &campaign).await {
            Ok(Some((_, told))) => told,
            Ok(None) | Err(_) => campaign,
        }
    }

    /// The same, with the store's error; `None` when the document is gone, or changes all the time.
    pub(super) async fn tell(
        &self,
        tenant: &TenantId,
        version: u64,
        campaign: &Campaign,
    ) -> Result<Option<(u64, Campaign)>, StoreError> {
        let events = campaign.news.iter().filter_map(News::event).collect();
        self.store.append(tenant, events).await?;
        let (mut version, mut told) = (version, campaign.clone());
        for _ in 0..ROUNDS_MAX {
            told.news.retain(|news| !campaign.news.contains(news));
            if let Some(version) = self.replace(tenant, version, &told).await? {
                return Ok(Some((version, told)));
            }
            (version, told) = match self.load(tenant, &campaign.id).await {
                Ok(newer) => newer,
                Err(CampaignError::Store(error)) => return Err(error),
                Err(
                    CampaignError::Unknown(_)
                    | CampaignError::Refused(_)
                    | CampaignError::Invalid(_),
                ) => return Ok(None),
            };
        }
        Ok(None)
    }
}
