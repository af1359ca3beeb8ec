//! A store in memory for paused time: it keeps the contract of the ports, and fails or panics when told to.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use reveille::{
    domain::{
        event::Event,
        id::{AppId, DeviceId, DeviceKey, TenantId},
        item::{Change, Expect, Item, ListMove, ListName},
        queue::{Lane, Queue},
        record::DeviceRecord,
        record::codec,
    },
    ports::{
        clock::Clock,
        documents::{Document, Documents, Precondition, Put},
        error::{Probe, StoreError, StoreHealth},
        feed::{After, Cursor, Entry, Feed, FeedError},
        leases::Leases,
        lists::{Lists, Member},
        queues::{Claimed, Held, LEASE, Queues, Ready, Selector, Wake, Want},
        records::{Committed, Fence, Lease, Page, Records, Stored, Urgency},
        shares::{Share, ShareRequest, Shares},
        tally::Tally,
    },
};
use tokio::sync::{broadcast, watch};

use crate::world::{Chaos, SimClock};

#[derive(Clone)]
struct Waits {
    queue: Queue,
    at: Timestamp,
    /// The token and the end of a claim.
    lease: Option<(u64, Timestamp)>,
}

impl Waits {
    fn due(&self) -> Timestamp {
        self.lease.map_or(self.at, |(_, end)| end)
    }
}

#[derive(Default)]
struct Inner {
    records: HashMap<DeviceKey, Stored>,
    waits: BTreeMap<DeviceKey, Waits>,
    parked: HashSet<Selector>,
    lists: HashMap<(TenantId, ListName), BTreeMap<DeviceId, Member>>,
    counters: BTreeMap<(TenantId, String), i64>,
    events: Vec<(TenantId, Event)>,
    documents: BTreeMap<String, Document>,
    leases: HashMap<String, (String, Timestamp, u64)>,
    tokens: u64,
    /// What was settled and not answered, nor asked about since: nobody knows whether replicas would have it.
    doubtful: HashSet<DeviceKey>,
}

/// The store.
pub(crate) struct MemoryStore {
    clock: Arc<SimClock>,
    chaos: Arc<Chaos>,
    inner: Mutex<Inner>,
    /// Whether devices of odd numbers are in a part of the store that is away.
    pub(crate) odd_are_away: AtomicBool,
    wakes: broadcast::Sender<Wake>,
    documents_changed: watch::Sender<u64>,
    appended: watch::Sender<u64>,
}

impl MemoryStore {
    pub(crate) fn new(clock: Arc<SimClock>, chaos: Arc<Chaos>) -> Arc<Self> {
        Arc::new(Self {
            clock,
            chaos,
            inner: Mutex::default(),
            odd_are_away: AtomicBool::new(false),
            wakes: broadcast::channel(1_024).0,
            documents_changed: watch::Sender::new(0),
            appended: watch::Sender::new(0),
        })
    }

    pub(crate) fn record(&self, key: &DeviceKey) -> Option<DeviceRecord> {
        let inner = self.inner();
        inner
            .records
            .get(key)
            .map(|stored| codec::decode(&stored.bytes).unwrap())
    }

    pub(crate) fn records(&self) -> Vec<DeviceRecord> {
        let inner = self.inner();
        inner
            .records
            .values()
            .map(|stored| codec::decode(&stored.bytes).unwrap())
            .collect()
    }

    /// Makes a record unreadable.
    pub(crate) fn damage(&self, key: &DeviceKey) {
        let mut inner = self.inner();
        inner.records.get_mut(key).unwrap().bytes = Bytes::from_static(b"damaged");
    }

    /// Leaves a push in another queue than its own, as if it had been held there when it was moved.
    pub(crate) fn strand(&self, key: &DeviceKey, queue: Queue) {
        self.inner().waits.get_mut(key).unwrap().queue = queue;
    }

    pub(crate) fn leased(&self) -> usize {
        let now = self.clock.now();
        self.inner()
            .waits
            .values()
            .filter(|w| w.lease.is_some_and(|(_, end)| end > now))
            .count()
    }

    pub(crate) fn doubtful(&self) -> usize {
        self.inner().doubtful.len()
    }

    pub(crate) fn events(&self, kind: &str) -> Vec<Event> {
        let inner = self.inner();
        let events = inner
            .events
            .iter()
            .filter(|(_, event)| event.kind.as_str() == kind);
        events.map(|(_, event)| event.clone()).collect()
    }

    pub(crate) fn count(&self, prefix: &str) -> i64 {
        let inner = self.inner();
        inner
            .counters
            .iter()
            .filter(|((_, name), _)| name.starts_with(prefix))
            .map(|(_, n)| n)
            .sum()
    }

    async fn call(&self) -> Result<(), StoreError> {
        tokio::time::sleep(self.chaos.store_latency()).await;
        self.chaos.maybe_panic("store");
        if self.chaos.store_fails() {
            return Err(as_told());
        }
        Ok(())
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const ODD: [char; 5] = ['1', '3', '5', '7', '9'];

fn as_told() -> StoreError {
    StoreError::Unavailable {
        detail: "as told".to_owned(),
        retry_after: None,
    }
}

impl Inner {
    fn earliest(&self, queue: &Queue) -> Option<Timestamp> {
        self.waits
            .values()
            .filter(|w| w.queue == *queue)
            .map(Waits::due)
            .min()
    }

    fn is_parked(&self, queue: &Queue) -> bool {
        let matches = |s: &Selector| {
            s.tenant == queue.tenant && s.flow.as_ref().is_none_or(|flow| *flow == queue.flow)
        };
        queue.lane != Lane::Timer && self.parked.iter().any(matches)
    }

    fn apply(&mut self, item: &Item, now: Timestamp) -> Committed {
        let stored = self.records.get(&item.key).cloned();
        let met = match &item.expect {
            Expect::Absent => stored.is_none(),
            Expect::Revision(revision) => stored.as_ref().is_some_and(|s| s.revision == *revision),
            Expect::NotListed(list) => {
                let list = (item.key.tenant.clone(), list.clone());
                if self
                    .lists
                    .get(&list)
                    .is_some_and(|l| l.contains_key(&item.key.device))
                {
                    return Committed::Listed;
                }
                true
            }
        };
        if !met {
            return Committed::Conflict(stored);
        }
        let held = self
            .waits
            .get(&item.key)
            .and_then(|w| w.lease)
            .filter(|(_, end)| *end > now);
        if let Some(lease) = &item.lease
            && held.is_none_or(|(token, _)| token != lease.token)
        {
            return Committed::LeaseLost(stored);
        }
        self.place(item, held.is_some());
        match &item.change {
            Change::Put(revision, bytes) => {
                let stored = Stored {
                    revision: *revision,
                    bytes: bytes.clone(),
                };
                self.records.insert(item.key.clone(), stored);
            }
            Change::Delete => {
                self.records.remove(&item.key);
                self.waits.remove(&item.key);
            }
            Change::Keep => {}
        }
        self.note(item);
        Committed::Done
    }

    fn place(&mut self, item: &Item, held: bool) {
        if item.lease.is_none() && held {
            if item.placement.from.is_some() && item.placement.to.is_none() {
                self.waits.remove(&item.key);
            }
            return;
        }
        match &item.placement.to {
            Some(due) => {
                let at = Timestamp::from_millisecond(due.at.as_millisecond()).unwrap();
                let waits = Waits {
                    queue: due.queue.clone(),
                    at,
                    lease: None,
                };
                self.waits.insert(item.key.clone(), waits);
            }
            None => {
                self.waits.remove(&item.key);
            }
        }
    }

    fn note(&mut self, item: &Item) {
        let tenant = &item.key.tenant;
        for (counter, by) in item.moves.iter() {
            *self
                .counters
                .entry((tenant.clone(), counter.to_string()))
                .or_default() += by;
        }
        for change in &item.lists {
            let (ListMove::Put { list, .. } | ListMove::Remove { list }) = change;
            let members = self
                .lists
                .entry((tenant.clone(), list.clone()))
                .or_default();
            match change {
                ListMove::Put { score, text, .. } => {
                    let device = item.key.device.clone();
                    let member = Member {
                        device: device.clone(),
                        score: *score,
                        text: text.clone(),
                    };
                    members.insert(device, member);
                }
                ListMove::Remove { .. } => {
                    members.remove(&item.key.device);
                }
            }
        }
        self.events.extend(
            item.events
                .iter()
                .map(|event| (tenant.clone(), event.clone())),
        );
    }
}

#[async_trait]
impl Records for MemoryStore {
    async fn read(&self, keys: &[DeviceKey]) -> Result<Vec<Option<Stored>>, StoreError> {
        self.call().await?;
        let inner = self.inner();
        Ok(keys
            .iter()
            .map(|key| inner.records.get(key).cloned())
            .collect())
    }

    async fn commit_each(
        &self,
        items: Vec<Item>,
        urgency: Urgency,
    ) -> Vec<Result<Committed, StoreError>> {
        let away = self.odd_are_away.load(Ordering::SeqCst);
        let is_away = |item: &Item| away && item.key.device.as_str().ends_with(ODD);
        let here: Vec<Item> = items
            .iter()
            .filter(|item| !is_away(item))
            .cloned()
            .collect();
        let mut committed = match self.commit(here, urgency, None).await {
            Ok(committed) => committed.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error); items.len()],
        }
        .into_iter();
        let answer = |item: &Item| match is_away(item) {
            true => Err(as_told()),
            false => committed.next().unwrap(),
        };
        items.iter().map(answer).collect()
    }

    async fn commit(
        &self,
        items: Vec<Item>,
        _: Urgency,
        _: Option<&Fence>,
    ) -> Result<Vec<Committed>, StoreError> {
        self.call().await?;
        let mut inner = self.inner();
        let now = self.clock.now();
        let mut seen = HashSet::new();
        let mut outcomes = Vec::new();
        for item in &items {
            assert!(
                seen.insert(item.key.clone()),
                "a device came twice in one commit"
            );
            let queue = item.placement.to.as_ref().map(|due| due.queue.clone());
            let before = queue.as_ref().and_then(|queue| inner.earliest(queue));
            outcomes.push(inner.apply(item, now));
            let Some(queue) = queue else { continue };
            let after = inner.earliest(&queue);
            if let Some(earliest) = after
                && before.is_none_or(|before| earliest < before)
                && !inner.is_parked(&queue)
            {
                // Nobody listens before the scout does.
                let _listeners = self.wakes.send(Wake { queue, earliest });
            }
        }
        // Sometimes the answer is lost although all was applied.
        let lost = self.chaos.answer_lost();
        for (item, outcome) in items.iter().zip(&outcomes) {
            match outcome {
                Committed::Done if !lost => drop(inner.doubtful.remove(&item.key)),
                Committed::Done if item.lease.is_some() => {
                    inner.doubtful.insert(item.key.clone());
                }
                _ => {}
            }
        }
        if lost {
            let detail = "the answer was lost".to_owned();
            return Err(StoreError::Unavailable {
                detail,
                retry_after: None,
            });
        }
        Ok(outcomes)
    }

    async fn confirm(&self, devices: &[DeviceKey]) -> Result<(), StoreError> {
        self.call().await?;
        let mut inner = self.inner();
        for device in devices {
            inner.doubtful.remove(device);
        }
        Ok(())
    }

    async fn raise_fence(&self, _: &Fence) -> Result<(), StoreError> {
        Ok(())
    }

    async fn scan(
        &self,
        tenant: &TenantId,
        _: Option<&str>,
        _: usize,
    ) -> Result<Page<(DeviceId, Stored)>, StoreError> {
        let inner = self.inner();
        let found = inner
            .records
            .iter()
            .filter(|(key, _)| key.tenant == *tenant);
        let items = found
            .map(|(key, stored)| (key.device.clone(), stored.clone()))
            .collect();
        Ok(Page { items, next: None })
    }
}

#[async_trait]
impl Queues for MemoryStore {
    async fn ready(&self) -> Result<Vec<Ready>, StoreError> {
        self.call().await?;
        let inner = self.inner();
        let mut queues: BTreeMap<&Queue, Timestamp> = BTreeMap::new();
        for waits in inner.waits.values().filter(|w| !inner.is_parked(&w.queue)) {
            let earliest = queues.entry(&waits.queue).or_insert(waits.due());
            *earliest = waits.due().min(*earliest);
        }
        let ready = queues.into_iter().map(|(queue, earliest)| Ready {
            queue: queue.clone(),
            earliest,
        });
        Ok(ready.collect())
    }

    async fn claim(&self, wants: &[Want]) -> Result<Vec<Claimed>, StoreError> {
        self.call().await?;
        let now = self.clock.now();
        let mut inner = self.inner();
        let mut claimed = Vec::new();
        for want in wants
            .iter()
            .filter(|want| !inner.is_parked(&want.queue))
            .collect::<Vec<_>>()
        {
            let mut due: Vec<(Timestamp, DeviceKey)> = inner
                .waits
                .iter()
                .filter(|(_, w)| w.queue == want.queue && w.due() <= now)
                .map(|(key, w)| (w.due(), key.clone()))
                .collect();
            due.sort();
            for (_, key) in due.into_iter().take(want.limit) {
                inner.tokens += 1;
                let token = inner.tokens;
                let end = now + SignedDuration::try_from(LEASE).unwrap();
                let stored = inner.records[&key].clone();
                inner.waits.get_mut(&key).unwrap().lease = Some((token, end));
                let lease = Lease {
                    queue: want.queue.clone(),
                    token,
                };
                claimed.push(Claimed { key, lease, stored });
            }
        }
        if self.chaos.answer_lost() {
            let detail = "the answer was lost".to_owned();
            return Err(StoreError::Unavailable {
                detail,
                retry_after: None,
            });
        }
        Ok(claimed)
    }

    async fn hand_back(
        &self,
        claims: Vec<(DeviceKey, Lease, Timestamp)>,
    ) -> Result<(), StoreError> {
        self.call().await?;
        let mut inner = self.inner();
        for (key, lease, at) in claims {
            let before = inner.earliest(&lease.queue);
            let Some(waits) = inner.waits.get_mut(&key) else {
                continue;
            };
            if waits.lease.is_none_or(|(token, _)| token != lease.token) {
                continue;
            }
            (waits.at, waits.lease) = (at, None);
            let (queue, earliest) = (lease.queue, at);
            if before.is_none_or(|before| earliest < before) && !inner.is_parked(&queue) {
                let _listeners = self.wakes.send(Wake { queue, earliest });
            }
        }
        Ok(())
    }

    fn wakes(&self) -> broadcast::Receiver<Wake> {
        self.wakes.subscribe()
    }

    async fn park(&self, selector: &Selector) -> Result<(), StoreError> {
        self.inner().parked.insert(selector.clone());
        Ok(())
    }

    async fn unpark(&self, selector: &Selector) -> Result<(), StoreError> {
        self.inner().parked.remove(selector);
        Ok(())
    }

    async fn browse(
        &self,
        queue: &Queue,
        _: Option<&str>,
        _: usize,
    ) -> Result<Page<(DeviceId, Stored)>, StoreError> {
        let inner = self.inner();
        let found = inner.waits.iter().filter(|(_, w)| w.queue == *queue);
        let items = found
            .map(|(key, _)| (key.device.clone(), inner.records[key].clone()))
            .collect();
        Ok(Page { items, next: None })
    }

    async fn census(&self) -> Result<Vec<Held>, StoreError> {
        let inner = self.inner();
        let now = self.clock.now();
        let mut queues: BTreeMap<Queue, Held> = BTreeMap::new();
        for waits in inner.waits.values() {
            let ready = Ready {
                queue: waits.queue.clone(),
                earliest: waits.due(),
            };
            let held = queues.entry(waits.queue.clone()).or_insert(Held {
                ready,
                entries: 0,
                due: 0,
            });
            held.ready.earliest = held.ready.earliest.min(waits.due());
            held.entries += 1;
            held.due += u64::from(waits.due() <= now);
        }
        Ok(queues.into_values().collect())
    }
}

#[async_trait]
impl Documents for MemoryStore {
    async fn get(&self, name: &str) -> Result<Option<Document>, StoreError> {
        self.call().await?;
        Ok(self.inner().documents.get(name).cloned())
    }

    async fn put(
        &self,
        name: &str,
        bytes: Bytes,
        precondition: Precondition,
        _: Option<Duration>,
    ) -> Result<Put, StoreError> {
        self.call().await?;
        let mut inner = self.inner();
        let kept = inner.documents.get(name).cloned();
        let met = match precondition {
            Precondition::Absent => kept.is_none(),
            Precondition::Version(version) => kept.as_ref().is_some_and(|d| d.version == version),
            Precondition::Any => true,
        };
        if !met {
            return Ok(Put::Conflict(kept));
        }
        let version = kept.map_or(1, |d| d.version + 1);
        inner
            .documents
            .insert(name.to_owned(), Document { version, bytes });
        drop(inner);
        self.documents_changed.send_modify(|n| *n += 1);
        Ok(Put::Done(version))
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.inner().documents.remove(name);
        self.documents_changed.send_modify(|n| *n += 1);
        Ok(())
    }

    async fn list(
        &self,
        prefix: &str,
        _: Option<&str>,
        _: usize,
    ) -> Result<Page<(String, Document)>, StoreError> {
        let inner = self.inner();
        let found = inner
            .documents
            .iter()
            .filter(|(name, _)| name.starts_with(prefix));
        let items = found
            .map(|(name, document)| (name.clone(), document.clone()))
            .collect();
        Ok(Page { items, next: None })
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.documents_changed.subscribe()
    }
}

#[async_trait]
impl Lists for MemoryStore {
    async fn members(
        &self,
        tenant: &TenantId,
        list: &ListName,
        _: Option<&str>,
        _: usize,
    ) -> Result<Page<Member>, StoreError> {
        let inner = self.inner();
        let found = inner.lists.get(&(tenant.clone(), list.clone()));
        let items = found
            .map(|members| members.values().cloned().collect())
            .unwrap_or_default();
        Ok(Page { items, next: None })
    }

    async fn find(
        &self,
        tenant: &TenantId,
        list: &ListName,
        devices: &[DeviceId],
    ) -> Result<Vec<Option<Member>>, StoreError> {
        let inner = self.inner();
        let members = inner.lists.get(&(tenant.clone(), list.clone()));
        Ok(devices
            .iter()
            .map(|device| members.and_then(|m| m.get(device).cloned()))
            .collect())
    }

    async fn first(
        &self,
        tenant: &TenantId,
        list: &ListName,
        limit: usize,
    ) -> Result<Vec<Member>, StoreError> {
        let mut all = self.members(tenant, list, None, limit).await?.items;
        all.sort_by_key(|member| member.score);
        all.truncate(limit);
        Ok(all)
    }

    async fn drop_list(&self, tenant: &TenantId, list: &ListName) -> Result<(), StoreError> {
        self.inner().lists.remove(&(tenant.clone(), list.clone()));
        Ok(())
    }
}

#[async_trait]
impl Tally for MemoryStore {
    async fn counters(
        &self,
        tenant: &TenantId,
        prefix: &str,
    ) -> Result<BTreeMap<String, i64>, StoreError> {
        let inner = self.inner();
        let found = inner
            .counters
            .iter()
            .filter(|((t, name), _)| t == tenant && name.starts_with(prefix));
        Ok(found.map(|((_, name), n)| (name.clone(), *n)).collect())
    }

    async fn tenants(&self) -> Result<Vec<TenantId>, StoreError> {
        let inner = self.inner();
        let named = inner.counters.keys().map(|(tenant, _)| tenant.clone());
        let found: std::collections::BTreeSet<TenantId> = named.collect();
        Ok(found.into_iter().collect())
    }

    async fn drop_counters(&self, _: &TenantId, _: &str) -> Result<(), StoreError> {
        Ok(())
    }
}

#[async_trait]
impl Feed for MemoryStore {
    async fn events(
        &self,
        _: &TenantId,
        _: &After,
        _: usize,
    ) -> Result<(Vec<Entry>, Cursor), FeedError> {
        Err(FeedError::UnknownCursor)
    }

    async fn append(&self, tenant: &TenantId, events: Vec<Event>) -> Result<(), StoreError> {
        self.call().await?;
        self.inner()
            .events
            .extend(events.into_iter().map(|event| (tenant.clone(), event)));
        Ok(())
    }

    fn appended(&self) -> watch::Receiver<u64> {
        self.appended.subscribe()
    }

    async fn trim(&self) -> Result<u64, StoreError> {
        Ok(0)
    }
}

#[async_trait]
impl Leases for MemoryStore {
    async fn hold(
        &self,
        name: &str,
        owner: &str,
        term: Duration,
    ) -> Result<Option<u64>, StoreError> {
        self.call().await?;
        let now = self.clock.now();
        let mut inner = self.inner();
        let held = inner.leases.get(name).cloned();
        let epoch = match held {
            Some((holder, end, _)) if end > now && holder != owner => return Ok(None),
            Some((holder, _, epoch)) if holder == owner => epoch,
            Some((_, _, epoch)) => epoch + 1,
            None => 1,
        };
        let end = now + SignedDuration::try_from(term).unwrap();
        inner
            .leases
            .insert(name.to_owned(), (owner.to_owned(), end, epoch));
        Ok(Some(epoch))
    }

    async fn release(&self, name: &str, _: &str) -> Result<(), StoreError> {
        self.inner().leases.remove(name);
        Ok(())
    }
}

#[async_trait]
impl Shares for MemoryStore {
    async fn renew(
        &self,
        _: &str,
        requests: &[ShareRequest],
        _: Duration,
    ) -> Result<Vec<Share>, StoreError> {
        self.call().await?;
        let share = |request: &ShareRequest| Share {
            app: request.app.clone(),
            per_second: request.demand_per_second,
        };
        Ok(requests.iter().map(share).collect())
    }
}

#[async_trait]
impl Probe for MemoryStore {
    async fn probe(&self) -> Result<StoreHealth, StoreError> {
        Ok(StoreHealth {
            description: String::new(),
            durability: String::new(),
            failing: None,
            warnings: Vec::new(),
        })
    }

    async fn broken(&self) -> String {
        std::future::pending().await
    }

    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Where an app keeps its state.
pub(crate) fn state_document(app: &AppId) -> String {
    format!("app/{app}/state")
}
