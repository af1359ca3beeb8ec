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

/// Targets of one campaign whose attempts belong to the trace of the call that started it: as many as a person can look at.
pub(super) const TRACED_MAX: u64 = 100;

/// How much a round may release.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Targets.
    pub(super) targets: u64,
    /// The first of them whose attempts belong to the campaign's trace.
    pub(super) traced: u64,
}

/// Releases at most so many of the targets that come next. Fewer are released when others change the same devices, or when
/// the list has no more; they are found again.
pub(super) async fn release(
    hand: &Hand<'_>,
    wave: u8,
    paused: &HashSet<CampaignId>,
    limits: Limits,
) -> Result<Round, StoreError> {
    let order = Order {
        campaign: hand.campaign,
        wave,
        paused,
    };
    let limit = usize::try_from(limits.targets).unwrap_or(ROUND).min(ROUND);
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
    let mut traced = limits.traced;
    hand.apply(&targets, Urgency::Open, |step, mut candidate| {
        if traced > 0 {
            traced -= 1;
            candidate.trace = hand.campaign.trace;
        }
        released(step, &order, candidate)
    })
    .await
}
