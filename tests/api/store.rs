//! The embedded store, and troubles that a test can bring upon it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use reveille::{
    adapters::embedded::{EmbeddedOptions, EmbeddedStore},
    domain::{
        event::Event,
        id::{DeviceId, DeviceKey, TenantId},
        queue::Queue,
    },
    ports::{
        clock::Clock,
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
};
use tokio::sync::{RwLock, broadcast, watch};

/// What the store answers instead of doing its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    None,
    Full,
    /// It is full for the device `late`, and keeps all others waiting until it has said so.
    FullForOne,
    Away,
    /// It answers questions, and nothing else.
    ReadOnly,
}

/// A store that can be troubled.
pub(crate) struct TestStore {
    inner: Arc<EmbeddedStore>,
    trouble: Mutex<Trouble>,
    /// Calls that were made so far.
    calls: AtomicU64,
    /// Whether it has said that it is full for one.
    refused: watch::Sender<bool>,
    /// Commits wait here while a test holds them back.
    pub(crate) gate: RwLock<()>,
    _folder: tempfile::TempDir,
}

impl TestStore {
    pub(crate) fn open(clock: Arc<dyn Clock>, feed_events_max: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut options = EmbeddedOptions::new(folder.path().join("data"), clock);
        options.feed_events_max = feed_events_max;
        options.segment_bytes = 1024 * 1024;
        options.ballast_bytes = 1024 * 1024;
        Self {
            inner: EmbeddedStore::open(options).unwrap(),
            trouble: Mutex::new(Trouble::None),
            calls: AtomicU64::new(0),
            refused: watch::Sender::new(false),
            gate: RwLock::default(),
            _folder: folder,
        }
    }

    pub(crate) fn fall_into(&self, trouble: Trouble) {
        *self.trouble.lock().unwrap() = trouble;
    }

    /// How often it was called.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// The store, unless it is away.
    fn well(&self) -> Result<&EmbeddedStore, StoreError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if *self.trouble.lock().unwrap() == Trouble::Away {
            return Err(StoreError::Unavailable {
                detail: "the wire is cut".to_owned(),
                retry_after: Some(Duration::from_secs(7)),
            });
        }
        Ok(&self.inner)
    }
}

fn full() -> StoreError {
    let detail = "no bytes left".to_owned();
    StoreError::Full { detail }
}

#[async_trait]
impl Records for TestStore {
    async fn read(&self, keys: &[DeviceKey]) -> Result<Vec<Option<Stored>>, StoreError> {
        self.well()?.read(keys).await
    }

    async fn commit(
        &self,
        items: Vec<Item>,
        urgency: Urgency,
        fence: Option<&Fence>,
    ) -> Result<Vec<Committed>, StoreError> {
        let _open = self.gate.read().await;
        let trouble = *self.trouble.lock().unwrap();
        if urgency == Urgency::Open && trouble == Trouble::Full {
            return Err(full());
        }
        if trouble == Trouble::FullForOne {
            if items.iter().any(|item| item.key.device.as_str() == "late") {
                self.refused.send_replace(true);
                return Err(full());
            }
            let mut refused = self.refused.subscribe();
            refused.wait_for(|refused| *refused).await.unwrap();
        }
        self.well()?.commit(items, urgency, fence).await
    }

    async fn raise_fence(&self, fence: &Fence) -> Result<(), StoreError> {
        self.well()?.raise_fence(fence).await
    }

    async fn scan(
        &self,
        tenant: &TenantId,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<(DeviceId, Stored)>, StoreError> {
        self.well()?.scan(tenant, cursor, limit).await
    }
}

#[async_trait]
impl Lists for TestStore {
    async fn members(
        &self,
        tenant: &TenantId,
        list: &ListName,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<Member>, StoreError> {
        self.well()?.members(tenant, list, cursor, limit).await
    }

    async fn find(
        &self,
        tenant: &TenantId,
        list: &ListName,
        devices: &[DeviceId],
    ) -> Result<Vec<Option<Member>>, StoreError> {
        self.well()?.find(tenant, list, devices).await
    }

    async fn first(
        &self,
        tenant: &TenantId,
        list: &ListName,
        limit: usize,
    ) -> Result<Vec<Member>, StoreError> {
        self.well()?.first(tenant, list, limit).await
    }

    async fn drop_list(&self, tenant: &TenantId, list: &ListName) -> Result<(), StoreError> {
        self.well()?.drop_list(tenant, list).await
    }
}

#[async_trait]
impl Tally for TestStore {
    async fn counters(
        &self,
        tenant: &TenantId,
        prefix: &str,
    ) -> Result<BTreeMap<String, i64>, StoreError> {
        self.well()?.counters(tenant, prefix).await
    }

    async fn tenants(&self) -> Result<Vec<TenantId>, StoreError> {
        self.well()?.tenants().await
    }

    async fn drop_counters(&self, tenant: &TenantId, prefix: &str) -> Result<(), StoreError> {
        self.well()?.drop_counters(tenant, prefix).await
    }
}

#[async_trait]
impl Feed for TestStore {
    async fn events(
        &self,
        tenant: &TenantId,
        after: &After,
        limit: usize,
    ) -> Result<(Vec<Entry>, Cursor), FeedError> {
        self.well()?.events(tenant, after, limit).await
    }

    async fn append(&self, tenant: &TenantId, events: Vec<Event>) -> Result<(), StoreError> {
        self.well()?.append(tenant, events).await
    }

    fn appended(&self) -> watch::Receiver<u64> {
        self.inner.appended()
    }

    async fn trim(&self) -> Result<u64, StoreError> {
        self.well()?.trim().await
    }
}

#[async_trait]
impl Documents for TestStore {
    async fn get(&self, name: &str) -> Result<Option<Document>, StoreError> {
        self.well()?.get(name).await
    }

    async fn put(
        &self,
        name: &str,
        bytes: Bytes,
        precondition: Precondition,
        ttl: Option<Duration>,
    ) -> Result<Put, StoreError> {
        let new = !matches!(precondition, Precondition::Version(_));
        if new && *self.trouble.lock().unwrap() == Trouble::Full {
            return Err(full());
        }
        self.well()?.put(name, bytes, precondition, ttl).await
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.well()?.delete(name).await
    }

    async fn list(
        &self,
        prefix: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<(String, Document)>, StoreError> {
        self.well()?.list(prefix, cursor, limit).await
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.inner.changed()
    }
}

#[async_trait]
impl Queues for TestStore {
    async fn ready(&self) -> Result<Vec<Ready>, StoreError> {
        self.well()?.ready().await
    }

    async fn claim(&self, wants: &[Want]) -> Result<Vec<Claimed>, StoreError> {
        self.well()?.claim(wants).await
    }

    async fn hand_back(
        &self,
        claims: Vec<(DeviceKey, Lease, Timestamp)>,
    ) -> Result<(), StoreError> {
        self.well()?.hand_back(claims).await
    }

    fn wakes(&self) -> broadcast::Receiver<Wake> {
        self.inner.wakes()
    }

    async fn park(&self, selector: &Selector) -> Result<(), StoreError> {
        self.well()?.park(selector).await
    }

    async fn unpark(&self, selector: &Selector) -> Result<(), StoreError> {
        self.well()?.unpark(selector).await
    }

    async fn browse(
        &self,
        queue: &Queue,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<(DeviceId, Stored)>, StoreError> {
        self.well()?.browse(queue, cursor, limit).await
    }

    async fn census(&self) -> Result<Vec<Held>, StoreError> {
        self.well()?.census().await
    }
}

#[async_trait]
impl Leases for TestStore {
    async fn hold(
        &self,
        name: &str,
        owner: &str,
        term: Duration,
    ) -> Result<Option<u64>, StoreError> {
        self.well()?.hold(name, owner, term).await
    }

    async fn release(&self, name: &str, owner: &str) -> Result<(), StoreError> {
        self.well()?.release(name, owner).await
    }
}

#[async_trait]
impl Shares for TestStore {
    async fn renew(
        &self,
        broker: &str,
        requests: &[ShareRequest],
        term: Duration,
    ) -> Result<Vec<Share>, StoreError> {
        self.well()?.renew(broker, requests, term).await
    }
}

#[async_trait]
impl Probe for TestStore {
    async fn probe(&self) -> Result<StoreHealth, StoreError> {
        let failing = *self.trouble.lock().unwrap() == Trouble::ReadOnly;
        let mut health = self.well()?.probe().await?;
        health.failing = failing.then(|| "it is a replica".to_owned());
        Ok(health)
    }

    async fn broken(&self) -> String {
        std::future::pending().await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.inner.close().await
    }
}
