//! Lists of devices beside the records: channels that are not live, campaign targets.

use async_trait::async_trait;

use super::{
    error::StoreError,
    records::{ListName, Page},
};
use crate::domain::id::{DeviceId, TenantId};

/// A member of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The device.
    pub device: DeviceId,
    /// Its place in the order.
    pub score: i64,
    /// What was put beside it.
    pub text: String,
}

/// Reads lists; they are written by commits.
#[async_trait]
pub trait Lists: Send + Sync {
    /// Pages through a list. Within one shard of the store the order is by score, then device; a store of one shard is
    /// ordered throughout. `limit` is a hint, 1 to 1,024. An unknown list is empty.
    ///
    /// # Errors
    /// [`StoreError`]; an unknown cursor answers [`StoreError::Damaged`].
    async fn members(
        &self,
        tenant: &TenantId,
        list: &ListName,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<Member>, StoreError>;

    /// Finds single members; one entry for each device, in order.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn find(
        &self,
        tenant: &TenantId,
        list: &ListName,
        devices: &[DeviceId],
    ) -> Result<Vec<Option<Member>>, StoreError>;

    /// Takes the first members in the order of the list, about equally from every shard, without removing them: what a
    /// campaign releases next.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn first(
        &self,
        tenant: &TenantId,
        list: &ListName,
        limit: usize,
    ) -> Result<Vec<Member>, StoreError>;

    /// Forgets a whole list, in pieces; counters are not touched.
    ///
    /// # Errors
    /// [`StoreError`]; repeat it.
    async fn drop_list(&self, tenant: &TenantId, list: &ListName) -> Result<(), StoreError>;
}
