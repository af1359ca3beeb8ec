//! Counters: a hash of each tenant in every shard, moved by commits, summed here.

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures_util::future::{join_all, try_join_all};

use super::{
    RedisStore,
    errors::damaged,
    script::{DROP_COUNTERS, ScriptCall},
};
use crate::{
    domain::id::TenantId,
    ports::{error::StoreError, tally::Tally},
};

/// More than a hash of counters has places, so that one call sees all of it at one moment.
const WHOLE_HASH: u64 = 1 << 24;

#[async_trait]
impl Tally for RedisStore {
    async fn counters(
        &self,
        tenant: &TenantId,
        prefix: &str,
    ) -> Result<BTreeMap<String, i64>, StoreError> {
        self.core.open()?;
        let pattern = format!("{}*", escaped(prefix));
        let shards = (0..self.core.shards()).map(async |shard| {
            let mut command = redis::cmd("HSCAN");
            command.arg(self.core.keys().counters(shard, tenant)).arg(0);
            command
                .arg("MATCH")
                .arg(&pattern)
                .arg("COUNT")
                .arg(WHOLE_HASH);
            let answer = self.core.client.run(shard, command).await?;
            let (_, counters): (u64, Vec<(String, i64)>) =
                redis::from_redis_value(answer).map_err(|_| damaged("counters"))?;
            Ok::<_, StoreError>(counters)
        });
        let mut sums: BTreeMap<String, i64> = BTreeMap::new();
        for (name, count) in try_join_all(shards).await?.into_iter().flatten() {
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
