//! Counters: hashes of each tenant, moved by commits, summed here.
//!
//! In a cluster what is done in a shard is counted there. On one server a tenant has one hash, which a call moves once for all its
//! shards, and in which a counter that has come back to zero takes no place. A sum is over all shards, so either is right wherever a
//! store is taken.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use futures_util::future::join_all;

use super::{
    Core, RedisStore,
    errors::damaged,
    many::Reading,
    script::{DROP_COUNTERS, ScriptCall},
};
use crate::{
    domain::id::TenantId,
    ports::{error::StoreError, tally::Tally},
};

/// More than a hash of counters has places, so that one call sees all of it at one moment.
const WHOLE_HASH: &[u8] = b"16777216";

/// Hashes of counters that one command reads: some milliseconds.
const HASHES_MAX: usize = 4_096;

/// Keys looked at by one command.
const SCANNED: u32 = 1_000;

#[async_trait]
impl Tally for RedisStore {
    async fn counters(
        &self,
        tenant: &TenantId,
        prefix: &str,
    ) -> Result<BTreeMap<String, i64>, StoreError> {
        let mut found = self
            .counters_of(std::slice::from_ref(tenant), prefix)
            .await?;
        Ok(found.pop().unwrap_or_default())
    }

    async fn counters_of(
        &self,
        tenants: &[TenantId],
        prefix: &str,
    ) -> Result<Vec<BTreeMap<String, i64>>, StoreError> {
        self.core.open()?;
        let core = &self.core;
        let pattern = format!("{}*", escaped(prefix));
        let rest: &[&[u8]] = &[b"0", b"MATCH", pattern.as_bytes(), b"COUNT", WHOLE_HASH];
        let reading = Reading {
            name: "HSCAN",
            rest,
        };
        let mut sums = Vec::with_capacity(tenants.len());
        for tenants in tenants.chunks(HASHES_MAX.div_ceil(core.shards())) {
            let of = |tenant| core.everywhere(|shard| core.keys().counters(shard, tenant));
            let keys = tenants.iter().flat_map(of).collect();
            let hashes: Vec<(u64, Vec<(String, i64)>)> = core.read_many(keys, &reading).await?;
            sums.extend(hashes.chunks(core.shards()).map(summed));
        }
        Ok(sums)
    }

    async fn tenants(&self) -> Result<Vec<TenantId>, StoreError> {
        self.core.open()?;
        let mut found = BTreeSet::new();
        for shard in 0..self.core.shards() {
            named_by_counters(&self.core, shard, &mut found).await?;
        }
        let reading = Reading {
            name: "HKEYS",
            rest: &[],
        };
        let keys = self
            .core
            .everywhere(|shard| self.core.keys().own(shard, "feed"));
        let fed: Vec<Vec<String>> = self.core.read_many(keys, &reading).await?;
        found.extend(fed.into_iter().flatten());
        let named = found.iter().map(|name| TenantId::new(name));
        let named: Result<_, _> = named.collect();
        named.map_err(|_| damaged("the name of a tenant"))
    }

    async fn drop_counters(&self, tenant: &TenantId, prefix: &str) -> Result<(), StoreError> {
        self.core.open()?;
        let drops = (0..self.core.shards()).map(|shard| {
            let key = self.core.keys().counters(shard, tenant);
            let call = ScriptCall::new(&DROP_COUNTERS).key(key).arg(prefix);
            self.core.client.run_durably(shard, call)
        });
        join_all(drops)
            .await
            .into_iter()
            .collect::<Result<Vec<_>, _>>()
            .map(drop)
    }
}

impl Core {
    /// Where what is done in a shard is counted.
    pub(super) fn counters_for(&self, shard: usize, tenant: &TenantId) -> String {
        let place = match self.client.is_cluster() {
            true => shard,
            false => self.keys().shard_of_name(tenant.as_str()),
        };
        self.keys().counters(place, tenant)
    }
}

/// The counters of all shards together.
fn summed(shards: &[(u64, Vec<(String, i64)>)]) -> BTreeMap<String, i64> {
    let mut sums: BTreeMap<String, i64> = BTreeMap::new();
    for (name, count) in shards.iter().flat_map(|(_, counters)| counters) {
        *sums.entry(name.clone()).or_default() += count;
    }
    sums
}

/// A text as a pattern that only it matches.
fn escaped(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

/// Finds the tenants that have counters in a shard, by looking through all keys of its server: slow, and seldom asked.
async fn named_by_counters(
    core: &Core,
    shard: usize,
    found: &mut BTreeSet<String>,
) -> Result<(), StoreError> {
    let prefix = core.keys().own(shard, "ctr:");
    let pattern = format!("{}*", escaped(&prefix));
    let mut cursor = 0_u64;
    loop {
        let mut command = redis::cmd("SCAN");
        command
            .arg(cursor)
            .arg("MATCH")
            .arg(&pattern)
            .arg("COUNT")
            .arg(SCANNED);
        let answer = core.client.run(shard, command).await?;
        let (next, keys): (u64, Vec<String>) =
            redis::from_redis_value(answer).map_err(|_| damaged("a scan of keys"))?;
        let names = keys.iter().filter_map(|key| key.strip_prefix(&prefix));
        found.extend(names.map(ToOwned::to_owned));
        cursor = next;
        if cursor == 0 {
            return Ok(());
        }
    }
}
