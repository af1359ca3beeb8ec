//! Counters of a tenant, summed over the shards.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::error::StoreError;
use crate::domain::id::TenantId;

/// Reads counters; they are moved by commits.
#[async_trait]
pub trait Tally: Send + Sync {
    /// All counters of a tenant whose name begins with `prefix`, by name ([`Counter`](crate::domain::counter::Counter) as
    /// text); those that are zero may be missing. What moved together in one commit is seen together.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn counters(
        &self,
        tenant: &TenantId,
        prefix: &str,
    ) -> Result<BTreeMap<String, i64>, StoreError>;

    /// [`Tally::counters`] of each of these tenants, in their order.
    ///
    /// # Errors
    /// [`StoreError`]; partial answers are not given.
    async fn counters_of(
        &self,
        tenants: &[TenantId],
        prefix: &str,
    ) -> Result<Vec<BTreeMap<String, i64>>, StoreError> {
        let mut found = Vec::with_capacity(tenants.len());
        for tenant in tenants {
            found.push(self.counters(tenant, prefix).await?);
        }
        Ok(found)
    }

    /// Every tenant that has ever had a counter or an event, by name.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn tenants(&self) -> Result<Vec<TenantId>, StoreError>;

    /// Forgets the counters of a tenant whose name begins with `prefix` (a deleted campaign's).
    ///
    /// # Errors
    /// [`StoreError`].
    async fn drop_counters(&self, tenant: &TenantId, prefix: &str) -> Result<(), StoreError>;
}
