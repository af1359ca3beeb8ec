//! Counters: a hash of each tenant in every shard, moved by commits, summed here.

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures_util::future::join_all;

use super::{
    RedisStore,
    many::Reading,
    script::{DROP_COUNTERS, ScriptCall},
};
use crate::{
    domain::id::TenantId,
    ports::{error::StoreError, tally::Tally},
};

/// More than a hash of counters has places, so that one call sees all of it at one moment.
const WHOLE_HASH: &[u8] = b"16777216";

#[async_trait]
impl Tally for RedisStore {
    async fn counters(
        &self,
        tenant: &TenantId,
        prefix: &str,
    ) -> Result<BTreeMap<String, i64>, StoreError> {
        self.core.open()?;
        let pattern = format!("{}*", escaped(prefix));
        let keys = self
            .core
            .everywhere(|shard| self.core.keys().counters(shard, tenant));
        let rest: &[&[u8]] = &[b"0", b"MATCH", pattern.as_bytes(), b"COUNT", WHOLE_HASH];
        let reading = Reading {
            name: "HSCAN",
            rest,
        };
        let shards: Vec<(u64, Vec<(String, i64)>)> = self.core.read_many(keys, &reading).await?;
        let mut sums: BTreeMap<String, i64> = BTreeMap::new();
        for (name, count) in shards.into_iter().flat_map(|(_, counters)| counters) {
            *sums.entry(name).or_default() += count;
        }
        Ok(sums)
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
