//! Whom a selection names, page by page.

use std::time::Duration;

use jiff::Timestamp;

use super::{CampaignError, Campaigns, batch::ROUND};
use crate::{
    domain::{
        campaign::{Campaign, Selection, TargetResult, TargetStatus, TargetView},
        id::{CampaignId, DeviceId, DeviceKey, TenantId},
        record::{DeviceRecord, codec},
    },
    ports::{
        error::StoreError,
        lists::Member,
        records::{ListName, Stored},
    },
};

/// A device that a selection names.
pub(super) struct Selected {
    pub(super) device: DeviceId,
    pub(super) record: Option<DeviceRecord>,
}

/// A walk through a selection.
#[derive(Debug, Default)]
pub(super) struct Selecting {
    cursor: Option<String>,
    through: bool,
}

impl Selecting {
    /// The next page, which may be empty; `None` after the last.
    pub(super) async fn page(
        &mut self,
        desk: &Campaigns,
        tenant: &TenantId,
        campaign: &Campaign,
    ) -> Result<Option<Vec<Selected>>, StoreError> {
        if self.through {
            return Ok(None);
        }
        let walk = Walk {
            desk,
            tenant,
            cursor: self.cursor.take(),
        };
        let start = campaign.started_at.unwrap_or_else(|| desk.clock.now());
        let (selected, next) = match &campaign.definition.selection {
            Selection::Listed => walk.listed(&campaign.id).await?,
            Selection::All => walk.devices(|_| true).await?,
            Selection::NotCheckedInFor(time) => {
                walk.devices(|record| silent_for(record, *time, start))
                    .await?
            }
            Selection::LeftOf { campaign, states } => walk.left_of(campaign, states).await?,
        };
        self.through = next.is_none();
        self.cursor = next;
        Ok(Some(selected))
    }
}

type Walked = (Vec<Selected>, Option<String>);

struct Walk<'a> {
    desk: &'a Campaigns,
    tenant: &'a TenantId,
    cursor: Option<String>,
}

impl Walk<'_> {
    async fn devices(&self, wanted: impl Fn(&DeviceRecord) -> bool) -> Result<Walked, StoreError> {
        let store = &self.desk.store;
        let page = store
            .scan(self.tenant, self.cursor.as_deref(), ROUND)
            .await?;
        let read = page.items.into_iter().filter_map(|(device, stored)| {
            let record = decode(Some(&stored))?;
            wanted(&record).then_some(Selected {
                device,
                record: Some(record),
            })
        });
        Ok((read.collect(), page.next))
    }

    async fn listed(&self, campaign: &CampaignId) -> Result<Walked, StoreError> {
        let list = ListName::Waiting(campaign.clone());
        let (members, next) = self.members(&list).await?;
        let devices = members.into_iter().map(|m| m.device).collect();
        Ok((self.read(devices).await?, next))
    }

    async fn left_of(
        &self,
        campaign: &CampaignId,
        states: &[TargetStatus],
    ) -> Result<Walked, StoreError> {
        let source = match self.desk.get(self.tenant, campaign).await {
            Ok(source) => source,
            Err(CampaignError::Store(error)) => return Err(error),
            Err(
                CampaignError::Unknown(_) | CampaignError::Refused(_) | CampaignError::Invalid(_),
            ) => return Ok((Vec::new(), None)),
        };
        let list = ListName::Targets(campaign.clone());
        let (members, next) = self.members(&list).await?;
        let (ended, unfinished): (Vec<Member>, Vec<Member>) =
            members.into_iter().partition(|m| !m.text.is_empty());
        let ended = ended.into_iter().filter(|m| ended_as(&m.text, states));
        let mut selected = self.read(ended.map(|m| m.device).collect()).await?;
        let devices = unfinished.into_iter().map(|m| m.device).collect();
        let unfinished = self.read(devices).await?;
        selected.extend(unfinished.into_iter().filter(|s| {
            let record = s.record.as_ref();
            let view = TargetView::unfinished(s.device.clone(), &source, record);
            states.contains(&view.status)
        }));
        Ok((selected, next))
    }

    async fn members(&self, list: &ListName) -> Result<(Vec<Member>, Option<String>), StoreError> {
        let cursor = self.cursor.as_deref();
        let store = &self.desk.store;
        let page = store.members(self.tenant, list, cursor, ROUND).await?;
        Ok((page.items, page.next))
    }

    async fn read(&self, devices: Vec<DeviceId>) -> Result<Vec<Selected>, StoreError> {
        self.desk.records_of(self.tenant, devices).await
    }
}

impl Campaigns {
    /// The records of any number of devices; one that cannot be read is left out.
    pub(super) async fn records_of(
        &self,
        tenant: &TenantId,
        devices: Vec<DeviceId>,
    ) -> Result<Vec<Selected>, StoreError> {
        let mut selected = Vec::with_capacity(devices.len());
        for devices in devices.chunks(ROUND) {
            let key = |d: &DeviceId| DeviceKey::new(tenant.clone(), d.clone());
            let keys: Vec<DeviceKey> = devices.iter().map(key).collect();
            let stored = self.store.read(&keys).await?;
            for (device, stored) in devices.iter().zip(stored) {
                let record = decode(stored.as_ref());
                if record.is_some() || stored.is_none() {
                    let device = device.clone();
                    selected.push(Selected { device, record });
                }
            }
        }
        Ok(selected)
    }
}

fn decode(stored: Option<&Stored>) -> Option<DeviceRecord> {
    codec::decode(&stored?.bytes).ok()
}

fn silent_for(record: &DeviceRecord, time: Duration, start: Timestamp) -> bool {
    let Ok(since) = start.checked_sub(time) else {
        return false;
    };
    record.last_check_in.is_none_or(|at| at < since)
}

/// Whether a target ended in one of `states`; a deleted device is nobody's target any more.
fn ended_as(text: &str, states: &[TargetStatus]) -> bool {
    TargetResult::parse(text).is_ok_and(|(status, result)| {
        states.contains(&status) && result.cause.as_deref() != Some("device_deleted")
    })
}
