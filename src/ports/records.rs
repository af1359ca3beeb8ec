//! Device records: read, commit, scan.

use async_trait::async_trait;
use bytes::Bytes;

use super::error::StoreError;
use crate::domain::{
    counter::Moves,
    event::Event,
    id::{CampaignId, DeviceId, DeviceKey, TenantId},
    queue::{Due, Queue},
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

/// What must hold for an item to be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The device has no record.
    Absent,
    /// The record is still this version.
    Revision(Revision),
    /// The device is not yet a member of this list; record and place are not looked at: the item has [`Change::Keep`], no
    /// lease and an empty placement.
    NotListed(ListName),
}

/// A claim on one push: valid until the store's clock passes its end, and only once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The queue the push was claimed from.
    pub queue: Queue,
    /// Unique for each claim; opaque to callers.
    pub token: u64,
}

/// What happens to the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is replaced by these bytes under this revision.
    Put(Revision, Bytes),
    /// It is removed.
    Delete,
    /// It stays as it is.
    Keep,
}

/// What happens to the device's place in the due queues; an empty one without a lease leaves the place alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// The queue where the caller believes the device to be; it leaves it.
    pub from: Option<Queue>,
    /// Where it waits from now on. Times are kept to the millisecond.
    pub to: Option<Due>,
}

/// A list of devices within a tenant, kept beside the records: a named, ordered set with a small text a member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListName {
    /// Devices whose channel is in this state; only silent, suspect and dead ones are listed. Score: since when, in ms.
    Channels(&'static str),
    /// A campaign's targets that wait for release. Score: the order of release.
    Waiting(CampaignId),
    /// All targets of a campaign with their result. Score: 0.
    Targets(CampaignId),
}

/// A change of one device's membership in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListMove {
    /// Becomes a member, or changes score and text.
    Put {
        /// The list.
        list: ListName,
        /// Its place in the order.
        score: i64,
        /// At most 256 bytes.
        text: String,
    },
    /// Is no member any more.
    Remove {
        /// The list.
        list: ListName,
    },
}

/// One device's part of a commit: applied whole or not at all, durably before the answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Whose record.
    pub key: DeviceKey,
    /// Compare-and-set on the record.
    pub expect: Expect,
    /// Compare-and-set on the claim, for whoever holds one.
    pub lease: Option<Lease>,
    /// The new record.
    pub change: Change,
    /// The new place.
    pub placement: Placement,
    /// Counters of the tenant.
    pub moves: Moves,
    /// Lists of the tenant.
    pub lists: Vec<ListMove>,
    /// Appended to the feed in this order.
    pub events: Vec<Event>,
}

/// What became of one item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Committed {
    /// Applied, durable.
    Done,
    /// `expect` did not hold; nothing of the item was applied. Here is what is kept now.
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
