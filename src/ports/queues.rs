//! Due queues: what waits, whose turn it is, and claims under a lease.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::broadcast;

use super::{
    error::StoreError,
    records::{Lease, Page, Stored},
};
use crate::domain::{
    id::{DeviceId, DeviceKey, TenantId},
    queue::{Flow, Queue},
};

/// How long a claim is valid, by the store's clock.
pub const LEASE: Duration = Duration::from_secs(60);

/// A queue that has something due now or later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The queue.
    pub queue: Queue,
    /// When its first entry is due; in the past when it is overdue. A claimed entry is due when its lease ends.
    pub earliest: Timestamp,
}

/// What a queue holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The queue and its first due time.
    pub ready: Ready,
    /// Its entries, claimed ones too.
    pub entries: u64,
    /// Those of them whose time has come and that nobody holds.
    pub due: u64,
}

/// A part of a queue that a claim asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// The queue; parked and unknown ones give nothing.
    pub queue: Queue,
    /// Most entries taken, 1 to 256.
    pub limit: usize,
}

/// One push that the caller alone may attempt until the lease ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The device.
    pub key: DeviceKey,
    /// The claim; give it to the commit that settles it.
    pub lease: Lease,
    /// The record as it is now; never absent (an entry without a record is dropped by the store).
    pub stored: Stored,
}

/// Which queues a park is about. Timer lanes are never parked. Selectors are independent marks: a queue is out of service
/// while any parked selector matches it, and unparking takes back exactly the selector that was parked, however often.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Selector {
    /// The tenant.
    pub tenant: TenantId,
    /// One flow of it, or all.
    pub flow: Option<Flow>,
}

/// Something has become due earlier than before, or was unparked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wake {
    /// The queue.
    pub queue: Queue,
    /// Its new first due time.
    pub earliest: Timestamp,
}

/// Claims due pushes.
#[async_trait]
pub trait Queues: Send + Sync {
    /// Tells which unparked queues hold anything, with their first due time. A broker asks at start, on reconnect and now
    /// and then; in between it listens to [`Queues::wakes`]. A part of the store that is away is left out, and announced when it
    /// is back.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn ready(&self) -> Result<Vec<Ready>, StoreError>;

    /// Takes entries that are due by the store's clock, earliest first in each queue, under a lease of [`LEASE`] each. An
    /// entry whose lease has ended is due again. No entry is held by two callers at once by the store's clock. May come
    /// back short of a limit while others claim from the same queue: what is left is ready still. A part of the store that is
    /// away gives nothing.
    ///
    /// # Errors
    /// [`StoreError`]; entries may have been taken and will be due again when their lease ends.
    ///
    /// # Cancel safety
    /// What a dropped call took is due again when its lease ends.
    async fn claim(&self, wants: &[Want]) -> Result<Vec<Claimed>, StoreError>;

    /// Gives claims back unattempted: each entry is due at the given time again. Claims that are no longer held are
    /// passed over. Not durable: after a crash they are due when they were before the claim.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn hand_back(&self, claims: Vec<(DeviceKey, Lease, Timestamp)>)
    -> Result<(), StoreError>;

    /// Announces queues whose first due time has moved forward. A slow listener may miss some and must ask
    /// [`Queues::ready`] then.
    fn wakes(&self) -> broadcast::Receiver<Wake>;

    /// Takes queues out of service at once, whatever their size: they are neither ready nor claimable until unparked.
    /// Durable. What is claimed already may still be attempted.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn park(&self, selector: &Selector) -> Result<(), StoreError>;

    /// Puts queues back into service.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn unpark(&self, selector: &Selector) -> Result<(), StoreError>;

    /// Pages through a queue, parked or not, with the records, in an order of the store's own.
    ///
    /// # Errors
    /// [`StoreError`]; an unknown cursor answers [`StoreError::Damaged`].
    async fn browse(
        &self,
        queue: &Queue,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<(DeviceId, Stored)>, StoreError>;

    /// Every queue that holds anything, parked or not.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn census(&self) -> Result<Vec<Held>, StoreError>;
}
