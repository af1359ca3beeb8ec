//! A store that is measured: the one place through which every call to a store passes on its way.
//!
//! It adds nothing to what a store does. It times each call, counts those that fail, and counts the events that commits have
//! written to feeds; once a call and not once an item. Waiting for news is not timed: it takes as long as nothing happens.

mod streams;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use tokio::{
    sync::{broadcast, watch},
    time::Instant,
};

use crate::{
    domain::{
        event::{Event, EventKind},
        id::{DeviceId, DeviceKey, TenantId},
        queue::Queue,
    },
    ports::{
        Store,
        documents::{Document, Documents, Precondition, Put},
        error::{Probe, StoreError, StoreHealth},
        feed::{After, Cursor, Entry, Feed, FeedError},
        leases::Leases,
        lists::{Lists, Member},
        queues::{Claimed, Held, Queues, Ready, Selector, Wake, Want},
        records::{Committed, Fence, Item, Lease, ListName, Page, Records, Stored, Urgency},
        shares::{Share, ShareRequest, Shares},
        tally::Tally,
    },
    telemetry::{StoreFault, StoreOperation, Telemetry},
};

pub use self::streams::MeasuredStreams;

/// A store and what tells of it.
pub struct MeasuredStore {
    store: Arc<dyn Store>,
    meter: Meter,
}

impl MeasuredStore {
    /// Measures `store` from now on.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, telemetry: Telemetry) -> Self {
        Self {
            store,
            meter: Meter(telemetry),
        }
    }
}

/// Times calls.
struct Meter(Telemetry);

impl Meter {
    async fn time<T>(
        &self,
        operation: StoreOperation,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let began = Instant::now();
        let answer = call.await;
        self.note(operation, began, answer.as_ref().err());
        answer
    }

    /// As [`Meter::time`] for a page. One that begins at a cursor may be told that the cursor is not the store's, which is the
    /// fault of whoever made it up.
    async fn page<T>(
        &self,
        operation: StoreOperation,
        cursor: Option<&str>,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let began = Instant::now();
        let answer = call.await;
        let error = answer.as_ref().err();
        let own =
            error.filter(|error| cursor.is_none() || !matches!(error, StoreError::Damaged { .. }));
        self.note(operation, began, own);
        answer
    }

    fn note(&self, operation: StoreOperation, began: Instant, error: Option<&StoreError>) {
        self.0.store_answered(operation, began.elapsed());
        if let Some(error) = error {
            self.failed(operation, error);
        }
    }

    fn failed(&self, operation: StoreOperation, error: &StoreError) {
        let detail = error.to_string();
        self.0
            .store_failed(operation, fault(error), &detail, Instant::now());
    }
}

fn fault(error: &StoreError) -> StoreFault {
    match error {
        StoreError::Unavailable { .. } => StoreFault::Unavailable,
        StoreError::Full { .. } => StoreFault::Full,
        StoreError::Damaged { .. } => StoreFault::Damaged,
        StoreError::Fenced => StoreFault::Fenced,
    }
}

#[async_trait]
impl Records for MeasuredStore {
    async fn read(&self, keys: &[DeviceKey]) -> Result<Vec<Option<Stored>>, StoreError> {
        let call = self.store.read(keys);
        self.meter.time(StoreOperation::Read, call).await
    }

    async fn commit(
        &self,
        items: Vec<Item>,
        urgency: Urgency,
        fence: Option<&Fence>,
    ) -> Result<Vec<Committed>, StoreError> {
        let (size, events) = (items.len(), events(&items));
        let call = self.store.commit(items, urgency, fence);
        let committed = self.meter.time(StoreOperation::Commit, call).await?;
        self.meter.0.store_committed(size);
        let written = events
            .into_iter()
            .filter(|(at, _)| committed.get(*at) == Some(&Committed::Done));
        self.meter.0.feed_written(written.map(|(_, kind)| kind));
        Ok(committed)
    }

    async fn commit_each(
        &self,
        items: Vec<Item>,
        urgency: Urgency,
    ) -> Vec<Result<Committed, StoreError>> {
        let (events, began) = (events(&items), Instant::now());
        let committed = self.store.commit_each(items, urgency).await;
        let mut errors = committed.iter().filter_map(|one| one.as_ref().err());
        self.meter
            .note(StoreOperation::Commit, began, errors.next());
        let size = committed.iter().filter(|one| one.is_ok()).count();
        self.meter.0.store_committed(size);
        let written = events
            .into_iter()
            .filter(|(at, _)| matches!(committed.get(*at), Some(Ok(Committed::Done))));
        self.meter.0.feed_written(written.map(|(_, kind)| kind));
        committed
    }

    async fn confirm(&self, devices: &[DeviceKey]) -> Result<(), StoreError> {
        let call = self.store.confirm(devices);
        self.meter.time(StoreOperation::Read, call).await
    }

    async fn raise_fence(&self, fence: &Fence) -> Result<(), StoreError> {
        let call = self.store.raise_fence(fence);
        self.meter.time(StoreOperation::Lease, call).await
    }

    async fn scan(
        &self,
        tenant: &TenantId,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<(DeviceId, Stored)>, StoreError> {
        let call = self.store.scan(tenant, cursor, limit);
        self.meter.page(StoreOperation::Query, cursor, call).await
    }
}

/// What items are to write to feeds, each with the place of its item.
fn events(items: &[Item]) -> Vec<(usize, EventKind)> {
    let each = items.iter().enumerate();
    each.flat_map(|(at, item)| item.events.iter().map(move |event| (at, event.kind)))
        .collect()
}

#[async_trait]
impl Queues for MeasuredStore {
    async fn ready(&self) -> Result<Vec<Ready>, StoreError> {
        let call = self.store.ready();
        self.meter.time(StoreOperation::Queue, call).await
    }

    async fn claim(&self, wants: &[Want]) -> Result<Vec<Claimed>, StoreError> {
        let call = self.store.claim(wants);
        self.meter.time(StoreOperation::Claim, call).await
    }

    async fn hand_back(
        &self,
        claims: Vec<(DeviceKey, Lease, Timestamp)>,
    ) -> Result<(), StoreError> {
        let call = self.store.hand_back(claims);
        self.meter.time(StoreOperation::Queue, call).await
    }

    fn wakes(&self) -> broadcast::Receiver<Wake> {
        self.store.wakes()
    }

    async fn park(&self, selector: &Selector) -> Result<(), StoreError> {
        let call = self.store.park(selector);
        self.meter.time(StoreOperation::Queue, call).await
    }

    async fn unpark(&self, selector: &Selector) -> Result<(), StoreError> {
        let call = self.store.unpark(selector);
        self.meter.time(StoreOperation::Queue, call).await
    }

    async fn browse(
        &self,
        queue: &Queue,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<(DeviceId, Stored)>, StoreError> {
        let call = self.store.browse(queue, cursor, limit);
        self.meter.page(StoreOperation::Query, cursor, call).await
    }

    async fn census(&self) -> Result<Vec<Held>, StoreError> {
        let call = self.store.census();
        self.meter.time(StoreOperation::Queue, call).await
    }
}

#[async_trait]
impl Lists for MeasuredStore {
    async fn members(
        &self,
        tenant: &TenantId,
        list: &ListName,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<Member>, StoreError> {
        let call = self.store.members(tenant, list, cursor, limit);
        self.meter.page(StoreOperation::Query, cursor, call).await
    }

    async fn find(
        &self,
        tenant: &TenantId,
        list: &ListName,
        devices: &[DeviceId],
    ) -> Result<Vec<Option<Member>>, StoreError> {
        let call = self.store.find(tenant, list, devices);
        self.meter.time(StoreOperation::Query, call).await
    }

    async fn first(
        &self,
        tenant: &TenantId,
        list: &ListName,
        limit: usize,
    ) -> Result<Vec<Member>, StoreError> {
        let call = self.store.first(tenant, list, limit);
        self.meter.time(StoreOperation::Query, call).await
    }

    async fn drop_list(&self, tenant: &TenantId, list: &ListName) -> Result<(), StoreError> {
        let call = self.store.drop_list(tenant, list);
        self.meter.time(StoreOperation::Upkeep, call).await
    }
}

#[async_trait]
impl Tally for MeasuredStore {
    async fn counters(
        &self,
        tenant: &TenantId,
        prefix: &str,
    ) -> Result<BTreeMap<String, i64>, StoreError> {
        let call = self.store.counters(tenant, prefix);
        self.meter.time(StoreOperation::Query, call).await
    }

    async fn counters_of(
        &self,
        tenants: &[TenantId],
        prefix: &str,
    ) -> Result<Vec<BTreeMap<String, i64>>, StoreError> {
        let call = self.store.counters_of(tenants, prefix);
        self.meter.time(StoreOperation::Query, call).await
    }

    async fn tenants(&self) -> Result<Vec<TenantId>, StoreError> {
        let call = self.store.tenants();
        self.meter.time(StoreOperation::Query, call).await
    }

    async fn drop_counters(&self, tenant: &TenantId, prefix: &str) -> Result<(), StoreError> {
        let call = self.store.drop_counters(tenant, prefix);
        self.meter.time(StoreOperation::Upkeep, call).await
    }
}

#[async_trait]
impl Feed for MeasuredStore {
    async fn events(
        &self,
        tenant: &TenantId,
        after: &After,
        limit: usize,
    ) -> Result<(Vec<Entry>, Cursor), FeedError> {
        let began = Instant::now();
        let answer = self.store.events(tenant, after, limit).await;
        let error = match &answer {
            Err(FeedError::Store(error)) => Some(error),
            Ok(_) | Err(FeedError::Trimmed | FeedError::UnknownCursor) => None,
        };
        self.meter.note(StoreOperation::Feed, began, error);
        answer
    }

    async fn append(&self, tenant: &TenantId, events: Vec<Event>) -> Result<(), StoreError> {
        let kinds: Vec<EventKind> = events.iter().map(|event| event.kind).collect();
        let call = self.store.append(tenant, events);
        self.meter.time(StoreOperation::Feed, call).await?;
        self.meter.0.feed_written(kinds);
        Ok(())
    }

    fn appended(&self) -> watch::Receiver<u64> {
        self.store.appended()
    }

    async fn trim(&self) -> Result<u64, StoreError> {
        let call = self.store.trim();
        self.meter.time(StoreOperation::Upkeep, call).await
    }
}

#[async_trait]
impl Documents for MeasuredStore {
    async fn get(&self, name: &str) -> Result<Option<Document>, StoreError> {
        let call = self.store.get(name);
        self.meter.time(StoreOperation::Document, call).await
    }

    async fn put(
        &self,
        name: &str,
        bytes: Bytes,
        precondition: Precondition,
        ttl: Option<Duration>,
    ) -> Result<Put, StoreError> {
        let call = self.store.put(name, bytes, precondition, ttl);
        self.meter.time(StoreOperation::Document, call).await
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        let call = self.store.delete(name);
        self.meter.time(StoreOperation::Document, call).await
    }

    async fn confirm_document(&self, name: &str) -> Result<(), StoreError> {
        let call = self.store.confirm_document(name);
        self.meter.time(StoreOperation::Document, call).await
    }

    async fn list(
        &self,
        prefix: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<(String, Document)>, StoreError> {
        let call = self.store.list(prefix, cursor, limit);
        self.meter
            .page(StoreOperation::Document, cursor, call)
            .await
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.store.changed()
    }
}

#[async_trait]
impl Leases for MeasuredStore {
    async fn hold(
        &self,
        name: &str,
        owner: &str,
        term: Duration,
    ) -> Result<Option<u64>, StoreError> {
        let call = self.store.hold(name, owner, term);
        self.meter.time(StoreOperation::Lease, call).await
    }

    async fn release(&self, name: &str, owner: &str) -> Result<(), StoreError> {
        let call = self.store.release(name, owner);
        self.meter.time(StoreOperation::Lease, call).await
    }
}

#[async_trait]
impl Shares for MeasuredStore {
    async fn renew(
        &self,
        broker: &str,
        requests: &[ShareRequest],
        term: Duration,
    ) -> Result<Vec<Share>, StoreError> {
        let call = self.store.renew(broker, requests, term);
        self.meter.time(StoreOperation::Lease, call).await
    }
}

#[async_trait]
impl Probe for MeasuredStore {
    async fn probe(&self) -> Result<StoreHealth, StoreError> {
        let call = self.store.probe();
        self.meter.time(StoreOperation::Probe, call).await
    }

    async fn broken(&self) -> String {
        self.store.broken().await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.store.close().await
    }
}
