//! Named leases: a small hash each, judged by Redis's clock. It never ends, so that epochs only rise.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::future::join_all;

use super::{
    Core, RedisStore,
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
        if epoch > 0 {
            self.core.leases.note(name, owner);
        }
        Ok((epoch > 0).then_some(epoch))
    }

    async fn release(&self, name: &str, owner: &str) -> Result<(), StoreError> {
        self.core.open()?;
        self.core.give_back(name, owner).await
    }
}

/// The leases that were taken through this store and not given back, with their last owners.
#[derive(Default)]
pub(super) struct Taken(Mutex<HashMap<String, String>>);

impl Taken {
    fn note(&self, name: &str, owner: &str) {
        self.lock().insert(name.to_owned(), owner.to_owned());
    }

    fn forget(&self, name: &str, owner: &str) {
        let mut taken = self.lock();
        if taken.get(name).is_some_and(|last| last == owner) {
            taken.remove(name);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    async fn give_back(&self, name: &str, owner: &str) -> Result<(), StoreError> {
        let shard = self.keys().shard_of_name(name);
        let call = ScriptCall::new(&LEASE_RELEASE)
            .key(self.keys().lease(shard, name))
            .arg(owner);
        self.client.run(shard, call).await?;
        self.leases.forget(name, owner);
        Ok(())
    }

    /// Gives all leases back, so that nobody has to wait for their ends. What cannot be given back now runs out.
    pub(super) async fn give_all_back(&self) {
        let taken = self.leases.lock().clone();
        let given = taken
            .iter()
            .map(|(name, owner)| self.give_back(name, owner));
        join_all(given).await;
    }
}
