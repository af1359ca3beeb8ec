//! What a store holds, counted from what is in it and not from its counters, so that two stores can be compared.

use std::collections::BTreeMap;

use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64;

use super::{CopyError, Copying, PAGE, Step, campaigns::lists_of, documents::goes, events};
use crate::{
    domain::{
        id::{CampaignId, TenantId},
        record::codec,
    },
    ports::{Store, error::StoreError, feed::After, records::BATCH_MAX},
};

/// What a tenant holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TenantSums {
    /// Devices.
    pub devices: u64,
    /// Devices by the state of their channel.
    pub channels: BTreeMap<&'static str, u64>,
    /// Open pushes.
    pub pushes_open: u64,
    /// Asks that these carry.
    pub asks_open: u64,
    /// Campaigns.
    pub campaigns: u64,
    /// Members of their lists: all targets, and those that wait once more.
    pub targets: u64,
    /// Events of the feed.
    pub events: u64,
    /// The records and the members of lists as one number.
    #[serde(serialize_with = "hexadecimal")]
    pub digest: u64,
    #[serde(skip)]
    counters: BTreeMap<String, i64>,
}

/// What was copied and compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sums {
    /// Tenants.
    pub tenants: BTreeMap<TenantId, TenantSums>,
    /// Documents of all tenants and apps.
    pub documents: u64,
}

fn hexadecimal<S: serde::Serializer>(digest: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{digest:016x}"))
}

impl Copying {
    /// Counts both stores; what is in the target of these tenants must be what is in the source.
    pub(super) async fn verified(&self, tenants: &[TenantId]) -> Result<Sums, CopyError> {
        let mut sums = Sums::default();
        let mut verified = 0;
        for tenant in tenants {
            let campaigns = self.campaigns(tenant).await?;
            let source = sum(&*self.source, tenant, &campaigns).await;
            let source = source.map_err(CopyError::source)?;
            let target = sum(&*self.target, tenant, &campaigns).await;
            let target = target.map_err(CopyError::target)?;
            if let Some(difference) = difference(&source, &target) {
                return Err(CopyError::Differs(format!("tenant {tenant}: {difference}")));
            }
            verified += source.devices;
            (self.told)(Step::Verified(verified));
            sums.tenants.insert(tenant.clone(), source);
        }
        sums.documents = self.same_documents().await?;
        Ok(sums)
    }

    async fn same_documents(&self) -> Result<u64, CopyError> {
        let (mut same, mut cursor) = (0, None::<String>);
        loop {
            let page = self.source.list("", cursor.as_deref(), PAGE).await;
            let page = page.map_err(CopyError::source)?;
            for (name, document) in page.items.into_iter().filter(|(name, _)| goes(name)) {
                let there = self.target.get(&name).await.map_err(CopyError::target)?;
                let equal = there.as_ref().is_some_and(|d| d.bytes == document.bytes);
                // Where tenants are added, what the target knew stands.
                if !(equal || self.add && there.is_some()) {
                    return Err(CopyError::Differs(format!("the document {name}")));
                }
                same += 1;
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(same);
            }
        }
    }
}

fn difference(source: &TenantSums, target: &TenantSums) -> Option<String> {
    let numbers = |sums: &TenantSums| {
        [
            ("devices", sums.devices),
            ("open pushes", sums.pushes_open),
            ("open asks", sums.asks_open),
            ("targets", sums.targets),
            ("events", sums.events),
        ]
    };
    let counts = numbers(source).into_iter().zip(numbers(target));
    let count = counts
        .filter(|(a, b)| a.1 != b.1)
        .map(|((what, from), (_, to))| format!("{from} {what} in the source, {to} in the target"));
    let names = source.counters.keys().chain(target.counters.keys());
    let value = |sums: &TenantSums, name: &String| sums.counters.get(name).copied().unwrap_or(0);
    let counter = names
        .filter(|name| value(source, name) != value(target, name))
        .map(|name| format!("the counter {name}"));
    let rest = (source.digest != target.digest || source.channels != target.channels)
        .then(|| "records or results".to_owned());
    count.chain(counter).chain(rest).next()
}

async fn sum(
    store: &dyn Store,
    tenant: &TenantId,
    campaigns: &[CampaignId],
) -> Result<TenantSums, StoreError> {
    let mut sums = TenantSums {
        campaigns: campaigns.len() as u64,
        events: events::count(store, tenant, After::Oldest).await?,
        counters: store.counters(tenant, "").await?,
        ..TenantSums::default()
    };
    sum_devices(store, tenant, &mut sums).await?;
    for id in campaigns {
        for list in lists_of(id) {
            let mut cursor: Option<String> = None;
            loop {
                let page = store
                    .members(tenant, &list, cursor.as_deref(), PAGE)
                    .await?;
                for member in page.items {
                    sums.targets += 1;
                    let text = format!(
                        "{list:?} {} {} {}",
                        member.device, member.score, member.text
                    );
                    sums.digest = sums.digest.wrapping_add(xxh3_64(text.as_bytes()));
                }
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
        }
    }
    Ok(sums)
}

async fn sum_devices(
    store: &dyn Store,
    tenant: &TenantId,
    sums: &mut TenantSums,
) -> Result<(), StoreError> {
    // A scan may find a device twice.
    let mut seen = std::collections::HashSet::new();
    let mut cursor: Option<String> = None;
    loop {
        let page = store.scan(tenant, cursor.as_deref(), BATCH_MAX).await?;
        for (device, stored) in page.items {
            let text = [device.as_str().as_bytes(), b" ", &stored.bytes].concat();
            if !seen.insert(xxh3_64(device.as_str().as_bytes())) {
                continue;
            }
            let record = codec::decode(&stored.bytes).map_err(|error| StoreError::Damaged {
                detail: format!("device {device} of tenant {tenant}: {error}"),
            })?;
            sums.devices += 1;
            sums.digest = sums.digest.wrapping_add(xxh3_64(&text));
            *sums
                .channels
                .entry(record.channel_kind().as_str())
                .or_default() += 1;
            if let Some(push) = &record.push {
                sums.pushes_open += 1;
                sums.asks_open += push.asks.len() as u64;
            }
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(());
        }
    }
}
