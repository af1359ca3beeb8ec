//! What can go wrong with a store, by what the caller can do about it; and how to ask whether it is well.

use std::time::Duration;

use async_trait::async_trait;

/// A failed store call. Nothing of the call was applied, except where a port says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The store cannot be reached or is not ready; the same call may succeed later.
    #[error("store unavailable: {detail}")]
    Unavailable {
        /// What was seen, without secrets.
        detail: String,
        /// When it is worth trying again, if the store said so.
        retry_after: Option<Duration>,
    },
    /// There is no room for new work (disk or memory). Settling still works.
    #[error("store full: {detail}")]
    Full {
        /// What was seen.
        detail: String,
    },
    /// The store holds something that cannot be read; somebody must look.
    #[error("store damaged: {detail}")]
    Damaged {
        /// Which part.
        detail: String,
    },
    /// The caller's epoch is older than the fence that was raised; it must stop what it does.
    #[error("fenced: a newer owner has taken over")]
    Fenced,
}

/// How well the store is and what an acknowledgement is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreHealth {
    /// One line for people: engine, version, place.
    pub description: String,
    /// What a 202 survives, in plain words.
    pub durability: String,
    /// Why it takes no changes at present, although it answers.
    pub failing: Option<String>,
    /// What an operator should mend; empty when all is well.
    pub warnings: Vec<String>,
}

/// Asks the store how it is.
#[async_trait]
pub trait Probe: Send + Sync {
    /// Makes one round trip to the store.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when it cannot be reached.
    async fn probe(&self) -> Result<StoreHealth, StoreError>;

    /// Waits until nothing can be kept any more before the store has been opened again; says why. The process must end then, so
    /// that its service manager starts it anew.
    ///
    /// # Cancel safety
    /// Safe.
    async fn broken(&self) -> String;

    /// Flushes what is buffered, gives back the named leases that were taken here, and releases locks; later calls fail with
    /// [`StoreError::Unavailable`].
    ///
    /// # Errors
    /// [`StoreError`] when the last flush failed.
    async fn close(&self) -> Result<(), StoreError>;
}
