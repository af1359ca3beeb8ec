//! Device records: read, commit, scan.

use async_trait::async_trait;
use bytes::Bytes;

use super::error::StoreError;
pub use crate::domain::item::{Change, Expect, Item, Lease, ListMove, ListName, Placement};
use crate::domain::{
    id::{DeviceId, DeviceKey, TenantId},
    record::Revision,
};

/// Most items in one [`Records::read`] or [`Records::commit`]; longer ones are the caller's to split.
pub const BATCH_MAX: usize = 1024;

/// A record as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The version read.
    pub revision: Revision,
    /// The bytes that were committed under it.
    pub bytes: Bytes,
}

/// What became of one item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Committed {
    /// Applied, durable.
    Done,
    /// `expect` did not hold; nothing of the item was applied. Here is what is kept now. Under a lease under which nobody else
    /// has changed the device, `expect` is the record as it was claimed, and need not be compared.
    Conflict(Option<Stored>),
    /// The record is as expected but the lease has ended or is another's; nothing of the item was applied.
    LeaseLost(Option<Stored>),
    /// [`Expect::NotListed`] did not hold: the device is a member already; nothing of the item was applied.
    Listed,
}

/// Refuses commits of a former owner: see [`Records::raise_fence`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// What is fenced, for example `campaign:<tenant>:<id>`.
    pub name: String,
    /// The caller's epoch.
    pub epoch: u64,
}

/// How much room a commit may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// New work: refused with [`StoreError::Full`] when the store has no room.
    Open,
    /// Settling and closing: goes on in the reserve when the store is full.
    Settle,
}

/// A page of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// What was found; may be fewer than asked, or none, with more to come.
    pub items: Vec<T>,
    /// Where to go on; `None` at the end. Opaque, printable, at most 256 bytes.
    pub next: Option<String>,
}

/// Reads and writes device records.
#[async_trait]
pub trait Records: Send + Sync {
    /// Reads records. The answer has one entry for each key, in order; unknown keys give `None`; a key may repeat.
    ///
    /// # Errors
    /// [`StoreError`]; partial answers are not given.
    async fn read(&self, keys: &[DeviceKey]) -> Result<Vec<Option<Stored>>, StoreError>;

    /// Applies items, each whole or not at all; the answer has one entry for each item, in order, and is given when all
    /// that was applied is durable. A device may appear once at most (callers merge); a second item of one device in a
    /// commit answers [`Committed::Conflict`].
    ///
    /// The place of an applied item: with a lease, the device leaves the lease's queue and waits at `placement.to`. Without
    /// one, a device that somebody holds under a live lease keeps its lease and place, unless `placement.from` is given and
    /// `placement.to` is not, which removes both; a device that nobody holds leaves `placement.from` and waits at
    /// `placement.to`. [`Change::Delete`] removes lease and place. A conflict leaves a lease alive.
    ///
    /// With a fence, all is refused with [`StoreError::Fenced`] if a higher epoch was raised under that name.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] may come after some of the items were applied: the caller reads and repeats. All other
    /// errors come before anything is applied.
    ///
    /// # Cancel safety
    /// A dropped call may or may not have been applied, each item whole.
    async fn commit(
        &self,
        items: Vec<Item>,
        urgency: Urgency,
        fence: Option<&Fence>,
    ) -> Result<Vec<Committed>, StoreError>;

    /// [`Records::commit`] without a fence, each item with an answer of its own: a part of the store that is away keeps back its
    /// own items only.
    ///
    /// # Errors
    /// Each as of [`Records::commit`], of one item.
    ///
    /// # Cancel safety
    /// As of [`Records::commit`].
    async fn commit_each(
        &self,
        items: Vec<Item>,
        urgency: Urgency,
    ) -> Vec<Result<Committed, StoreError>> {
        let count = items.len();
        match self.commit(items, urgency, None).await {
            Ok(committed) => committed.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error); count],
        }
    }

    /// Returns when what was read of these devices before the call is as durable as what is committed; it may have been read
    /// before whoever committed it was answered.
    ///
    /// # Errors
    /// [`StoreError`]; it may be lost yet.
    ///
    /// # Cancel safety
    /// Safe.
    async fn confirm(&self, _devices: &[DeviceKey]) -> Result<(), StoreError> {
        Ok(())
    }

    /// Raises the fence `name` to `epoch` in the whole store; lower epochs are refused from then on. Lower or equal values
    /// change nothing.
    ///
    /// # Errors
    /// [`StoreError`]; after one, some parts of the store may have been raised.
    async fn raise_fence(&self, fence: &Fence) -> Result<(), StoreError>;

    /// Pages through the devices of a tenant, in an order of the store's own. A device that exists during the whole scan is
    /// found at least once. `limit` is a hint, 1 to 1,024.
    ///
    /// # Errors
    /// [`StoreError`]; an unknown cursor answers [`StoreError::Damaged`].
    async fn scan(
        &self,
        tenant: &TenantId,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<(DeviceId, Stored)>, StoreError>;
}
