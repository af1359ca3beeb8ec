//! Small documents: tenants, app states, campaigns, saved answers, cursors.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use super::{error::StoreError, records::Page};

/// Longest document in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 256 * 1024;

/// A document as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Rises with every change; 1 at first.
    pub version: u64,
    /// What was put.
    pub bytes: Bytes,
}

/// What must hold for a document to be put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// There is none yet.
    Absent,
    /// It is still this version.
    Version(u64),
    /// Whatever there is.
    Any,
}

/// What became of a put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// Kept, durable, under this version.
    Done(u64),
    /// The precondition did not hold; here is what is kept.
    Conflict(Option<Document>),
}

/// Reads and writes documents by name. Names are 1 to 512 bytes of printable ASCII; a prefix ends in `/` or is
/// empty.
#[async_trait]
pub trait Documents: Send + Sync {
    /// The document of this name.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn get(&self, name: &str) -> Result<Option<Document>, StoreError>;

    /// Puts a document; with `ttl` it is gone after that time (to the second). A change of a document that is there, by its version,
    /// is taken like a settlement when there is no room for new work: pausing and cancelling must go on.
    ///
    /// # Errors
    /// [`StoreError::Full`] when there is no room; nothing was kept then.
    async fn put(
        &self,
        name: &str,
        bytes: Bytes,
        precondition: Precondition,
        ttl: Option<Duration>,
    ) -> Result<Put, StoreError>;

    /// Removes a document; an unknown name is not an error.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn delete(&self, name: &str) -> Result<(), StoreError>;

    /// Returns when what was read of this document before the call, be it that there is none, is as durable as what is put: it may
    /// have been read before whoever changed it was answered.
    ///
    /// # Errors
    /// [`StoreError`]; it may be lost yet.
    async fn confirm_document(&self, _name: &str) -> Result<(), StoreError> {
        Ok(())
    }

    /// Pages through the documents whose name begins with `prefix`, by name.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn list(
        &self,
        prefix: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<(String, Document)>, StoreError>;

    /// Changes whenever a document without `ttl` was put or deleted, on this or another broker (then within a second).
    fn changed(&self) -> watch::Receiver<u64>;
}
