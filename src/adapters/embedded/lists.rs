//! The lists port, read from the tables beside the log.

use std::{ops::Bound, sync::Arc};

use async_trait::async_trait;

use super::{
    EmbeddedStore,
    batch::list_text,
    errors::{damaged, side_failed},
    fetch::off_thread,
    ops::Op,
    records::{PAGE_MAX, unknown_cursor},
    side::{Side, list_prefix, member_key, order_key, score_from, score_of},
};
use crate::{
    domain::id::{DeviceId, TenantId},
    ports::{
        error::StoreError,
        lists::{Lists, Member},
        records::{ListName, Page, Urgency},
    },
};

/// Members forgotten in one change.
const DROP_PIECE: usize = 1024;
/// Members found on the caller's thread at most.
const INLINE_MAX: usize = 8;

#[async_trait]
impl Lists for EmbeddedStore {
    async fn members(
        &self,
        tenant: &TenantId,
        list: &ListName,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<Member>, StoreError> {
        let after = cursor.map(place_of).transpose()?;
        let (side, tenant, list) = (self.shared.side()?, tenant.clone(), list_text(list));
        let limit = limit.clamp(1, PAGE_MAX);
        let read = off_thread(move || members_after(&side, tenant.as_str(), &list, after, limit));
        let items = read.await?;
        let last = items.last().filter(|_| items.len() == limit);
        let next = last.map(|m| format!("{}.{}", m.score, m.device));
        Ok(Page { items, next })
    }

    async fn find(
        &self,
        tenant: &TenantId,
        list: &ListName,
        devices: &[DeviceId],
    ) -> Result<Vec<Option<Member>>, StoreError> {
        let (side, tenant, list) = (self.shared.side()?, tenant.clone(), list_text(list));
        let (devices, few) = (devices.to_vec(), devices.len() <= INLINE_MAX);
        let find_all = move || {
            let find = |device| find_member(&side, tenant.as_str(), &list, device);
            devices.iter().map(find).collect()
        };
        if few {
            find_all()
        } else {
            off_thread(find_all).await
        }
    }

    async fn first(
        &self,
        tenant: &TenantId,
        list: &ListName,
        limit: usize,
    ) -> Result<Vec<Member>, StoreError> {
        self.members(tenant, list, None, limit)
            .await
            .map(|page| page.items)
    }

    async fn drop_list(&self, tenant: &TenantId, list: &ListName) -> Result<(), StoreError> {
        let name = list_text(list);
        loop {
            let piece = self.members(tenant, list, None, DROP_PIECE).await?.items;
            if piece.is_empty() {
                return Ok(());
            }
            let (tenant, list) = (tenant.clone(), name.clone());
            let change = format!("list/{tenant}/{list}");
            self.change(change, Urgency::Settle, move |stage| {
                for member in piece {
                    stage.batch.add(&Op::ListRemove {
                        tenant: tenant.as_str(),
                        list: &list,
                        device: member.device.as_str(),
                    });
                }
                Ok(())
            })
            .await?;
        }
    }
}

fn members_after(
    side: &Arc<Side>,
    tenant: &str,
    list: &str,
    after: Option<(i64, DeviceId)>,
    limit: usize,
) -> Result<Vec<Member>, StoreError> {
    let prefix = list_prefix(tenant, list);
    let from = match after {
        None => Bound::Included(prefix.clone()),
        Some((score, device)) => Bound::Excluded(order_key(tenant, list, score, device.as_str())),
    };
    let mut end = prefix.clone();
    end.pop();
    end.push(1);
    let mut members = Vec::new();
    for entry in side.order.range((from, Bound::Excluded(end))).take(limit) {
        let (key, text) = entry.into_inner().map_err(|e| side_failed(&e))?;
        members.push(member_of(&key[prefix.len()..], &text)?);
    }
    Ok(members)
}

fn member_of(key: &[u8], text: &[u8]) -> Result<Member, StoreError> {
    let unreadable = || damaged(&super::bytes::Malformed);
    let (score, device) = key.split_first_chunk::<8>().ok_or_else(unreadable)?;
    let device = std::str::from_utf8(device).map_err(|_| unreadable())?;
    Ok(Member {
        device: DeviceId::new(device).map_err(|_| unreadable())?,
        score: score_from(u64::from_be_bytes(*score)),
        text: String::from_utf8(text.to_vec()).map_err(|_| unreadable())?,
    })
}

fn find_member(
    side: &Side,
    tenant: &str,
    list: &str,
    device: &DeviceId,
) -> Result<Option<Member>, StoreError> {
    let member = side.members.get(member_key(tenant, list, device.as_str()));
    let Some(value) = member.map_err(|e| side_failed(&e))? else {
        return Ok(None);
    };
    let score = score_of(&value).ok_or_else(|| damaged(&super::bytes::Malformed))?;
    let order = order_key(tenant, list, score, device.as_str());
    let text = side.order.get(&order).map_err(|e| side_failed(&e))?;
    let prefix = list_prefix(tenant, list).len();
    text.map(|text| member_of(&order[prefix..], &text))
        .transpose()
}

/// A cursor is the last member's score and device.
fn place_of(cursor: &str) -> Result<(i64, DeviceId), StoreError> {
    let (score, device) = cursor.split_once('.').ok_or_else(unknown_cursor)?;
    let score = score.parse().map_err(|_| unknown_cursor())?;
    let device = DeviceId::new(device).map_err(|_| unknown_cursor())?;
    Ok((score, device))
}
