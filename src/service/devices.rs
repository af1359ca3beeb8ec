//! Looking at devices, paging through them by the state of their channel, and forgetting them.

use jiff::{SignedDuration, Timestamp};

use crate::{
    domain::{
        channel::ChannelKind,
        id::{DeviceId, DeviceKey, TenantId},
        record::{DeviceRecord, codec},
        schedule::later,
        transition,
    },
    ports::{
        error::StoreError,
        records::{ListName, Page, Stored, Urgency},
    },
};

use super::{desk::Desk, edit::Decision};

/// Most devices that one call looks at for a filter that the store has no list for; the cursor goes on from there.
const SCANNED_MAX: usize = 16 * 1024;
/// Devices read from the store at a time.
const PAGE_MAX: usize = 1024;

/// Which devices are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// All.
    All,
    /// Those whose channel is in this state.
    Channel(ChannelKind),
    /// Those whose usable channel WNS is expected to expire within this time.
    Expiring(SignedDuration),
}

/// Where to begin and how much to find.
#[derive(Clone, Debug)]
pub struct Range {
    /// The place after the last page.
    pub cursor: Option<String>,
    /// About how many devices, 1 to 1,024.
    pub limit: usize,
}

/// The device as it is kept; `None` for an unknown one.
///
/// # Errors
/// [`StoreError`].
pub async fn get(
    desk: &Desk,
    tenant: &TenantId,
    device: &DeviceId,
) -> Result<Option<DeviceRecord>, StoreError> {
    let key = DeviceKey::new(tenant.clone(), device.clone());
    let stored = desk.store.read(std::slice::from_ref(&key)).await?;
    let stored = stored.into_iter().next().flatten();
    let record = stored.map(|s| decode(tenant, device, &s)).transpose();
    record.inspect_err(|error| desk.unreadable(error))
}

/// A page of the devices that `filter` names.
///
/// # Errors
/// [`StoreError`]; [`StoreError::Damaged`] also for a cursor that is not the store's.
pub async fn list(
    desk: &Desk,
    tenant: &TenantId,
    filter: Filter,
    range: Range,
) -> Result<Page<(DeviceId, DeviceRecord)>, StoreError> {
    let now = desk.clock.now();
    match filter {
        Filter::Channel(
            kind @ (ChannelKind::Silent | ChannelKind::Suspect | ChannelKind::Dead),
        ) => listed(desk, tenant, kind, range).await,
        Filter::Channel(kind @ (ChannelKind::Live | ChannelKind::None)) => {
            scanned(desk, tenant, range, |record| record.channel_kind() == kind).await
        }
        Filter::All => scanned(desk, tenant, range, |_| true).await,
        Filter::Expiring(within) => {
            let until = later(now, within);
            scanned(desk, tenant, range, |record| expires_before(record, until)).await
        }
    }
}

fn expires_before(record: &DeviceRecord, until: Timestamp) -> bool {
    let channel = record.channel.as_ref().filter(|c| c.usable());
    channel.is_some_and(|c| c.expires_at() <= until)
}

/// Reads the store's own list of channels in trouble, and the records behind it.
async fn listed(
    desk: &Desk,
    tenant: &TenantId,
    kind: ChannelKind,
    range: Range,
) -> Result<Page<(DeviceId, DeviceRecord)>, StoreError> {
    let list = ListName::Channels(kind.as_str());
    let cursor = range.cursor.as_deref();
    let page = desk
        .store
        .members(tenant, &list, cursor, range.limit)
        .await?;
    let devices = page.items.into_iter().map(|m| m.device);
    let keys: Vec<DeviceKey> = devices.map(|d| DeviceKey::new(tenant.clone(), d)).collect();
    let mut items = Vec::with_capacity(keys.len());
    for keys in keys.chunks(PAGE_MAX) {
        let found = desk.store.read(keys).await?;
        for (key, stored) in keys.iter().zip(found) {
            let Some(stored) = stored else { continue };
            let record = decode(tenant, &key.device, &stored)?;
            // It may have changed between the two reads.
            if record.channel_kind() == kind {
                items.push((key.device.clone(), record));
            }
        }
    }
    let next = page.next;
    Ok(Page { items, next })
}

async fn scanned(
    desk: &Desk,
    tenant: &TenantId,
    range: Range,
    wanted: impl Fn(&DeviceRecord) -> bool,
) -> Result<Page<(DeviceId, DeviceRecord)>, StoreError> {
    let mut items = Vec::new();
    let mut next = range.cursor;
    let mut seen = 0;
    loop {
        let limit = range.limit - items.len();
        let page = desk.store.scan(tenant, next.as_deref(), limit).await?;
        seen += page.items.len().max(1);
        for (device, stored) in page.items {
            let record = decode(tenant, &device, &stored)?;
            if wanted(&record) {
                items.push((device, record));
            }
        }
        next = page.next;
        if next.is_none() || items.len() >= range.limit || seen >= SCANNED_MAX {
            return Ok(Page { items, next });
        }
    }
}

/// Forgets devices; their open asks end as cancelled. One answer for each, in order: whether it was known.
///
/// # Errors
/// [`StoreError`]; some may have been forgotten then.
pub async fn forget(
    desk: &Desk,
    tenant: &TenantId,
    devices: Vec<DeviceId>,
) -> Result<Vec<bool>, StoreError> {
    let jobs = devices.into_iter().map(|device| (device, ())).collect();
    desk.change(tenant, jobs, Urgency::Settle, |step, (), record| {
        let Some(mut record) = record else {
            return Decision::Leave(false);
        };
        let effects = transition::forget(step, &mut record);
        Decision::Commit(None, effects, true)
    })
    .await
}

fn decode(
    tenant: &TenantId,
    device: &DeviceId,
    stored: &Stored,
) -> Result<DeviceRecord, StoreError> {
    codec::decode(&stored.bytes).map_err(|error| StoreError::Damaged {
        detail: format!("device {device} of tenant {tenant}: {error}"),
    })
}
