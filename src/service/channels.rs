//! Registering the channel URIs that devices report, and undoing marks that a wave of refusals left.

use jiff::Timestamp;

use crate::{
    domain::{
        channel::ChannelKind,
        id::{DeviceId, TenantId},
        record::DeviceRecord,
        transition::{self, Effects, Registered},
        wns::channel_uri::ChannelUri,
    },
    ports::{
        error::StoreError,
        records::{ListName, Urgency},
    },
};

use super::{desk::Desk, edit::Decision};

/// Members of a list that are read and changed at a time.
const PAGE: usize = 512;

/// Takes up the URIs that devices reported; a device that nobody has named before is made. One answer for each, in order.
///
/// # Errors
/// [`StoreError`]; some may have been taken up then. Repeating is harmless.
pub async fn register(
    desk: &Desk,
    tenant: &TenantId,
    reports: Vec<(DeviceId, ChannelUri)>,
) -> Result<Vec<Registered>, StoreError> {
    desk.change(tenant, reports, Urgency::Open, |step, uri, record| {
        let mut record = record.unwrap_or_default();
        let (registered, effects) = transition::register(step, &mut record, uri.clone());
        Decision::Commit(Some(record), effects, registered)
    })
    .await
}

/// As [`register`] for one device; answers the device as it is then.
///
/// # Errors
/// [`StoreError`].
pub async fn register_one(
    desk: &Desk,
    tenant: &TenantId,
    report: (DeviceId, ChannelUri),
) -> Result<DeviceRecord, StoreError> {
    let answers = desk.change(tenant, vec![report], Urgency::Open, |step, uri, record| {
        let mut record = record.unwrap_or_default();
        let (_, effects) = transition::register(step, &mut record, uri.clone());
        Decision::Commit(Some(record.clone()), effects, record)
    });
    let record = answers.await?.into_iter().next();
    Ok(record.expect("an edit answers each of its jobs"))
}

/// Makes the channels of a tenant live again that were marked suspect or dead at or after `since`. Returns how many.
///
/// # Errors
/// [`StoreError`]; some may have been revived then, and repeating does the rest.
pub async fn revive(desk: &Desk, tenant: &TenantId, since: Timestamp) -> Result<u64, StoreError> {
    let mut revived = 0;
    for kind in [ChannelKind::Suspect, ChannelKind::Dead] {
        let list = ListName::Channels(kind.as_str());
        let mut cursor: Option<String> = None;
        loop {
            let page = desk
                .store
                .members(tenant, &list, cursor.as_deref(), PAGE)
                .await?;
            let since_ms = since.as_millisecond();
            let marked = page.items.into_iter().filter(|m| m.score >= since_ms);
            let jobs = marked.map(|m| (m.device, ())).collect();
            revived += revive_batch(desk, tenant, jobs, since).await?;
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
    }
    Ok(revived)
}

async fn revive_batch(
    desk: &Desk,
    tenant: &TenantId,
    jobs: Vec<(DeviceId, ())>,
    since: Timestamp,
) -> Result<u64, StoreError> {
    let answers = desk.change(tenant, jobs.clone(), Urgency::Settle, |step, (), record| {
        let Some(mut record) = record else {
            return Decision::Leave(false);
        };
        if transition::revive(step, &mut record, since) {
            Decision::Commit(Some(record), Effects::default(), true)
        } else {
            Decision::Leave(false)
        }
    });
    match answers.await {
        Ok(revived) => Ok(revived.into_iter().filter(|revived| *revived).count() as u64),
        Err(error @ StoreError::Damaged { .. }) if jobs.len() <= 1 => {
            desk.unreadable(&error);
            Ok(0)
        }
        // One that cannot be read keeps no other from its revival.
        Err(StoreError::Damaged { .. }) => {
            let mut revived = 0;
            for job in jobs {
                revived += Box::pin(revive_batch(desk, tenant, vec![job], since)).await?;
            }
            Ok(revived)
        }
        Err(error) => Err(error),
    }
}
