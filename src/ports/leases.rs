//! Named leases: work that exactly one broker does at a time.

use std::time::Duration;

use async_trait::async_trait;

use super::error::StoreError;

/// Takes and keeps named leases.
#[async_trait]
pub trait Leases: Send + Sync {
    /// Takes the lease `name` for `owner`, or prolongs it if `owner` holds it already; valid for `term` by the store's
    /// clock. `Some(epoch)` when held: the epoch rises each time the owner changes and fences the former one
    /// ([`Fence`](super::records::Fence)). `None` while another holds it.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn hold(
        &self,
        name: &str,
        owner: &str,
        term: Duration,
    ) -> Result<Option<u64>, StoreError>;

    /// Gives the lease back if `owner` holds it.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn release(&self, name: &str, owner: &str) -> Result<(), StoreError>;
}
