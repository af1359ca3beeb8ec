//! One round over a few targets: read, decide, commit under the fence. What lost a race is found again by the next round.

use jiff::Timestamp;

use super::Campaigns;
use crate::{
    domain::{
        campaign::{Campaign, Candidate},
        id::{DeviceId, DeviceKey, TenantId},
        item::{Before, Item},
        record::{DeviceRecord, Revision, codec},
        transition::Step,
    },
    ports::{
        error::StoreError,
        lists::Member,
        records::{Committed, Fence, ListName, Stored, Urgency},
    },
};

/// Targets in one round.
pub(super) const ROUND: usize = 512;

/// A campaign in the hands of its runner.
#[derive(Clone, Copy)]
pub(super) struct Hand<'a> {
    pub(super) desk: &'a Campaigns,
    pub(super) tenant: &'a TenantId,
    pub(super) campaign: &'a Campaign,
    pub(super) fence: &'a Fence,
}

/// A target and what the store knows of it.
pub(super) struct Target {
    pub(super) device: DeviceId,
    pub(super) waiting: Option<Member>,
    pub(super) stored: Option<Stored>,
}

/// How a round went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Round {
    /// Items applied.
    pub(super) done: u64,
    /// Items that lost a race.
    pub(super) lost: u64,
}

impl Hand<'_> {
    pub(super) fn waiting_list(&self) -> ListName {
        ListName::Waiting(self.campaign.id.clone())
    }

    pub(super) fn key(&self, device: &DeviceId) -> DeviceKey {
        DeviceKey::new(self.tenant.clone(), device.clone())
    }

    /// Reads the records of `devices`, and where they wait.
    pub(super) async fn look_up(&self, devices: Vec<DeviceId>) -> Result<Vec<Target>, StoreError> {
        if devices.is_empty() {
            return Ok(Vec::new());
        }
        let store = &self.desk.store;
        let keys: Vec<DeviceKey> = devices.iter().map(|d| self.key(d)).collect();
        let stored = store.read(&keys).await?;
        let waiting = store
            .find(self.tenant, &self.waiting_list(), &devices)
            .await?;
        let found = devices.into_iter().zip(stored).zip(waiting);
        Ok(found
            .map(|((device, stored), waiting)| Target {
                device,
                waiting,
                stored,
            })
            .collect())
    }

    /// Decides about each target and commits what was decided.
    pub(super) async fn apply(
        &self,
        targets: &[Target],
        urgency: Urgency,
        mut decide: impl FnMut(&Step<'_>, Candidate<'_>) -> Option<Item>,
    ) -> Result<Round, StoreError> {
        let now = self.desk.clock.now();
        let mut items = Vec::with_capacity(targets.len());
        for target in targets {
            let stored = target.stored.as_ref();
            let record = stored.and_then(|s| codec::decode(&s.bytes).ok());
            let candidate = self.candidate(target, record.as_ref());
            items.extend(decide(&self.step(&target.device, now), candidate));
        }
        if items.is_empty() {
            return Ok(Round::default());
        }
        let outcomes = self
            .desk
            .store
            .commit(items, urgency, Some(self.fence))
            .await?;
        let done = outcomes.iter().filter(|o| **o == Committed::Done).count();
        Ok(Round {
            done: done as u64,
            lost: (outcomes.len() - done) as u64,
        })
    }

    fn step<'s>(&'s self, device: &'s DeviceId, now: Timestamp) -> Step<'s> {
        Step {
            rules: &self.desk.rules,
            device,
            now,
            jitter: rand::random(),
        }
    }

    fn candidate<'t>(&self, target: &'t Target, record: Option<&'t DeviceRecord>) -> Candidate<'t> {
        let revision = target.stored.as_ref().map(|s| s.revision);
        Candidate {
            key: self.key(&target.device),
            before: Before { revision, record },
            waiting: target.waiting.as_ref().map(|m| (m.score, &*m.text)),
            revision: Revision(rand::random()),
            trace: None,
        }
    }
}
