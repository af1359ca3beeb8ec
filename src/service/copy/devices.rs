//! Devices: the record as it is, with the queue, the counters and the lists that follow from it.

use super::{CopyError, Copying, Step};
use crate::{
    domain::{
        id::{DeviceId, DeviceKey, TenantId},
        item::{After, Before, compose},
        record::codec,
        transition::Effects,
    },
    ports::{
        error::StoreError,
        records::{BATCH_MAX, Item, Stored, Urgency},
    },
};

impl Copying {
    /// Copies the devices of a tenant; those that are there are passed over.
    pub(super) async fn devices(&self, tenant: &TenantId, done: &mut u64) -> Result<(), CopyError> {
        let mut cursor: Option<String> = None;
        loop {
            let page = self.source.scan(tenant, cursor.as_deref(), BATCH_MAX).await;
            let page = page.map_err(CopyError::source)?;
            for found in page.items.chunks(BATCH_MAX) {
                let items = found
                    .iter()
                    .map(|(device, stored)| item(tenant, device, stored));
                let items: Result<Vec<Item>, StoreError> = items.collect();
                self.commit(items.map_err(CopyError::source)?).await?;
                *done += found.len() as u64;
                (self.told)(Step::Devices(*done));
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }

    /// Commits items that are harmless when they are refused because they were applied before.
    pub(super) async fn commit(&self, items: Vec<Item>) -> Result<(), CopyError> {
        if items.is_empty() {
            return Ok(());
        }
        let committed = self.target.commit(items, Urgency::Open, None).await;
        committed.map(drop).map_err(CopyError::target)
    }
}

fn item(tenant: &TenantId, device: &DeviceId, stored: &Stored) -> Result<Item, StoreError> {
    let record = codec::decode(&stored.bytes).map_err(|error| StoreError::Damaged {
        detail: format!("device {device} of tenant {tenant}: {error}"),
    })?;
    let before = Before {
        revision: None,
        record: None,
    };
    let after = After {
        record: Some(record),
        revision: stored.revision,
        effects: Effects::default(),
    };
    let key = DeviceKey::new(tenant.clone(), device.clone());
    Ok(compose(key, before, after, None))
}
