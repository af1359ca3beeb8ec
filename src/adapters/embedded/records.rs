//! The records port.

use async_trait::async_trait;
use tokio::sync::oneshot;

use super::{
    EmbeddedStore,
    batch::key_of,
    closed,
    fetch::fetch_all,
    jobs::{CommitJob, Job},
    ops::Op,
};
use crate::{
    domain::id::{DeviceId, DeviceKey, TenantId},
    ports::{
        error::StoreError,
        records::{Committed, Fence, Item, Page, Records, Stored, Urgency},
    },
};

/// Devices looked at for one page of a scan, whichever tenant they are of.
const LOOKS_MAX: usize = 64 * 1024;
/// Longest page.
pub(super) const PAGE_MAX: usize = 1024;

#[async_trait]
impl Records for EmbeddedStore {
    async fn read(&self, keys: &[DeviceKey]) -> Result<Vec<Option<Stored>>, StoreError> {
        self.shared.side()?;
        let found = {
            let state = self.shared.state();
            let find = |key| Some(state.found(state.devices.find(key_of(key))?));
            keys.iter().map(find).collect()
        };
        fetch_all(found).await
    }

    async fn commit(
        &self,
        items: Vec<Item>,
        urgency: Urgency,
        fence: Option<&Fence>,
    ) -> Result<Vec<Committed>, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job = CommitJob {
            items,
            urgency,
            fence: fence.cloned(),
            moment: self.shared.moment(),
            reply,
        };
        self.send(Job::Commit(job)).await?;
        answer.await.map_err(|_| closed())?
    }

    async fn raise_fence(&self, fence: &Fence) -> Result<(), StoreError> {
        let Fence { name, epoch } = fence.clone();
        self.change(format!("fence/{name}"), Urgency::Settle, move |stage| {
            let raised = stage.shared.state().fences.get(&name).copied();
            if raised.is_none_or(|raised| raised < epoch) {
                let name = &name;
                stage.batch.add(&Op::Fence { name, epoch });
            }
            Ok(())
        })
        .await
    }

    async fn scan(
        &self,
        tenant: &TenantId,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<(DeviceId, Stored)>, StoreError> {
        self.shared.side()?;
        let (ids, found, next) = {
            let state = self.shared.state();
            let from = match cursor {
                None => 0,
                Some(cursor) => scan_place(cursor, state.opened)?,
            };
            let limit = limit.clamp(1, PAGE_MAX);
            let (numbers, next) = state.devices.of_tenant(tenant, from, limit, LOOKS_MAX);
            let ids: Vec<_> = numbers.iter().map(|n| state.devices.id(*n)).collect();
            let found = numbers.iter().map(|n| Some(state.found(*n))).collect();
            (ids, found, next.map(|n| format!("{}.{n}", state.opened)))
        };
        let records = fetch_all(found).await?;
        let items = ids.into_iter().zip(records.into_iter().flatten()).collect();
        Ok(Page { items, next })
    }
}

/// Numbers hold as long as the store is open; a cursor from before begins again, which finds everything once more.
fn scan_place(cursor: &str, opened: u64) -> Result<u32, StoreError> {
    let parts = cursor.split_once('.');
    let place = parts.and_then(|(times, number)| {
        let (times, number) = (times.parse::<u64>().ok()?, number.parse().ok()?);
        (times <= opened).then_some(if times == opened { number } else { 0 })
    });
    place.ok_or_else(unknown_cursor)
}

pub(super) fn unknown_cursor() -> StoreError {
    StoreError::Damaged {
        detail: "the cursor is not one of this store".to_owned(),
    }
}
