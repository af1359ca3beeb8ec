//! Streams through which consoles that live on the store's own server speak with the broker: an inbox of commands and an
//! outbox of events for each tenant.
//!
//! Nothing here interprets a message. The inbox has one group of consumers; a message is given to one of them at a time and
//! kept until it is settled, so that one whose consumer has died can be taken over.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{error::StoreError, feed::Cursor};
use crate::domain::id::TenantId;

/// A message as a console added it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its id in the stream: `<ms>-<n>`.
    pub id: String,
    /// The field `command`, if there is one.
    pub command: Option<Bytes>,
    /// The field `body`, if there is one; cut to the length that was asked for.
    pub body: Option<Bytes>,
    /// How long the body was before.
    pub body_bytes: u64,
    /// How often it was given to a consumer, this time included.
    pub deliveries: u64,
}

/// Who reads an inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reader<'a> {
    /// Names the consumer.
    pub name: &'a str,
    /// The epoch of its lease of the inbox: a lower one has been followed by another reader.
    pub epoch: u64,
}

/// How much is received at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Most {
    /// Messages, 1 to 256.
    pub messages: usize,
    /// Bytes of one body.
    pub body_bytes: usize,
}

/// What a consumer was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The messages, oldest first.
    pub messages: Vec<Message>,
    /// The last message that anybody was given: the place to [wait](Streams::wait) from.
    pub last: String,
}

/// Unsettled messages of other consumers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenOver {
    /// The messages, oldest first.
    pub messages: Vec<Message>,
    /// Where to go on; `None` at the end.
    pub next: Option<String>,
}

/// A message that cannot be taken, with the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The message.
    pub message: Message,
    /// Why it was not taken.
    pub reason: String,
}

/// An event on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Its type, for readers that choose without parsing.
    pub kind: String,
    /// Its JSON.
    pub json: Bytes,
}

/// Reads inboxes and writes outboxes.
#[async_trait]
pub trait Streams: Send + Sync {
    /// Gives `reader` the oldest messages that nobody has been given: fewer than asked for when they are long, none only when
    /// there is none. The inbox is made if there is none.
    ///
    /// # Errors
    /// [`StoreError`]; messages may have been given to `reader` then, and are found by taking over.
    /// [`StoreError::Fenced`], and nothing is given, once a reader of a higher epoch has taken over.
    ///
    /// # Cancel safety
    /// As after an error.
    async fn receive(
        &self,
        tenant: &TenantId,
        reader: Reader<'_>,
        most: Most,
    ) -> Result<Received, StoreError>;

    /// Gives `reader` messages that were given to anybody and are not settled, however long ago, and from now on nothing to
    /// readers of lower epochs; fewer than asked for when they are long. `from` is where the last call ended. Consumers that
    /// have been gone for an hour are forgotten.
    ///
    /// # Errors
    /// [`StoreError`]; repeat it. [`StoreError::Fenced`] as in [`Streams::receive`].
    async fn take_over(
        &self,
        tenant: &TenantId,
        reader: Reader<'_>,
        from: Option<&str>,
        most: Most,
    ) -> Result<TakenOver, StoreError>;

    /// Returns when there is a message after `last`, or after `within`; may return early.
    ///
    /// # Errors
    /// [`StoreError`].
    ///
    /// # Cancel safety
    /// Safe.
    async fn wait(&self, tenant: &TenantId, last: &str, within: Duration)
    -> Result<(), StoreError>;

    /// Removes messages from the inbox; those that cannot be taken are added to the dead letters in the same step, of which
    /// about `dead_max` are kept. Works when the store is full. What is settled or unknown is passed over, dead or not.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn settle(
        &self,
        tenant: &TenantId,
        done: Vec<String>,
        dead: Vec<DeadLetter>,
        dead_max: u32,
    ) -> Result<(), StoreError>;

    /// How far the outbox has come in the feed; `None` before the first [`Streams::publish`].
    ///
    /// # Errors
    /// [`StoreError`].
    async fn published(&self, tenant: &TenantId) -> Result<Option<Cursor>, StoreError>;

    /// Adds events to the outbox and moves its place in the feed from `from` to `to`, in one step; about `length_max` events
    /// are kept. False, and nothing is done, if the place is not `from`.
    ///
    /// # Errors
    /// [`StoreError`]; it may have been done. [`StoreError::Full`] when there is no room.
    async fn publish(
        &self,
        tenant: &TenantId,
        (from, to): (Option<&Cursor>, &Cursor),
        events: Vec<Outgoing>,
        length_max: u32,
    ) -> Result<bool, StoreError>;
}
