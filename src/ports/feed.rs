//! The event feed of a tenant: an outbox, written in the commits that make its events true.

use async_trait::async_trait;
use bytes::{BufMut, Bytes, BytesMut};
use tokio::sync::watch;

use super::error::StoreError;
use crate::domain::{event::Event, id::TenantId};

/// A place in a tenant's feed: opaque, printable, at most 1,024 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(pub String);

/// One event as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Reading on after this event: its `id`.
    pub id: Cursor,
    /// [`Event::to_json_text`].
    pub json: Bytes,
}

impl Entry {
    /// Writes the event as it is kept, with its `id` in front.
    pub fn write(&self, text: &mut BytesMut) {
        let id = serde_json::Value::from(self.id.0.as_str());
        let rest = self.json.strip_prefix(b"{").unwrap_or(&self.json);
        text.put_slice(format!("{{\"id\":{id},").as_bytes());
        text.put_slice(rest);
    }

    /// The event's type.
    #[must_use]
    pub fn kind(&self) -> Option<String> {
        #[derive(serde::Deserialize)]
        struct Typed {
            #[serde(rename = "type")]
            kind: String,
        }
        serde_json::from_slice::<Typed>(&self.json)
            .ok()
            .map(|typed| typed.kind)
    }
}

/// Why a feed cannot be read from a cursor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeedError {
    /// Events after the cursor have been trimmed; the reader must resynchronise.
    #[error("the cursor is older than the feed's retention")]
    Trimmed,
    /// The cursor is not one of this store.
    #[error("the cursor is not one of this feed")]
    UnknownCursor,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    /// With the oldest event kept.
    Oldest,
    /// With what comes from now on.
    Newest,
    /// After this place.
    Cursor(Cursor),
}

/// Reads the feed.
#[async_trait]
pub trait Feed: Send + Sync {
    /// At most `limit` (1 to 1,024) events after a place, oldest first for each device, with the place after the last one
    /// (which equals `after` when there is nothing new). Two reads from one place may interleave devices differently.
    ///
    /// # Errors
    /// [`FeedError`].
    async fn events(
        &self,
        tenant: &TenantId,
        after: &After,
        limit: usize,
    ) -> Result<(Vec<Entry>, Cursor), FeedError>;

    /// Appends events that belong to no device (apps, campaigns); durable before the answer.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn append(&self, tenant: &TenantId, events: Vec<Event>) -> Result<(), StoreError>;

    /// Changes whenever something was appended to any feed, on this or another broker (then up to a second later).
    fn appended(&self) -> watch::Receiver<u64>;

    /// Trims what is beyond the retention; returns how many events went.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn trim(&self) -> Result<u64, StoreError>;
}
