//! Short words for keys, queues and items, so that a case reads as given, when, then.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use jiff::Timestamp;
use reveille::{
    domain::{
        counter::{Counter, Moves},
        event::{Event, EventKind},
        id::{CampaignId, DeviceId, DeviceKey, TenantId},
        queue::{Due, Flow, Lane, Queue},
        record::Revision,
    },
    ports::{
        Store,
        queues::{Claimed, Want},
        records::{
            Change, Committed, Expect, Item, Lease, ListMove, ListName, Placement, Stored, Urgency,
        },
    },
};

/// The tenant of most cases.
pub(crate) fn contoso() -> TenantId {
    tenant("contoso")
}

pub(crate) fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

pub(crate) fn device(name: &str) -> DeviceId {
    DeviceId::new(name).unwrap()
}

pub(crate) fn campaign(name: &str) -> CampaignId {
    CampaignId::new(name).unwrap()
}

/// A device of contoso.
pub(crate) fn key(name: &str) -> DeviceKey {
    DeviceKey::new(contoso(), device(name))
}

/// `count` devices of contoso.
pub(crate) fn keys(count: usize) -> Vec<DeviceKey> {
    (0..count).map(|n| key(&format!("d{n:04}"))).collect()
}

/// A queue of contoso's direct requests.
pub(crate) fn direct(lane: Lane) -> Queue {
    let (tenant, flow) = (contoso(), Flow::Direct);
    Queue { tenant, lane, flow }
}

/// A queue of one of contoso's campaigns.
pub(crate) fn flow_of(name: &str, lane: Lane) -> Queue {
    let (tenant, flow) = (contoso(), Flow::Campaign(campaign(name)));
    Queue { tenant, lane, flow }
}

/// The bytes that [`create`] and [`replace`] put under a revision.
pub(crate) fn bytes_of(revision: u32) -> Bytes {
    Bytes::from(format!("record {revision}"))
}

pub(crate) fn stored(revision: u32) -> Stored {
    let (revision, bytes) = (Revision(revision), bytes_of(revision));
    Stored { revision, bytes }
}

pub(crate) fn item(key: &DeviceKey, expect: Expect, change: Change) -> Item {
    Item {
        key: key.clone(),
        expect,
        lease: None,
        change,
        placement: Placement::default(),
        moves: Moves::default(),
        lists: Vec::new(),
        events: Vec::new(),
    }
}

/// A first record.
pub(crate) fn create(key: &DeviceKey, revision: u32) -> Item {
    let change = Change::Put(Revision(revision), bytes_of(revision));
    item(key, Expect::Absent, change)
}

/// Another record in place of revision `old`.
pub(crate) fn replace(key: &DeviceKey, old: u32, new: u32) -> Item {
    let change = Change::Put(Revision(new), bytes_of(new));
    item(key, Expect::Revision(Revision(old)), change)
}

pub(crate) fn delete(key: &DeviceKey, old: u32) -> Item {
    item(key, Expect::Revision(Revision(old)), Change::Delete)
}

/// Nothing for the record, whose revision must be `old`.
pub(crate) fn keep(key: &DeviceKey, old: u32) -> Item {
    item(key, Expect::Revision(Revision(old)), Change::Keep)
}

/// Puts the device into a list it is not yet in.
pub(crate) fn enlist(key: &DeviceKey, list: &ListName, score: i64, text: &str) -> Item {
    let expect = Expect::NotListed(list.clone());
    item(key, expect, Change::Keep).listed(list, score, text)
}

/// Adds one part to an item.
pub(crate) trait ItemParts {
    fn from(self, queue: &Queue) -> Self;
    fn to(self, queue: &Queue, at: Timestamp) -> Self;
    fn under(self, lease: &Lease) -> Self;
    fn moving(self, counter: Counter, by: i64) -> Self;
    fn saying(self, event: Event) -> Self;
    fn listed(self, list: &ListName, score: i64, text: &str) -> Self;
    fn unlisted(self, list: &ListName) -> Self;
}

impl ItemParts for Item {
    fn from(mut self, queue: &Queue) -> Self {
        self.placement.from = Some(queue.clone());
        self
    }

    fn to(mut self, queue: &Queue, at: Timestamp) -> Self {
        let queue = queue.clone();
        self.placement.to = Some(Due { queue, at });
        self
    }

    fn under(mut self, lease: &Lease) -> Self {
        self.lease = Some(lease.clone());
        self
    }

    fn moving(mut self, counter: Counter, by: i64) -> Self {
        self.moves.add(counter, by);
        self
    }

    fn saying(mut self, event: Event) -> Self {
        self.events.push(event);
        self
    }

    fn listed(mut self, list: &ListName, score: i64, text: &str) -> Self {
        let (list, text) = (list.clone(), text.to_owned());
        self.lists.push(ListMove::Put { list, score, text });
        self
    }

    fn unlisted(mut self, list: &ListName) -> Self {
        let list = list.clone();
        self.lists.push(ListMove::Remove { list });
        self
    }
}

/// An event that says which one it is.
pub(crate) fn event(key: &DeviceKey, number: u64) -> Event {
    let time = Timestamp::from_second(1_790_000_000).unwrap();
    Event::of_device(EventKind::PushClosed, time, &key.device).with("number", number)
}

/// Commits without fence.
pub(crate) async fn commit(store: &Arc<dyn Store>, items: Vec<Item>) -> Vec<Committed> {
    store.commit(items, Urgency::Open, None).await.unwrap()
}

/// Commits and expects that all is applied.
pub(crate) async fn apply(store: &Arc<dyn Store>, items: Vec<Item>) {
    let count = items.len();
    assert_eq!(commit(store, items).await, vec![Committed::Done; count]);
}

/// Commits one item.
pub(crate) async fn commit_one(store: &Arc<dyn Store>, item: Item) -> Committed {
    commit(store, vec![item]).await.remove(0)
}

/// The record of one device.
pub(crate) async fn read_one(store: &Arc<dyn Store>, key: &DeviceKey) -> Option<Stored> {
    store
        .read(std::slice::from_ref(key))
        .await
        .unwrap()
        .remove(0)
}

/// Claims from one queue.
pub(crate) async fn claim(store: &Arc<dyn Store>, queue: &Queue, limit: usize) -> Vec<Claimed> {
    let queue = queue.clone();
    store.claim(&[Want { queue, limit }]).await.unwrap()
}

/// Claims the one entry that is due.
pub(crate) async fn claim_one(store: &Arc<dyn Store>, queue: &Queue) -> Claimed {
    let mut claimed = claim(store, queue, 256).await;
    assert_eq!(claimed.len(), 1, "one entry of {queue} is due");
    claimed.remove(0)
}

/// One counter of contoso; zero if it is missing.
pub(crate) async fn count(store: &Arc<dyn Store>, counter: &Counter) -> i64 {
    let name = counter.to_string();
    let all = store.counters(&contoso(), &name).await.unwrap();
    all.get(&name).copied().unwrap_or(0)
}

/// What comes within a generous time, for what another broker announces.
pub(crate) async fn soon<T>(coming: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(10);
    tokio::time::timeout(limit, coming)
        .await
        .expect("announced in time")
}

/// Every page of something, joined; gives up on a cursor that leads nowhere.
pub(crate) async fn all_pages<T, F, P>(mut page: F) -> Vec<T>
where
    F: FnMut(Option<String>) -> P,
    P: Future<Output = reveille::ports::records::Page<T>>,
{
    let (mut all, mut cursor) = (Vec::new(), None);
    for _ in 0..100_000 {
        let mut next = page(cursor.take()).await;
        all.append(&mut next.items);
        cursor = next.next;
        let Some(text) = &cursor else { return all };
        assert!(text.len() <= 256 && text.bytes().all(|b| (b' '..=b'~').contains(&b)));
    }
    panic!("the pages have no end");
}
