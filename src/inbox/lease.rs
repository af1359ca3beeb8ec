//! One broker at a time has a tenant's stream: without that, two could do messages about one device in the wrong order.

use std::time::Duration;

use tokio::time::Instant;

use super::Parts;
use crate::ports::{Store, error::StoreError, records::Fence, streams::Reader};

/// Prolonged when a third of it has passed.
const PROLONG_DIVISOR: u32 = 3;

/// A lease that is held.
pub(super) struct Lease<'a> {
    store: &'a dyn Store,
    name: String,
    owner: &'a str,
    term: Duration,
    asked: Instant,
    /// Rises when the owner changes.
    epoch: u64,
}

impl<'a> Lease<'a> {
    /// Takes the lease; `None` while another broker holds it.
    pub(super) async fn take(parts: &'a Parts, name: String) -> Result<Option<Self>, StoreError> {
        let mut lease = Self {
            store: &*parts.desk.store,
            name,
            owner: &parts.settings.broker,
            term: parts.settings.lease,
            asked: Instant::now(),
            epoch: 0,
        };
        let Some(epoch) = lease.hold().await? else {
            return Ok(None);
        };
        lease.epoch = epoch;
        Ok(Some(lease))
    }

    /// Who reads under the lease.
    pub(super) fn reader(&self) -> Reader<'a> {
        Reader {
            name: self.owner,
            epoch: self.epoch,
        }
    }

    /// Refuses from now on what former owners of the lease have not committed yet. Gives what one's own commits go under.
    pub(super) async fn fence(&self) -> Result<Fence, StoreError> {
        let fence = Fence {
            name: self.name.clone(),
            epoch: self.epoch,
        };
        self.store.raise_fence(&fence).await?;
        Ok(fence)
    }

    /// How long one may wait between two calls of [`Lease::keep`].
    pub(super) fn pause(&self) -> Duration {
        self.term / PROLONG_DIVISOR
    }

    /// Prolongs the lease if it is time to. False when another broker has it, or has had it in between: what the caller
    /// holds may be done already then, and more.
    pub(super) async fn keep(&mut self) -> Result<bool, StoreError> {
        if self.asked.elapsed() < self.pause() {
            return Ok(true);
        }
        Ok(self.hold().await? == Some(self.epoch))
    }

    async fn hold(&mut self) -> Result<Option<u64>, StoreError> {
        // Counted from before the call, so that the store's term never ends first.
        let asked = Instant::now();
        let held = self.store.hold(&self.name, self.owner, self.term).await?;
        self.asked = asked;
        Ok(held)
    }

    /// Gives it back, so that the next broker need not wait.
    pub(super) async fn release(self) -> Result<(), StoreError> {
        self.store.release(&self.name, self.owner).await
    }
}
