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
