//! A store in memory, for the API alone; what a store must do is the conformance suite's to say.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use reveille::{
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
        queues::{Claimed, Queues, Ready, Selector, Wake, Want},
        records::{
            BATCH_MAX, Change, Committed, Expect, Fence, Item, Lease, ListMove, ListName, Page,
            Records, Stored, Urgency,
        },
        shares::{Share, ShareRequest, Shares},
        tally::Tally,
    },
};
use tokio::sync::{broadcast, watch};

/// What the store answers instead of doing its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    None,
    Full,
    Away,
}

#[derive(Default)]
struct Kept {
    records: BTreeMap<DeviceKey, Stored>,
    counters: HashMap<TenantId, BTreeMap<String, i64>>,
    lists: HashMap<(TenantId, ListName), BTreeMap<(i64, DeviceId), String>>,
    feeds: HashMap<TenantId, Vec<Bytes>>,
    trimmed: HashMap<TenantId, usize>,
    documents: BTreeMap<String, (Document, Option<Timestamp>)>,
    parked: HashSet<Selector>,
    versions: u64,
}

pub(crate) struct Double {
    kept: Mutex<Kept>,
    trouble: Mutex<Trouble>,
    clock: Arc<dyn Clock>,
    changed: watch::Sender<u64>,
    appended: watch::Sender<u64>,
    wakes: broadcast::Sender<Wake>,
    /// Commits wait here while a test holds them back.
    pub(crate) gate: tokio::sync::RwLock<()>,
}

impl Double {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            kept: Mutex::default(),
            trouble: Mutex::new(Trouble::None),
            clock,
            changed: watch::channel(0).0,
            appended: watch::channel(0).0,
            wakes: broadcast::channel(16).0,
            gate: tokio::sync::RwLock::default(),
        }
    }

    pub(crate) fn fall_into(&self, trouble: Trouble) {
        *self.trouble.lock().unwrap() = trouble;
    }

    /// Forgets the first events of a feed.
    pub(crate) fn trim_feed(&self, tenant: &str, events: usize) {
        let tenant = TenantId::new(tenant).unwrap();
        self.kept.lock().unwrap().trimmed.insert(tenant, events);
    }

    pub(crate) fn parked(&self) -> Vec<Selector> {
        self.kept.lock().unwrap().parked.iter().cloned().collect()
    }

    /// How many documents there are whose name begins so.
    pub(crate) fn documents(&self, prefix: &str) -> usize {
        let kept = self.kept.lock().unwrap();
        kept.documents
            .keys()
            .filter(|name| name.starts_with(prefix))
            .count()
    }

    fn well(&self) -> Result<MutexGuard<'_, Kept>, StoreError> {
        if *self.trouble.lock().unwrap() == Trouble::Away {
            return Err(StoreError::Unavailable {
                detail: "the wire is cut".to_owned(),
                retry_after: Some(Duration::from_secs(7)),
            });
        }
        Ok(self.kept.lock().unwrap())
    }

    fn room(&self) -> Result<MutexGuard<'_, Kept>, StoreError> {
        if *self.trouble.lock().unwrap() == Trouble::Full {
            return Err(StoreError::Full {
                detail: "no bytes left".to_owned(),
            });
        }
        self.well()
    }
}

fn apply(kept: &mut Kept, item: Item) -> Committed {
    let stored = kept.records.get(&item.key).cloned();
    let fits = match &item.expect {
        Expect::Absent => stored.is_none(),
        Expect::Revision(revision) => stored.as_ref().is_some_and(|s| s.revision == *revision),
        Expect::NotListed(_) => true,
    };
    if !fits {
        return Committed::Conflict(stored);
    }
    let tenant = item.key.tenant.clone();
    let device = item.key.device.clone();
    match item.change {
        Change::Put(revision, bytes) => {
            kept.records.insert(item.key, Stored { revision, bytes });
        }
        Change::Delete => {
            kept.records.remove(&item.key);
        }
        Change::Keep => {}
    }
    for (counter, by) in item.moves.iter() {
        let counters = kept.counters.entry(tenant.clone()).or_default();
        *counters.entry(counter.to_string()).or_default() += by;
    }
    for change in item.lists {
        let (list, put) = match change {
            ListMove::Put { list, score, text } => (list, Some((score, text))),
            ListMove::Remove { list } => (list, None),
        };
        let members = kept.lists.entry((tenant.clone(), list)).or_default();
        members.retain(|(_, d), _| *d != device);
        if let Some((score, text)) = put {
            members.insert((score, device.clone()), text);
        }
    }
    let feed = kept.feeds.entry(tenant.clone()).or_default();
    for event in item.events {
        feed.push(Bytes::from(event.to_json(&tenant).to_string()));
    }
    Committed::Done
}

fn offset(cursor: Option<&str>) -> Result<usize, StoreError> {
    let text = cursor.unwrap_or("0");
    text.parse().map_err(|_| StoreError::Damaged {
        detail: "not a cursor".to_owned(),
    })
}

fn page<T>(all: Vec<T>, cursor: Option<&str>, limit: usize) -> Result<Page<T>, StoreError> {
    let start = offset(cursor)?;
    let more = all.len() > start + limit;
    let items = all.into_iter().skip(start).take(limit).collect();
    let next = more.then(|| (start + limit).to_string());
    Ok(Page { items, next })
}

#[async_trait]
impl Records for Double {
    async fn read(&self, keys: &[DeviceKey]) -> Result<Vec<Option<Stored>>, StoreError> {
        assert!(keys.len() <= BATCH_MAX);
        let kept = self.well()?;
        Ok(keys.iter().map(|k| kept.records.get(k).cloned()).collect())
    }

    async fn commit(
        &self,
        items: Vec<Item>,
        urgency: Urgency,
        _: Option<&Fence>,
    ) -> Result<Vec<Committed>, StoreError> {
        assert!(items.len() <= BATCH_MAX);
        let _open = self.gate.read().await;
        // Others get a turn between the read and the commit, as with any store.
        tokio::task::yield_now().await;
        let events = items.iter().any(|item| !item.events.is_empty());
        let mut kept = match urgency {
            Urgency::Open => self.room()?,
            Urgency::Settle => self.well()?,
        };
        let mut seen = HashSet::new();
        let outcomes = items.into_iter().map(|item| {
            if seen.insert(item.key.clone()) {
                apply(&mut kept, item)
            } else {
                Committed::Conflict(kept.records.get(&item.key).cloned())
            }
        });
        let outcomes = outcomes.collect();
        drop(kept);
        if events {
            self.appended.send_modify(|n| *n += 1);
        }
        Ok(outcomes)
    }

    async fn raise_fence(&self, _: &Fence) -> Result<(), StoreError> {
        Ok(())
    }

    async fn scan(
        &self,
        tenant: &TenantId,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<(DeviceId, Stored)>, StoreError> {
        let kept = self.well()?;
        let all = kept.records.iter().filter(|(k, _)| k.tenant == *tenant);
        page(
            all.map(|(k, s)| (k.device.clone(), s.clone())).collect(),
            cursor,
            limit,
        )
    }
}

#[async_trait]
impl Lists for Double {
    async fn members(
        &self,
        tenant: &TenantId,
        list: &ListName,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<Member>, StoreError> {
        let kept = self.well()?;
        let members = kept.lists.get(&(tenant.clone(), list.clone()));
        let members = members.into_iter().flatten();
        let all = members.map(|((score, device), text)| Member {
            device: device.clone(),
            score: *score,
            text: text.clone(),
        });
        page(all.collect(), cursor, limit)
    }

    async fn find(
        &self,
        tenant: &TenantId,
        list: &ListName,
        devices: &[DeviceId],
    ) -> Result<Vec<Option<Member>>, StoreError> {
        let all = self.members(tenant, list, None, usize::MAX / 2).await?;
        let find = |d: &DeviceId| all.items.iter().find(|m| m.device == *d).cloned();
        Ok(devices.iter().map(find).collect())
    }

    async fn first(
        &self,
        tenant: &TenantId,
        list: &ListName,
        limit: usize,
    ) -> Result<Vec<Member>, StoreError> {
        Ok(self.members(tenant, list, None, limit).await?.items)
    }

    async fn drop_list(&self, tenant: &TenantId, list: &ListName) -> Result<(), StoreError> {
        self.well()?.lists.remove(&(tenant.clone(), list.clone()));
        Ok(())
    }
}

#[async_trait]
impl Tally for Double {
    async fn counters(
        &self,
        tenant: &TenantId,
        prefix: &str,
    ) -> Result<BTreeMap<String, i64>, StoreError> {
        let kept = self.well()?;
        let counters = kept.counters.get(tenant).into_iter().flatten();
        let wanted = counters.filter(|(name, _)| name.starts_with(prefix));
        Ok(wanted.map(|(name, n)| (name.clone(), *n)).collect())
    }

    async fn drop_counters(&self, tenant: &TenantId, prefix: &str) -> Result<(), StoreError> {
        if let Some(counters) = self.well()?.counters.get_mut(tenant) {
            counters.retain(|name, _| !name.starts_with(prefix));
        }
        Ok(())
    }
}

#[async_trait]
impl Feed for Double {
    async fn events(
        &self,
        tenant: &TenantId,
        after: &After,
        limit: usize,
    ) -> Result<(Vec<Entry>, Cursor), FeedError> {
        let kept = self.well()?;
        let trimmed = kept.trimmed.get(tenant).copied().unwrap_or(0);
        let all = kept.feeds.get(tenant).map_or(&[][..], Vec::as_slice);
        let start = match after {
            After::Oldest => trimmed,
            After::Newest => all.len(),
            After::Cursor(Cursor(text)) => {
                let number = text.strip_prefix("e").and_then(|n| n.parse().ok());
                number.ok_or(FeedError::UnknownCursor)?
            }
        };
        if start < trimmed {
            return Err(FeedError::Trimmed);
        }
        let found = all.iter().enumerate().skip(start).take(limit);
        let entries: Vec<Entry> = found
            .map(|(i, json)| Entry {
                id: Cursor(format!("e{}", i + 1)),
                json: json.clone(),
            })
            .collect();
        let end = start + entries.len();
        Ok((entries, Cursor(format!("e{end}"))))
    }

    async fn append(&self, tenant: &TenantId, events: Vec<Event>) -> Result<(), StoreError> {
        let mut kept = self.well()?;
        let feed = kept.feeds.entry(tenant.clone()).or_default();
        feed.extend(
            events
                .iter()
                .map(|e| Bytes::from(e.to_json(tenant).to_string())),
        );
        drop(kept);
        self.appended.send_modify(|n| *n += 1);
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
impl Documents for Double {
    async fn get(&self, name: &str) -> Result<Option<Document>, StoreError> {
        let now = self.clock.now();
        let kept = self.well()?;
        let alive = kept
            .documents
            .get(name)
            .filter(|(_, end)| end.is_none_or(|end| end > now));
        Ok(alive.map(|(document, _)| document.clone()))
    }

    async fn put(
        &self,
        name: &str,
        bytes: Bytes,
        precondition: Precondition,
        ttl: Option<Duration>,
    ) -> Result<Put, StoreError> {
        let now = self.clock.now();
        let mut kept = self.well()?;
        let alive = kept
            .documents
            .get(name)
            .filter(|(_, end)| end.is_none_or(|end| end > now));
        let found = alive.map(|(document, _)| document.clone());
        let fits = match precondition {
            Precondition::Absent => found.is_none(),
            Precondition::Version(version) => found.as_ref().is_some_and(|d| d.version == version),
            Precondition::Any => true,
        };
        if !fits {
            return Ok(Put::Conflict(found));
        }
        kept.versions += 1;
        let version = kept.versions;
        let end = ttl.map(|ttl| now + ttl);
        kept.documents
            .insert(name.to_owned(), (Document { version, bytes }, end));
        drop(kept);
        if ttl.is_none() {
            self.changed.send_modify(|n| *n += 1);
        }
        Ok(Put::Done(version))
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.well()?.documents.remove(name);
        self.changed.send_modify(|n| *n += 1);
        Ok(())
    }

    async fn list(
        &self,
        prefix: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<(String, Document)>, StoreError> {
        let kept = self.well()?;
        let found = kept
            .documents
            .iter()
            .filter(|(name, _)| name.starts_with(prefix));
        let all = found.map(|(name, (document, _))| (name.clone(), document.clone()));
        page(all.collect(), cursor, limit)
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

#[async_trait]
impl Queues for Double {
    async fn ready(&self) -> Result<Vec<Ready>, StoreError> {
        Ok(Vec::new())
    }

    async fn claim(&self, _: &[Want]) -> Result<Vec<Claimed>, StoreError> {
        Ok(Vec::new())
    }

    async fn hand_back(&self, _: Vec<(DeviceKey, Lease, Timestamp)>) -> Result<(), StoreError> {
        Ok(())
    }

    fn wakes(&self) -> broadcast::Receiver<Wake> {
        self.wakes.subscribe()
    }

    async fn park(&self, selector: &Selector) -> Result<(), StoreError> {
        self.well()?.parked.insert(selector.clone());
        Ok(())
    }

    async fn unpark(&self, selector: &Selector) -> Result<(), StoreError> {
        self.well()?.parked.remove(selector);
        Ok(())
    }

    async fn browse(
        &self,
        _: &Queue,
        _: Option<&str>,
        _: usize,
    ) -> Result<Page<(DeviceId, Stored)>, StoreError> {
        page(Vec::new(), None, 1)
    }

    async fn census(&self) -> Result<Vec<(Ready, u64)>, StoreError> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Leases for Double {
    async fn hold(&self, _: &str, _: &str, _: Duration) -> Result<Option<u64>, StoreError> {
        Ok(Some(1))
    }

    async fn release(&self, _: &str, _: &str) -> Result<(), StoreError> {
        Ok(())
    }
}

#[async_trait]
impl Shares for Double {
    async fn renew(
        &self,
        _: &str,
        requests: &[ShareRequest],
        _: Duration,
    ) -> Result<Vec<Share>, StoreError> {
        let share = |request: &ShareRequest| Share {
            app: request.app.clone(),
            per_second: request.pace_per_second,
        };
        Ok(requests.iter().map(share).collect())
    }
}

#[async_trait]
impl Probe for Double {
    async fn probe(&self) -> Result<StoreHealth, StoreError> {
        drop(self.well()?);
        Ok(StoreHealth {
            description: "a map in memory".to_owned(),
            durability: "nothing survives the process".to_owned(),
            warnings: Vec::new(),
        })
    }

    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
