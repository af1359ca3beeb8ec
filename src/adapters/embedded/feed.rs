//! The feed port. Events of a tenant have consecutive numbers and stand in blocks, one of each batch.

use std::{ops::Range, sync::Arc};

use async_trait::async_trait;
use tokio::sync::watch;

use super::{
    EmbeddedStore,
    bytes::{Bytes, Malformed},
    errors::{damaged, side_failed},
    fetch::off_thread,
    ops::Op,
    side::{Side, block_head, feed_key, number_of},
    state::FeedEnds,
};
use crate::{
    domain::{event::Event, id::TenantId},
    ports::{
        error::StoreError,
        feed::{After, Cursor, Entry, Feed, FeedError},
        records::Urgency,
    },
};

/// Events in one answer at most.
const EVENTS_MAX: usize = 1024;
const BLOCK_HEAD_BYTES: usize = 8 + 4;

#[async_trait]
impl Feed for EmbeddedStore {
    async fn events(
        &self,
        tenant: &TenantId,
        after: &After,
        limit: usize,
    ) -> Result<(Vec<Entry>, Cursor), FeedError> {
        let side = self.shared.side()?;
        let ends = self.ends(tenant);
        let next = match after {
            After::Oldest => ends.oldest,
            After::Newest => ends.next,
            After::Cursor(cursor) => self.number_after(cursor, ends)?,
        };
        if next == ends.next {
            return Ok((Vec::new(), self.cursor(next - 1)));
        }
        let (tenant, limit) = (tenant.clone(), limit.clamp(1, EVENTS_MAX));
        let places = next..ends.next;
        let texts = off_thread(move || read_events(&side, tenant.as_str(), places, limit)).await?;
        let begins_at = texts.first().map(|(number, _)| *number);
        if begins_at != Some(next) && matches!(after, After::Cursor(_)) {
            // Since `ends` was read.
            return Err(FeedError::Trimmed);
        }
        let last = texts.last().map_or(ends.next - 1, |(number, _)| *number);
        let entry = |(number, json)| Entry {
            id: self.cursor(number),
            json,
        };
        Ok((texts.into_iter().map(entry).collect(), self.cursor(last)))
    }

    async fn append(&self, tenant: &TenantId, events: Vec<Event>) -> Result<(), StoreError> {
        let (tenant, name) = (tenant.clone(), format!("feed/{tenant}"));
        self.change(name, Urgency::Settle, move |stage| {
            for event in &events {
                stage.batch.tell(&tenant, event);
            }
            Ok(())
        })
        .await
    }

    fn appended(&self) -> watch::Receiver<u64> {
        self.shared.appended.subscribe()
    }

    async fn trim(&self) -> Result<u64, StoreError> {
        self.sweep_documents().await?;
        let tenants: Vec<_> = self.shared.state().feeds.keys().cloned().collect();
        let mut gone = 0;
        for tenant in tenants {
            gone += self.trim_one(&tenant).await?;
        }
        Ok(gone)
    }
}

impl EmbeddedStore {
    fn ends(&self, tenant: &TenantId) -> FeedEnds {
        let state = self.shared.state();
        state.feeds.get(tenant).copied().unwrap_or_default()
    }

    /// A cursor names the store and the last event read, so that one of another folder is told from an old one.
    fn cursor(&self, last: u64) -> Cursor {
        Cursor(format!("{:016x}-{last}", self.shared.store))
    }

    fn number_after(&self, cursor: &Cursor, ends: FeedEnds) -> Result<u64, FeedError> {
        let parts = cursor.0.split_once('-');
        let number = parts.and_then(|(store, number)| {
            let store = u64::from_str_radix(store, 16).ok()?;
            let number = number.parse::<u64>().ok()?.checked_add(1)?;
            (store == self.shared.store).then_some(number)
        });
        let number = number.filter(|n| *n <= ends.next);
        let number = number.ok_or(FeedError::UnknownCursor)?;
        if number < ends.oldest {
            return Err(FeedError::Trimmed);
        }
        Ok(number)
    }

    async fn trim_one(&self, tenant: &TenantId) -> Result<u64, StoreError> {
        let (side, name) = (self.shared.side()?, tenant.clone());
        let now_ms = self.now_ms();
        let age_ms = i64::try_from(self.feed_age_max.as_millis()).unwrap_or(i64::MAX);
        let cutoff_ms = now_ms.saturating_sub(age_ms);
        let ends = self.ends(tenant);
        let young = off_thread(move || first_since(&side, name.as_str(), ends, cutoff_ms)).await?;
        let few = ends.next.saturating_sub(self.feed_events_max);
        let oldest = young.max(few).max(ends.oldest);
        let (tenant, name) = (tenant.clone(), format!("feed/{tenant}"));
        self.change(name, Urgency::Settle, move |stage| {
            let state = stage.shared.state();
            let ends = state.feeds.get(&tenant).copied().unwrap_or_default();
            let gone = oldest.saturating_sub(ends.oldest);
            if gone > 0 {
                stage.batch.add(&Op::FeedEnds {
                    tenant: tenant.as_str(),
                    oldest,
                    next: ends.next,
                });
            }
            Ok(gone)
        })
        .await
    }
}

/// The first event kept that is not older than `cutoff_ms`.
fn first_since(
    side: &Side,
    tenant: &str,
    ends: FeedEnds,
    cutoff_ms: i64,
) -> Result<u64, StoreError> {
    for block in side
        .feed
        .range(feed_key(tenant, 0)..feed_key(tenant, ends.next))
    {
        let (key, value) = block.into_inner().map_err(|e| side_failed(&e))?;
        let (Some(first), Some((at_ms, _))) = (number_of(&key), block_head(&value)) else {
            return Err(damaged(&Malformed));
        };
        if at_ms >= cutoff_ms {
            return Ok(first);
        }
    }
    Ok(ends.next)
}

/// The texts of the first events among `places`, with their numbers. What stands beyond belongs to a batch that is still being
/// applied: nobody may go on from there yet.
fn read_events(
    side: &Arc<Side>,
    tenant: &str,
    places: Range<u64>,
    limit: usize,
) -> Result<Vec<(u64, bytes::Bytes)>, StoreError> {
    let upto = feed_key(tenant, 0)..=feed_key(tenant, places.start);
    let begin = match side.feed.range(upto).next_back() {
        None => feed_key(tenant, places.start),
        Some(block) => block.key().map_err(|e| side_failed(&e))?.to_vec(),
    };
    let mut texts = Vec::new();
    for block in side.feed.range(begin..feed_key(tenant, places.end)) {
        let (key, value) = block.into_inner().map_err(|e| side_failed(&e))?;
        let first = number_of(&key).ok_or_else(|| damaged(&Malformed))?;
        let block = texts_of(&value).map_err(|e| damaged(&e))?;
        let wanted = (first..).zip(block).filter(|(n, _)| places.contains(n));
        let wanted = wanted.take(limit - texts.len());
        texts.extend(wanted.map(|(n, text)| (n, bytes::Bytes::copy_from_slice(text))));
        if texts.len() == limit {
            break;
        }
    }
    Ok(texts)
}

fn texts_of(block: &[u8]) -> Result<Vec<&[u8]>, Malformed> {
    let mut rest = Bytes::new(block.get(BLOCK_HEAD_BYTES..).ok_or(Malformed)?);
    let mut texts = Vec::new();
    while !rest.is_empty() {
        texts.push(rest.bytes()?);
    }
    Ok(texts)
}
