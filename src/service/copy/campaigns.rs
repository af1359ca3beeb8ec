//! Campaigns: their targets that wait, all their targets with results, and whether their queues are out of service.

use super::{CopyError, Copying, PAGE, Step};
use crate::{
    domain::{
        campaign::Campaign,
        id::{CampaignId, DeviceKey, TenantId},
        queue::Flow,
    },
    ports::{
        documents::Document,
        error::StoreError,
        lists::Member,
        queues::Selector,
        records::{Change, Expect, Item, ListMove, ListName, Placement},
    },
};

impl Copying {
    /// The campaigns of a tenant. Queues of those that stand still are taken out of service before anything waits in them
    /// that could be claimed.
    pub(super) async fn campaigns(&self, tenant: &TenantId) -> Result<Vec<CampaignId>, CopyError> {
        let prefix = format!("campaign/{tenant}/");
        let mut found = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let page = self.source.list(&prefix, cursor.as_deref(), PAGE).await;
            let page = page.map_err(CopyError::source)?;
            for (name, document) in &page.items {
                let campaign = read(name, document).map_err(CopyError::source)?;
                if campaign.parked() {
                    let flow = Some(Flow::Campaign(campaign.id.clone()));
                    let tenant = tenant.clone();
                    let parked = self.target.park(&Selector { tenant, flow }).await;
                    parked.map_err(CopyError::target)?;
                }
                found.push(campaign.id);
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(found);
            }
        }
    }

    /// Copies the lists of a campaign.
    pub(super) async fn lists(
        &self,
        tenant: &TenantId,
        id: &CampaignId,
        done: &mut u64,
    ) -> Result<(), CopyError> {
        for list in lists_of(id) {
            let mut cursor: Option<String> = None;
            loop {
                let members = self.source.members(tenant, &list, cursor.as_deref(), PAGE);
                let page = members.await.map_err(CopyError::source)?;
                let count = page.items.len() as u64;
                let items = page.items.into_iter().map(|m| item(tenant, &list, m));
                self.commit(items.collect()).await?;
                *done += count;
                (self.told)(Step::Targets(*done));
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// Every list of a campaign.
pub(super) fn lists_of(id: &CampaignId) -> [ListName; 2] {
    [ListName::Waiting(id.clone()), ListName::Targets(id.clone())]
}

fn item(tenant: &TenantId, list: &ListName, member: Member) -> Item {
    Item {
        key: DeviceKey::new(tenant.clone(), member.device),
        expect: Expect::NotListed(list.clone()),
        lease: None,
        change: Change::Keep,
        placement: Placement::default(),
        moves: crate::domain::counter::Moves::default(),
        lists: vec![ListMove::Put {
            list: list.clone(),
            score: member.score,
            text: member.text,
        }],
        events: Vec::new(),
    }
}

fn read(name: &str, document: &Document) -> Result<Campaign, StoreError> {
    serde_json::from_slice(&document.bytes).map_err(|error| StoreError::Damaged {
        detail: format!("document {name}: {error}"),
    })
}
