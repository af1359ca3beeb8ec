//! Named leases: a small hash each, judged by Redis's clock. It never ends, so that epochs only rise.

use std::time::Duration;

use async_trait::async_trait;

use super::{
    RedisStore,
    errors::damaged,
    script::{LEASE_HOLD, LEASE_RELEASE, ScriptCall},
};
use crate::ports::{error::StoreError, leases::Leases};

#[async_trait]
impl Leases for RedisStore {
    async fn hold(
        &self,
        name: &str,
        owner: &str,
        term: Duration,
    ) -> Result<Option<u64>, StoreError> {
        self.core.open()?;
        let shard = self.core.keys().shard_of_name(name);
        let call = ScriptCall::new(&LEASE_HOLD)
            .key(self.core.keys().lease(shard, name))
            .arg(owner)
            .arg(term.as_micros().to_string());
        let answer = self.core.client.run_durably(shard, call).await?;
        let epoch: u64 = redis::from_redis_value(answer).map_err(|_| damaged("lease"))?;
        Ok((epoch > 0).then_some(epoch))
    }

    async fn release(&self, name: &str, owner: &str) -> Result<(), StoreError> {
        self.core.open()?;
        let shard = self.core.keys().shard_of_name(name);
        let call = ScriptCall::new(&LEASE_RELEASE)
            .key(self.core.keys().lease(shard, name))
            .arg(owner);
        self.core.client.run(shard, call).await.map(drop)
    }
}
