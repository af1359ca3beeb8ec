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
        let limit = limit.clamp(1, PAGE_MAX);
        let items = self.members_after(tenant, list, after, limit).await?;
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
        let (side, tenant, list) = (self.shared.side()?, tenant.clone(), list_text(list));
        off_thread(move || read_first(&side, (tenant.as_str(), &list), limit)).await
    }

    async fn drop_list(&self, tenant: &TenantId, list: &ListName) -> Result<(), StoreError> {
        let name = list_text(list);
        let mut cursor = None;
        loop {
            let page = self.members(tenant, list, cursor.as_deref(), DROP_PIECE);
            let page = page.await?;
            let piece = page.items;
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
            cursor = page.next;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }
}

impl EmbeddedStore {
    async fn members_after(
        &self,
        tenant: &TenantId,
        list: &ListName,
        after: Option<(i64, DeviceId)>,
        limit: usize,
    ) -> Result<Vec<Member>, StoreError> {
        let (side, tenant, list) = (self.shared.side()?, tenant.clone(), list_text(list));
        off_thread(move || read_members(&side, (tenant.as_str(), &list), after, limit)).await
    }
}

fn read_members(
    side: &Arc<Side>,
    (tenant, list): (&str, &str),
    after: Option<(i64, DeviceId)>,
    limit: usize,
) -> Result<Vec<Member>, StoreError> {
    let from = match after {
        None => Bound::Included(list_prefix(tenant, list)),
        Some((score, device)) => Bound::Excluded(order_key(tenant, list, score, device.as_str())),
    };
    read_range(side, (tenant, list), from, limit)
}

/// Reads from where the list was found to begin: what was released before it has left marks that take time to pass over.
fn read_first(
    side: &Arc<Side>,
    (tenant, list): (&str, &str),
    limit: usize,
) -> Result<Vec<Member>, StoreError> {
    let front = side.fronts.of(tenant, list);
    let from = match front.score {
        None => list_prefix(tenant, list),
        Some(score) => order_key(tenant, list, score, ""),
    };
    let members = read_range(side, (tenant, list), Bound::Included(from), limit)?;
    let score = members.first().map(|m| m.score);
    side.fronts.found(tenant, list, front, score);
    Ok(members)
}

fn read_range(
    side: &Arc<Side>,
    (tenant, list): (&str, &str),
    from: Bound<Vec<u8>>,
    limit: usize,
) -> Result<Vec<Member>, StoreError> {
    let prefix = list_prefix(tenant, list);
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
