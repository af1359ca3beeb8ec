//! The documents port, read from the tables beside the log.

use std::{ops::Bound, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use super::{
    EmbeddedStore,
    clock::Moment,
    errors::{damaged, side_failed},
    fetch::off_thread,
    jobs::Stage,
    ops::Op,
    records::{PAGE_MAX, unknown_cursor},
    side::{Kept, Side, expiry_key, kept},
};
use crate::ports::{
    documents::{Document, Documents, Precondition, Put},
    error::StoreError,
    records::{Page, Urgency},
};

/// Expired documents removed in one change.
const SWEEP_PIECE: usize = 1024;

#[async_trait]
impl Documents for EmbeddedStore {
    async fn get(&self, name: &str) -> Result<Option<Document>, StoreError> {
        let (side, now_ms) = (self.shared.side()?, self.now_ms());
        current(&side, name, now_ms)
    }

    async fn put(
        &self,
        name: &str,
        bytes: Bytes,
        precondition: Precondition,
        ttl: Option<Duration>,
    ) -> Result<Put, StoreError> {
        let now_ms = self.now_ms();
        let expires_ms = ttl.map_or(0, |ttl| {
            let ttl_ms = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
            now_ms.saturating_add(ttl_ms)
        });
        let name = name.to_owned();
        let urgency = match precondition {
            Precondition::Absent | Precondition::Any => Urgency::Open,
            Precondition::Version(_) => Urgency::Settle,
        };
        self.change(document_change(&name), urgency, move |stage| {
            let there = current(stage.side, &name, now_ms)?;
            let version = there.as_ref().map_or(0, |d| d.version);
            let holds = match precondition {
                Precondition::Absent => there.is_none(),
                Precondition::Version(wanted) => there.is_some() && version == wanted,
                Precondition::Any => true,
            };
            if !holds {
                return Ok(Put::Conflict(there));
            }
            let version = version + 1;
            stage.batch.add(&Op::Document {
                name: &name,
                version,
                expires_ms,
                bytes: &bytes,
            });
            Ok(Put::Done(version))
        })
        .await
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.change(document_change(&name), Urgency::Settle, move |stage| {
            delete(stage, &name, |_| true)
        })
        .await
    }

    async fn list(
        &self,
        prefix: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<(String, Document)>, StoreError> {
        if cursor.is_some_and(|cursor| !cursor.starts_with(prefix)) {
            return Err(unknown_cursor());
        }
        let (side, now_ms) = (self.shared.side()?, self.now_ms());
        let (prefix, after) = (prefix.to_owned(), cursor.map(str::to_owned));
        let limit = limit.clamp(1, PAGE_MAX);
        off_thread(move || page(&side, &prefix, after, (limit, now_ms))).await
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.shared.changed.subscribe()
    }
}

impl EmbeddedStore {
    pub(super) fn now_ms(&self) -> i64 {
        let moment: Moment = self.shared.moment();
        self.shared.state().clock.observe(moment)
    }

    /// Removes documents whose time is over; part of the janitor's trimming.
    pub(super) async fn sweep_documents(&self) -> Result<(), StoreError> {
        let now_ms = self.now_ms();
        loop {
            let side = self.shared.side()?;
            let reader = side.clone();
            let over = off_thread(move || expired(&reader, now_ms)).await?;
            if over.is_empty() {
                return Ok(());
            }
            let mut keys = Vec::with_capacity(over.len());
            for (key, name) in over {
                keys.push(key);
                self.change(document_change(&name), Urgency::Settle, move |stage| {
                    let is_over = |kept: &Kept| kept.expires_ms != 0 && kept.expires_ms <= now_ms;
                    delete(stage, &name, is_over)
                })
                .await?;
            }
            off_thread(move || side.forget_expiries(keys).map_err(|e| side_failed(&e))).await?;
        }
    }
}

fn document_change(name: &str) -> String {
    format!("document/{name}")
}

fn delete(
    stage: Stage<'_>,
    name: &str,
    when: impl FnOnce(&Kept) -> bool,
) -> Result<(), StoreError> {
    let kept = stage.side.document(name).map_err(|e| side_failed(&e))?;
    if kept.as_ref().is_some_and(when) {
        stage.batch.add(&Op::DocumentGone { name });
    }
    Ok(())
}

fn current(side: &Side, name: &str, now_ms: i64) -> Result<Option<Document>, StoreError> {
    let kept = side.document(name).map_err(|e| side_failed(&e))?;
    Ok(kept.and_then(|kept| document(kept, now_ms)))
}

fn document(kept: Kept, now_ms: i64) -> Option<Document> {
    let Kept {
        version,
        expires_ms,
        bytes,
    } = kept;
    (expires_ms == 0 || expires_ms > now_ms).then_some(Document { version, bytes })
}

fn page(
    side: &Side,
    prefix: &str,
    after: Option<String>,
    (limit, now_ms): (usize, i64),
) -> Result<Page<(String, Document)>, StoreError> {
    let unreadable = || damaged(&super::bytes::Malformed);
    let from = after.map_or(Bound::Included(prefix.to_owned()), Bound::Excluded);
    let mut items = Vec::new();
    for entry in side.documents.range((from, Bound::Unbounded)) {
        let (key, value) = entry.into_inner().map_err(|e| side_failed(&e))?;
        let name = std::str::from_utf8(&key).map_err(|_| unreadable())?;
        if !name.starts_with(prefix) {
            break;
        }
        let kept = kept(&value).ok_or_else(unreadable)?;
        items.extend(document(kept, now_ms).map(|d| (name.to_owned(), d)));
        if items.len() == limit {
            let next = Some(name.to_owned());
            return Ok(Page { items, next });
        }
    }
    let next = None;
    Ok(Page { items, next })
}

/// The first documents whose noted expiry is over, with the key of the note.
fn expired(side: &Side, now_ms: i64) -> Result<Vec<(fjall::UserKey, String)>, StoreError> {
    let end = expiry_key(now_ms.saturating_add(1), "");
    let mut over = Vec::new();
    for entry in side.expiry.range(..end).take(SWEEP_PIECE) {
        let key = entry.key().map_err(|e| side_failed(&e))?;
        let name = key.get(8..).and_then(|name| std::str::from_utf8(name).ok());
        let name = name
            .ok_or_else(|| damaged(&super::bytes::Malformed))?
            .to_owned();
        over.push((key, name));
    }
    Ok(over)
}
