//! Listing the targets that a selection names.

use tokio::time::Instant;

use super::{
    CampaignError,
    batch::Hand,
    selecting::{Selected, Selecting},
};
use crate::{
    domain::campaign::{Enrolment, enrol},
    ports::{
        error::StoreError,
        records::{BATCH_MAX, Urgency},
    },
};

/// Lists page by page until all are listed or time is up. Answers whether all are. A walk that begins anew meets the
/// same devices again; none is listed twice. Once the campaign is called off, no further page is listed.
pub(super) async fn prepare(
    hand: &Hand<'_>,
    selecting: &mut Selecting,
    until: Instant,
) -> Result<bool, StoreError> {
    loop {
        let page = selecting.page(hand.desk, hand.tenant, hand.campaign);
        let Some(selected) = page.await? else {
            return Ok(true);
        };
        if !preparing(hand).await? {
            return Ok(false);
        }
        list(hand, selected).await?;
        if Instant::now() >= until {
            return Ok(false);
        }
    }
}

/// Whether the campaign is still to be listed, by its document as it is now.
async fn preparing(hand: &Hand<'_>) -> Result<bool, StoreError> {
    match hand.desk.get(hand.tenant, &hand.campaign.id).await {
        Ok(campaign) => Ok(campaign.preparing()),
        Err(CampaignError::Store(error)) => Err(error),
        Err(CampaignError::Unknown(_) | CampaignError::Refused(_) | CampaignError::Invalid(_)) => {
            Ok(false)
        }
    }
}

async fn list(hand: &Hand<'_>, selected: Vec<Selected>) -> Result<(), StoreError> {
    let enrolments = selected.into_iter().map(|s| Enrolment {
        key: hand.key(&s.device),
        unknown: s.record.is_none(),
    });
    let mut items: Vec<_> = enrolments.map(|e| enrol(&hand.campaign.id, e)).collect();
    while !items.is_empty() {
        let rest = items.split_off(items.len().min(BATCH_MAX));
        let fence = Some(hand.fence);
        hand.desk.store.commit(items, Urgency::Open, fence).await?;
        items = rest;
    }
    Ok(())
}
