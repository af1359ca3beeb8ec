//! What is kept on disk beside the records: lists, events and documents, in an ordered key-value store (fjall).
//!
//! It is a view of the log: every change is in the log first, durable there, and is repeated from there after a crash from the
//! frame on that the view says it has seen. So the view itself is never flushed in a hurry.
//!
//! ```text
//! members     tenant 0 list 0 device                → score
//! order       tenant 0 list 0 score device          → text
//! feed        tenant 0 first number                 → time, count, events
//! documents   name                                  → version, expiry, bytes
//! expiry      expiry name                           →
//! meta        "applied"                             → number of the last frame that changed something
//!             "seen"                                → number of a frame up to which the log may be gone
//!             "store"                               → the store whose log it is a view of
//! ```

use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};

use super::{
    bytes::{Bytes, Put},
    fronts::Fronts,
    ops::Op,
};

const APPLIED: &str = "applied";
const SEEN: &str = "seen";
const STORE: &str = "store";
const MEMTABLE_BYTES: u64 = 8 * 1024 * 1024;
const JOURNAL_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The key-value store and its tables.
pub(super) struct Side {
    database: Database,
    pub(super) members: Keyspace,
    pub(super) order: Keyspace,
    pub(super) feed: Keyspace,
    pub(super) documents: Keyspace,
    pub(super) expiry: Keyspace,
    pub(super) fronts: Fronts,
    meta: Keyspace,
}

/// A document with its expiry by the queue clock, zero for never.
pub(super) struct Kept {
    pub(super) version: u64,
    pub(super) expires_ms: i64,
    pub(super) bytes: bytes::Bytes,
}

impl Side {
    /// Opens or makes the tables.
    pub(super) fn open(folder: &Path, cache_bytes: u64) -> fjall::Result<Self> {
        let database = Database::builder(folder)
            .cache_size(cache_bytes)
            .worker_threads(1)
            .max_journaling_size(JOURNAL_BYTES_MAX)
            .open()?;
        let table = |name: &str| {
            database.keyspace(name, || {
                KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES)
            })
        };
        Ok(Self {
            members: table("members")?,
            order: table("order")?,
            feed: table("feed")?,
            documents: table("documents")?,
            expiry: table("expiry")?,
            meta: table("meta")?,
            fronts: Fronts::default(),
            database,
        })
    }

    /// The last frame of the log that changed the tables.
    pub(super) fn applied(&self) -> fjall::Result<u64> {
        Ok(self.number(APPLIED)?.unwrap_or(0))
    }

    /// The last frame that the tables need no more; none if that was never noted.
    pub(super) fn seen(&self) -> fjall::Result<Option<u64>> {
        self.number(SEEN)
    }

    /// Notes that everything up to `frame` is in the tables; durable with the next [`Side::persist`].
    pub(super) fn note_seen(&self, frame: u64) -> fjall::Result<()> {
        self.meta.insert(SEEN, frame.to_le_bytes())
    }

    /// The store whose log the tables are a view of, if that was noted.
    pub(super) fn store(&self) -> fjall::Result<Option<u64>> {
        self.number(STORE)
    }

    /// Notes whose tables these are.
    pub(super) fn note_store(&self, store: u64) -> fjall::Result<()> {
        self.meta.insert(STORE, store.to_le_bytes())
    }

    fn number(&self, name: &str) -> fjall::Result<Option<u64>> {
        let kept = self.meta.get(name)?;
        Ok(kept.and_then(|bytes| Bytes::new(&bytes).u64().ok()))
    }

    /// Applies what concerns the tables of one frame.
    pub(super) fn apply(&self, frame: u64, ops: &[Op<'_>]) -> fjall::Result<()> {
        let mut batch = self.database.batch();
        for op in ops {
            self.add(&mut batch, op)?;
        }
        batch.insert(&self.meta, APPLIED, frame.to_le_bytes());
        batch.commit()?;
        self.fronts.note(ops);
        Ok(())
    }

    fn add(&self, batch: &mut OwnedWriteBatch, op: &Op<'_>) -> fjall::Result<()> {
        match *op {
            Op::ListPut { .. } | Op::ListRemove { .. } => self.add_member(batch, op)?,
            Op::Events {
                tenant,
                first,
                count,
                at_ms,
                texts,
            } => {
                let mut value = Vec::with_capacity(texts.len() + 12);
                value.put_i64(at_ms);
                value.put_u32(count);
                value.extend_from_slice(texts);
                batch.insert(&self.feed, feed_key(tenant, first), value);
            }
            Op::FeedEnds { tenant, oldest, .. } => self.drop_events(batch, tenant, oldest)?,
            Op::Document { .. } => self.add_document(batch, op),
            Op::DocumentGone { name } => batch.remove(&self.documents, name),
            Op::Checkpoint
            | Op::Record(_)
            | Op::Moved(_)
            | Op::Delete(_)
            | Op::Place { .. }
            | Op::Count { .. }
            | Op::DropCounters { .. }
            | Op::Fence { .. }
            | Op::Lease { .. }
            | Op::Park { .. }
            | Op::Correction { .. }
            | Op::Opened { .. } => {}
        }
        Ok(())
    }

    fn add_member(&self, batch: &mut OwnedWriteBatch, op: &Op<'_>) -> fjall::Result<()> {
        let (Op::ListPut {
            tenant,
            list,
            device,
            ..
        }
        | Op::ListRemove {
            tenant,
            list,
            device,
        }) = *op
        else {
            return Ok(());
        };
        let member = member_key(tenant, list, device);
        let old = self.members.get(&member)?;
        let old = old.and_then(|bytes| score_of(&bytes));
        let new = match *op {
            Op::ListPut { score, text, .. } => Some((score, text)),
            _ => None,
        };
        let new_score = new.map(|(score, _)| score);
        if let Some(old) = old.filter(|_| old != new_score) {
            batch.remove(&self.order, order_key(tenant, list, old, device));
        }
        match new {
            Some((score, text)) => {
                if old != new_score {
                    batch.insert(&self.members, member, score.to_le_bytes());
                }
                batch.insert(&self.order, order_key(tenant, list, score, device), text);
            }
            None if old.is_some() => batch.remove(&self.members, member),
            None => {}
        }
        Ok(())
    }

    fn add_document(&self, batch: &mut OwnedWriteBatch, op: &Op<'_>) {
        if let Op::Document {
            name,
            version,
            expires_ms,
            bytes,
        } = *op
        {
            let mut value = Vec::with_capacity(bytes.len() + 16);
            value.put_u64(version);
            value.put_i64(expires_ms);
            value.extend_from_slice(bytes);
            batch.insert(&self.documents, name, value);
            if expires_ms != 0 {
                batch.insert(&self.expiry, expiry_key(expires_ms, name), []);
            }
        }
    }

    /// Removes the blocks of events that are wholly older than `oldest`.
    fn drop_events(
        &self,
        batch: &mut OwnedWriteBatch,
        tenant: &str,
        oldest: u64,
    ) -> fjall::Result<()> {
        for block in self
            .feed
            .range(feed_key(tenant, 0)..feed_key(tenant, oldest))
        {
            let (key, value) = block.into_inner()?;
            let count = block_head(&value).map_or(0, |(_, count)| count);
            let first = number_of(&key).unwrap_or(0);
            if first + u64::from(count) <= oldest {
                batch.remove(&self.feed, key);
            }
        }
        Ok(())
    }

    /// The document of this name, expired or not.
    pub(super) fn document(&self, name: &str) -> fjall::Result<Option<Kept>> {
        Ok(self.documents.get(name)?.and_then(|value| kept(&value)))
    }

    /// Forgets that documents were to expire until `now_ms`; the documents themselves go through the log.
    pub(super) fn forget_expiries(&self, keys: Vec<fjall::UserKey>) -> fjall::Result<()> {
        let mut batch = self.database.batch();
        for key in keys {
            batch.remove(&self.expiry, key);
        }
        batch.commit()
    }

    /// Makes durable what the tables have seen, so that the log need not keep it for them.
    pub(super) fn persist(&self) -> fjall::Result<()> {
        self.database.persist(PersistMode::SyncAll)
    }
}

/// Whether a change concerns the tables.
pub(super) fn is_aside(op: &Op<'_>) -> bool {
    matches!(
        op,
        Op::ListPut { .. }
            | Op::ListRemove { .. }
            | Op::Events { .. }
            | Op::FeedEnds { .. }
            | Op::Document { .. }
            | Op::DocumentGone { .. }
    )
}

// === keys and values ===

/// What the keys of a list begin with.
pub(super) fn list_prefix(tenant: &str, list: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(tenant.len() + list.len() + 2 + 8 + 64);
    key.extend_from_slice(tenant.as_bytes());
    key.push(0);
    key.extend_from_slice(list.as_bytes());
    key.push(0);
    key
}

pub(super) fn member_key(tenant: &str, list: &str, device: &str) -> Vec<u8> {
    let mut key = list_prefix(tenant, list);
    key.extend_from_slice(device.as_bytes());
    key
}

pub(super) fn order_key(tenant: &str, list: &str, score: i64, device: &str) -> Vec<u8> {
    let mut key = list_prefix(tenant, list);
    key.extend_from_slice(&ordered(score).to_be_bytes());
    key.extend_from_slice(device.as_bytes());
    key
}

/// A number whose unsigned order is the order of the scores.
pub(super) fn ordered(score: i64) -> u64 {
    score.cast_unsigned() ^ (1 << 63)
}

/// The score of an [`ordered`] number.
pub(super) fn score_from(ordered: u64) -> i64 {
    (ordered ^ (1 << 63)).cast_signed()
}

pub(super) fn score_of(value: &[u8]) -> Option<i64> {
    Bytes::new(value).i64().ok()
}

pub(super) fn feed_key(tenant: &str, first: u64) -> Vec<u8> {
    let mut key = tenant.as_bytes().to_vec();
    key.push(0);
    key.extend_from_slice(&first.to_be_bytes());
    key
}

/// The number at the end of a key of the feed.
pub(super) fn number_of(key: &[u8]) -> Option<u64> {
    let tail = key.get(key.len().checked_sub(8)?..)?;
    tail.try_into().ok().map(u64::from_be_bytes)
}

/// Time and count of a block of events.
pub(super) fn block_head(value: &[u8]) -> Option<(i64, u32)> {
    let mut head = Bytes::new(value);
    Some((head.i64().ok()?, head.u32().ok()?))
}

pub(super) fn expiry_key(expires_ms: i64, name: &str) -> Vec<u8> {
    let mut key = ordered(expires_ms).to_be_bytes().to_vec();
    key.extend_from_slice(name.as_bytes());
    key
}

/// Reads the value of a document.
pub(super) fn kept(value: &[u8]) -> Option<Kept> {
    let mut head = Bytes::new(value);
    let (version, expires_ms) = (head.u64().ok()?, head.i64().ok()?);
    let bytes = bytes::Bytes::copy_from_slice(value.get(head.at()..)?);
    Some(Kept {
        version,
        expires_ms,
        bytes,
    })
}
