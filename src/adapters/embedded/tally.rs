//! The tally port.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;

use super::{EmbeddedStore, ops::Op};
use crate::{
    domain::id::TenantId,
    ports::{error::StoreError, records::Urgency, tally::Tally},
};

#[async_trait]
impl Tally for EmbeddedStore {
    async fn counters(
        &self,
        tenant: &TenantId,
        prefix: &str,
    ) -> Result<BTreeMap<String, i64>, StoreError> {
        self.shared.side()?;
        let state = self.shared.state();
        let Some(counters) = state.counters.get(tenant) else {
            return Ok(BTreeMap::new());
        };
        let from_prefix = counters.range(prefix.to_owned()..);
        let under = from_prefix.take_while(|(name, _)| name.starts_with(prefix));
        Ok(under.map(|(name, value)| (name.clone(), *value)).collect())
    }

    async fn tenants(&self) -> Result<Vec<TenantId>, StoreError> {
        self.shared.side()?;
        let state = self.shared.state();
        let named = state.counters.keys().chain(state.feeds.keys());
        let found: BTreeSet<TenantId> = named.cloned().collect();
        Ok(found.into_iter().collect())
    }

    async fn drop_counters(&self, tenant: &TenantId, prefix: &str) -> Result<(), StoreError> {
        let (tenant, prefix) = (tenant.clone(), prefix.to_owned());
        let name = format!("counters/{tenant}");
        self.change(name, Urgency::Settle, move |stage| {
            let (tenant, prefix) = (tenant.as_str(), prefix.as_str());
            stage.batch.add(&Op::DropCounters { tenant, prefix });
            Ok(())
        })
        .await
    }
}
