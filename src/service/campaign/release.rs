//! Releasing waiting targets into asks.

use std::collections::HashSet;

use super::batch::{Hand, ROUND, Round, Target};
use crate::{
    domain::{
        campaign::{Order, released},
        id::CampaignId,
    },
    ports::{error::StoreError, records::Urgency},
};

/// Releases at most `limit` of the targets that come next. Fewer are released when others change the same devices, or when
/// the list has no more; they are found again.
pub(super) async fn release(
    hand: &Hand<'_>,
    wave: u8,
    paused: &HashSet<CampaignId>,
    limit: u64,
) -> Result<Round, StoreError> {
    let order = Order {
        campaign: hand.campaign,
        wave,
        paused,
    };
    let limit = usize::try_from(limit).unwrap_or(ROUND).min(ROUND);
    let store = &hand.desk.store;
    let next = store
        .first(hand.tenant, &hand.waiting_list(), limit)
        .await?;
    let keys: Vec<_> = next.iter().map(|m| hand.key(&m.device)).collect();
    if keys.is_empty() {
        return Ok(Round::default());
    }
    let stored = store.read(&keys).await?;
    let targets: Vec<Target> = next
        .into_iter()
        .zip(stored)
        .take(limit)
        .map(|(member, stored)| Target {
            device: member.device.clone(),
            waiting: Some(member),
            stored,
        })
        .collect();
    let telemetry = &hand.desk.telemetry;
    hand.apply(&targets, Urgency::Open, |step, mut candidate| {
        candidate.trace = telemetry.campaign_trace(hand.tenant, &hand.campaign.id);
        released(step, &order, candidate)
    })
    .await
}
