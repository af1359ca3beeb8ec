//! The embedded store through its ports: register, read and open, claim, settle, restart.

use std::{path::Path, sync::Arc};

use futures_util::future::join_all;
use jiff::Timestamp;
use reveille::{
    adapters::{
        clock::SystemClock,
        embedded::{EmbeddedOptions, EmbeddedStore},
    },
    domain::{
        ask::Class,
        channel::ChannelKind,
        counter::{Counter, Moves},
        id::{DeviceId, DeviceKey, TenantId},
        queue::{Due, Flow, Lane, Queue},
        record::Revision,
    },
    ports::{
        error::Probe,
        queues::{Queues, Want},
        records::{Change, Committed, Expect, Item, Placement, Records, Urgency},
    },
};

use crate::{Plan, device_name, record, shuffled, step};

fn open(folder: &Path) -> Arc<EmbeddedStore> {
    let options = EmbeddedOptions::new(folder.to_owned(), Arc::new(SystemClock));
    EmbeddedStore::open(options).expect("a store")
}

pub(crate) fn measure(plan: &Plan, folder: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let store = open(folder);
    let count = plan.devices;
    step("register", count, || {
        runtime.block_on(each_batch(plan, 1, |part| register(&store, part)));
    });
    step("read and open", count, || {
        runtime.block_on(each_batch(plan, 2, |part| read_and_open(&store, part)));
    });
    step("claim and settle", count, || {
        runtime.block_on(claim_and_settle(plan, &store));
    });
    runtime.block_on(store.close()).expect("closed");
    drop(store);
    let store = step("restart", count, || open(folder));
    step("read and open, claim and settle at once", count, || {
        let opening = each_batch(plan, 3, |part| read_and_open(&store, part));
        let settling = claim_and_settle(plan, &store);
        runtime.block_on(async { futures_util::join!(opening, settling) });
    });
    step("read and open again", count, || {
        runtime.block_on(each_batch(plan, 4, |part| read_and_open(&store, part)));
    });
}

/// Deals batches of a random order to the callers.
async fn each_batch<'a, F, W>(plan: &Plan, seed: u64, work: F)
where
    F: Fn(Vec<u32>) -> W + 'a,
    W: Future<Output = ()> + 'a,
{
    let order = shuffled(plan.devices, seed);
    let batches = std::cell::RefCell::new(order.chunks(plan.batch));
    let caller = |_| async {
        loop {
            let Some(batch) = batches.borrow_mut().next() else {
                return;
            };
            work(batch.to_vec()).await;
        }
    };
    join_all((0..plan.callers).map(caller)).await;
}

fn key(n: u32) -> DeviceKey {
    let tenant = TenantId::new("contoso").expect("an id");
    DeviceKey::new(tenant, DeviceId::new(&device_name(n)).expect("an id"))
}

fn queue() -> Queue {
    Queue {
        tenant: TenantId::new("contoso").expect("an id"),
        lane: Lane::Normal,
        flow: Flow::Direct,
    }
}

fn item(key: DeviceKey, expect: Expect, revision: u32, bytes: String) -> Item {
    Item {
        key,
        expect,
        lease: None,
        change: Change::Put(Revision(revision), bytes.into()),
        placement: Placement::default(),
        moves: Moves::default(),
        lists: Vec::new(),
        events: Vec::new(),
    }
}

async fn commit(store: &EmbeddedStore, items: Vec<Item>, urgency: Urgency) {
    let answers = store.commit(items, urgency, None).await.expect("committed");
    assert!(answers.iter().all(|a| *a == Committed::Done));
}

async fn register(store: &EmbeddedStore, part: Vec<u32>) {
    let items = part.into_iter().map(|n| {
        let mut item = item(key(n), Expect::Absent, 1, record(n, false));
        item.moves.add(Counter::Channels(ChannelKind::Live), 1);
        item.moves.add(Counter::expiring(Timestamp::UNIX_EPOCH), 1);
        item
    });
    commit(store, items.collect(), Urgency::Open).await;
}

async fn read_and_open(store: &EmbeddedStore, part: Vec<u32>) {
    let keys: Vec<_> = part.iter().map(|n| key(*n)).collect();
    let found = store.read(&keys).await.expect("read");
    let (queue, at) = (queue(), Timestamp::UNIX_EPOCH);
    let items = part
        .into_iter()
        .zip(keys)
        .zip(found)
        .map(|((n, key), stored)| {
            let Revision(old) = stored.expect("registered").revision;
            let mut item = item(
                key,
                Expect::Revision(Revision(old)),
                old + 1,
                record(n, true),
            );
            let queue = queue.clone();
            item.placement.to = Some(Due { queue, at });
            item.moves.add(Counter::Pushes(Class::Normal), 1);
            item
        });
    commit(store, items.collect(), Urgency::Open).await;
}

async fn claim_and_settle(plan: &Plan, store: &EmbeddedStore) {
    let settled = std::cell::Cell::new(0);
    let caller = |_| async {
        while settled.get() < plan.devices {
            let (queue, limit) = (queue(), plan.batch.min(256));
            let claimed = store
                .claim(&[Want { queue, limit }])
                .await
                .expect("claimed");
            if claimed.is_empty() {
                tokio::task::yield_now().await;
                continue;
            }
            settled.set(settled.get() + u32::try_from(claimed.len()).expect("a batch"));
            let items = claimed.into_iter().map(|claimed| {
                let Revision(old) = claimed.stored.revision;
                let closed = "\na|1790000000000|accepted|1|3D2F1A7B|DB5SCH101|Kx8aZ0yq.1";
                let bytes = [&claimed.stored.bytes[..290], closed.as_bytes()].concat();
                let expect = Expect::Revision(Revision(old));
                let mut item = item(claimed.key, expect, old + 1, String::new());
                item.change = Change::Put(Revision(old + 1), bytes.into());
                item.lease = Some(claimed.lease);
                item.moves.add(Counter::Pushes(Class::Normal), -1);
                item.moves.add(Counter::Closed("accepted"), 1);
                item
            });
            commit(store, items.collect(), Urgency::Settle).await;
        }
    };
    join_all((0..plan.callers).map(caller)).await;
}
