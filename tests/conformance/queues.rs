//! Cases of the queues port: claims, what is ready, wakes, browsing.

use std::{collections::HashSet, sync::Arc, time::Instant};

use futures_util::future::join_all;
use jiff::Timestamp;
use reveille::{
    domain::{
        id::DeviceKey,
        queue::{Lane, Queue},
    },
    ports::{
        Store,
        error::StoreError,
        queues::{Ready, Wake, Want},
    },
};
use tokio::sync::broadcast::{Receiver, error::TryRecvError};

use crate::{backend::Backend, items::*};

/// Creates devices that wait in `queue`, all due at `at`.
async fn open(store: &Arc<dyn Store>, keys: &[DeviceKey], queue: &Queue, at: Timestamp) {
    for part in keys.chunks(256) {
        apply(
            store,
            part.iter().map(|k| create(k, 1).to(queue, at)).collect(),
        )
        .await;
    }
}

pub(crate) async fn claim_takes_each_entry_once(b: &mut dyn Backend) {
    let (store, now, queue) = (b.store(), b.now().await, direct(Lane::Normal));
    let keys = keys(500);
    open(&store, &keys, &queue, now).await;

    let mut taken = Vec::new();
    for broker in [b.store(), b.other(), b.store()] {
        taken.extend(claim(&broker, &queue, 256).await);
    }

    assert_eq!(taken.len(), 500);
    let distinct: HashSet<_> = taken.iter().map(|c| c.key.clone()).collect();
    assert_eq!(distinct, keys.into_iter().collect());
    assert!(
        taken
            .iter()
            .all(|c| c.stored == stored(1) && c.lease.queue == queue)
    );
    assert_eq!(claim(&store, &queue, 256).await, vec![]);
}

pub(crate) async fn concurrent_claims_never_share_an_entry(b: &mut dyn Backend) {
    let (store, now, queue) = (b.store(), b.now().await, direct(Lane::Normal));
    let keys = keys(400);
    open(&store, &keys, &queue, now).await;

    let brokers = (0..40).map(|n| if n % 2 == 0 { b.store() } else { b.other() });
    let claims = brokers.map(|broker| {
        let queue = queue.clone();
        async move { timed_claim(&broker, &queue, 10).await }
    });
    let mut taken = join_all(claims).await.concat();
    // Where claims meet, one may come back short of its limit; nothing stays behind for good.
    let held = |taken: &[Timed]| {
        let keys = taken.iter().map(|(_, _, key)| key.clone());
        keys.collect::<HashSet<_>>().len()
    };
    while held(&taken) < keys.len() {
        let more = timed_claim(&store, &queue, 256).await;
        assert!(!more.is_empty(), "{} were claimed", held(&taken));
        taken.extend(more);
    }

    // A lease may end before so many claims do, on a slow machine.
    for (n, (asked, answered, key)) in taken.iter().enumerate() {
        for (asked_too, answered_too, _) in taken[n + 1..].iter().filter(|(.., too)| too == key) {
            let apart = answered.duration_since(*asked_too);
            let apart = apart.max(answered_too.duration_since(*asked));
            assert!(apart >= b.lease(), "{key:?} is held twice");
        }
    }
}

/// A device that was claimed between these moments.
type Timed = (Instant, Instant, DeviceKey);

async fn timed_claim(store: &Arc<dyn Store>, queue: &Queue, limit: usize) -> Vec<Timed> {
    let asked = Instant::now();
    let claimed = claim(store, queue, limit).await;
    let answered = Instant::now();
    let held = claimed.into_iter().map(|c| (asked, answered, c.key));
    held.collect()
}

pub(crate) async fn claim_takes_only_what_is_due_and_the_earliest_first(b: &mut dyn Backend) {
    let (store, now, queue) = (b.store(), b.now().await, direct(Lane::Normal));
    let (tick, day) = (b.tick(), std::time::Duration::from_secs(86_400));
    let items = vec![
        create(&key("third"), 1).to(&queue, now),
        create(&key("first"), 1).to(&queue, now - day),
        create(&key("later"), 1).to(&queue, now + tick * 4),
        create(&key("second"), 1).to(&queue, now - tick),
        create(&key("much-later"), 1).to(&queue, now + day),
    ];
    apply(&store, items).await;

    let taken = claim(&store, &queue, 256).await;

    let mut names: Vec<_> = taken.iter().map(|c| c.key.device.as_str()).collect();
    if b.shards() > 1 {
        names.sort_unstable_by_key(|n| ["first", "second", "third"].iter().position(|x| x == n));
    }
    assert_eq!(names, ["first", "second", "third"]);
    b.pass(tick * 5).await;
    assert_eq!(claim_one(&store, &queue).await.key, key("later"));
}

pub(crate) async fn claim_serves_each_want_up_to_its_limit(b: &mut dyn Backend) {
    let (store, now) = (b.store(), b.now().await);
    let (urgent, bulk) = (direct(Lane::Urgent), flow_of("c", Lane::Bulk));
    let keys = keys(60);
    open(&store, &keys[..30], &urgent, now).await;
    open(&store, &keys[30..], &bulk, now).await;

    let wants = [
        (&urgent, 20),
        (&flow_of("nobody", Lane::Bulk), 5),
        (&bulk, 10),
    ];
    let wants = wants.map(|(queue, limit)| Want {
        queue: queue.clone(),
        limit,
    });
    let taken = store.claim(&wants).await.unwrap();

    let of = |queue: &Queue| taken.iter().filter(|c| c.lease.queue == *queue).count();
    assert_eq!((of(&urgent), of(&bulk), taken.len()), (20, 10, 30));
}

pub(crate) async fn a_claim_carries_the_record_as_it_is_now(b: &mut dyn Backend) {
    let (store, now, queue) = (b.store(), b.now().await, direct(Lane::Normal));
    open(&store, &[key("a")], &queue, now).await;
    apply(
        &store,
        vec![replace(&key("a"), 1, 2).from(&queue).to(&queue, now)],
    )
    .await;
    apply(&store, vec![replace(&key("a"), 2, 3)]).await;

    assert_eq!(claim_one(&store, &queue).await.stored, stored(3));
}

pub(crate) async fn an_ended_lease_makes_the_entry_due_again(b: &mut dyn Backend) {
    let (store, now, queue) = (b.store(), b.now().await, direct(Lane::Normal));
    open(&store, &keys(3), &queue, now).await;
    let former = claim(&store, &queue, 256).await;
    assert_eq!(claim(&b.other(), &queue, 256).await, vec![]);

    b.pass(b.lease() + b.tick()).await;
    let again = claim(&b.other(), &queue, 256).await;

    assert_eq!(again.len(), 3);
    let leases = former.iter().chain(&again).map(|c| (&c.key, c.lease.token));
    assert_eq!(leases.collect::<HashSet<_>>().len(), 6);
}

pub(crate) async fn no_device_has_a_token_twice(b: &mut dyn Backend) {
    let (now, queue) = (b.now().await, direct(Lane::Normal));
    open(&b.store(), &keys(100), &queue, now).await;
    let mut leases = HashSet::new();
    for _ in 0..3 {
        let taken = claim(&b.store(), &queue, 256).await;
        assert_eq!(taken.len(), 100);
        assert!(
            taken
                .into_iter()
                .all(|c| leases.insert((c.key, c.lease.token)))
        );

        b.crash().await;
        b.pass(b.lease() + b.tick()).await;
    }
}

pub(crate) async fn claims_of_a_crashed_broker_are_due_again(b: &mut dyn Backend) {
    let (now, queue) = (b.now().await, direct(Lane::Normal));
    open(&b.store(), &keys(10), &queue, now).await;
    let lost = claim(&b.store(), &queue, 4).await;
    b.crash().await;
    b.pass(b.lease() + b.tick()).await;

    assert_eq!(claim(&b.store(), &queue, 256).await.len(), 10);

    let late = replace(&lost[0].key, 1, 2).under(&lost[0].lease);
    let answer = commit_one(&b.store(), late).await;
    let refused = reveille::ports::records::Committed::LeaseLost(Some(stored(1)));
    assert_eq!(answer, refused);
}

// === ready and census ===

async fn ready_of(store: &Arc<dyn Store>, queue: &Queue) -> Option<Ready> {
    let ready = store.ready().await.unwrap();
    ready.into_iter().find(|r| r.queue == *queue)
}

pub(crate) async fn ready_tells_when_each_queue_is_due(b: &mut dyn Backend) {
    let (store, now) = (b.store(), b.now().await);
    let (urgent, bulk) = (direct(Lane::Urgent), flow_of("c", Lane::Bulk));
    open(&store, &[key("a")], &urgent, now + b.tick() * 9).await;
    open(&store, &[key("b")], &urgent, now + b.tick() * 5).await;
    open(&store, &[key("c")], &bulk, now - b.tick()).await;

    let mut ready = store.ready().await.unwrap();

    ready.sort_by(|x, y| x.queue.cmp(&y.queue));
    let found: Vec<_> = ready
        .iter()
        .map(|r| (&r.queue, r.earliest.as_millisecond()))
        .collect();
    let (first, second) = (now + b.tick() * 5, now - b.tick());
    let wanted = [
        (&urgent, first.as_millisecond()),
        (&bulk, second.as_millisecond()),
    ];
    assert_eq!(found, wanted);
}

pub(crate) async fn a_claimed_entry_is_ready_when_its_lease_ends(b: &mut dyn Backend) {
    let (store, now, queue) = (b.store(), b.now().await, direct(Lane::Normal));
    open(&store, &[key("a")], &queue, now).await;

    let claimed = claim_one(&store, &queue).await;

    let before = b.now().await;
    let earliest = ready_of(&store, &queue).await.unwrap().earliest;
    assert!(earliest > before && earliest <= before + b.lease() + b.tick());
    apply(&store, vec![replace(&key("a"), 1, 2).under(&claimed.lease)]).await;
    assert_eq!(ready_of(&store, &queue).await, None);
}

pub(crate) async fn census_counts_every_queue(b: &mut dyn Backend) {
    let (store, now) = (b.store(), b.now().await);
    let (timer, bulk) = (direct(Lane::Timer), flow_of("c", Lane::Bulk));
    let keys = keys(50);
    open(&store, &keys[..20], &timer, now + b.tick() * 3).await;
    open(&store, &keys[20..], &bulk, now).await;
    claim(&store, &bulk, 7).await;

    let census = store.census().await.unwrap();

    let sizes = census.into_iter();
    let sizes: HashSet<_> = sizes
        .map(|held| (held.ready.queue, held.entries, held.due))
        .collect();
    assert_eq!(sizes, HashSet::from([(timer, 20, 0), (bulk, 30, 23)]));
}

pub(crate) async fn what_was_held_when_it_was_moved_is_moved_by_the_next_change(
    b: &mut dyn Backend,
) {
    let (store, now, key) = (b.store(), b.now().await, key("a"));
    let (former, own) = (direct(Lane::Normal), direct(Lane::Urgent));
    open(&store, std::slice::from_ref(&key), &former, now).await;
    claim_one(&store, &former).await;
    let merged = replace(&key, 1, 2).from(&former).to(&own, now);
    apply(&store, vec![merged]).await;
    b.pass(b.lease() + b.tick()).await;

    let unchanged = replace(&key, 2, 3).from(&own).to(&own, now);
    apply(&store, vec![unchanged]).await;

    assert_eq!(claim(&store, &former, 1).await, vec![]);
    assert_eq!(claim_one(&store, &own).await.key, key);
}

// === hand back ===

pub(crate) async fn what_is_handed_back_is_due_at_the_given_time(b: &mut dyn Backend) {
    let (store, now, queue) = (b.store(), b.now().await, direct(Lane::Normal));
    open(&store, &keys(2), &queue, now).await;
    let taken = claim(&store, &queue, 2).await;
    let times = [now, now + b.tick() * 4];

    let back = taken.iter().zip(times);
    let back = back.map(|(c, at)| (c.key.clone(), c.lease.clone(), at));
    store.hand_back(back.collect()).await.unwrap();

    assert_eq!(claim_one(&store, &queue).await.key, taken[0].key);
    b.pass(b.tick() * 5).await;
    assert_eq!(claim_one(&store, &queue).await.key, taken[1].key);
}

pub(crate) async fn what_is_not_held_any_more_is_not_handed_back(b: &mut dyn Backend) {
    let (store, now, queue) = (b.store(), b.now().await, direct(Lane::Normal));
    open(&store, &[key("a"), key("b")], &queue, now).await;
    let former = claim(&store, &queue, 2).await;
    b.pass(b.lease() + b.tick()).await;
    let holder = claim(&store, &queue, 2).await;
    let gone = delete(&holder[1].key, 1).under(&holder[1].lease);
    apply(&store, vec![gone]).await;

    let mut back: Vec<_> = former.into_iter().map(|c| (c.key, c.lease, now)).collect();
    back.push((key("nobody"), holder[0].lease.clone(), now));
    store.hand_back(back).await.unwrap();

    assert_eq!(claim(&store, &queue, 2).await, vec![]);
    let settle = replace(&holder[0].key, 1, 2).under(&holder[0].lease);
    apply(&store, vec![settle]).await;
}

// === wakes ===

/// The next wake is that of `queue` at `earliest`.
async fn expect_wake(wakes: &mut Receiver<Wake>, queue: &Queue, earliest: Timestamp) {
    let wake = soon(wakes.recv()).await.unwrap();
    assert_eq!(wake.queue, *queue);
    assert_eq!(wake.earliest.as_millisecond(), earliest.as_millisecond());
}

pub(crate) async fn a_wake_tells_that_a_queue_is_due_earlier(b: &mut dyn Backend) {
    let (store, now) = (b.store(), b.now().await);
    let (first, second) = (direct(Lane::Normal), direct(Lane::Urgent));
    let mut wakes = b.other().wakes();
    let at = |ticks: u32| now + b.tick() * ticks;

    // A cluster's servers tell of their shards in no order, so each wake is awaited before the next is caused.
    open(&store, &[key("a")], &first, at(50)).await;
    expect_wake(&mut wakes, &first, at(50)).await;
    open(&store, &[key("b")], &first, at(60)).await;
    open(&store, &[key("c")], &first, at(40)).await;
    expect_wake(&mut wakes, &first, at(40)).await;
    open(&store, &[key("d")], &second, at(90)).await;
    expect_wake(&mut wakes, &second, at(90)).await;
}

pub(crate) async fn a_hand_back_wakes(b: &mut dyn Backend) {
    let (store, now, queue) = (b.store(), b.now().await, direct(Lane::Normal));
    open(&store, &[key("a")], &queue, now).await;
    let claimed = claim_one(&store, &queue).await;
    let mut wakes = b.other().wakes();

    let back = vec![(claimed.key, claimed.lease, now)];
    store.hand_back(back).await.unwrap();

    expect_wake(&mut wakes, &queue, now).await;
}

pub(crate) async fn nothing_wakes_without_a_change(b: &mut dyn Backend) {
    let (store, now, queue) = (b.store(), b.now().await, direct(Lane::Normal));
    open(&store, &[key("a")], &queue, now).await;
    let mut wakes = store.wakes();

    claim_one(&store, &queue).await;
    store.ready().await.unwrap();
    apply(&store, vec![create(&key("b"), 1)]).await;

    assert_eq!(wakes.try_recv().unwrap_err(), TryRecvError::Empty);
}

// === browse ===

async fn browse_all(store: &Arc<dyn Store>, queue: &Queue, limit: usize) -> HashSet<String> {
    let found = all_pages(|cursor| async move {
        let page = store.browse(queue, cursor.as_deref(), limit).await;
        page.unwrap()
    });
    let found = found.await;
    assert!(found.iter().all(|(_, s)| *s == stored(1)));
    found.into_iter().map(|(d, _)| d.to_string()).collect()
}

pub(crate) async fn browse_shows_a_queue_with_its_records(b: &mut dyn Backend) {
    let (store, now, queue) = (b.store(), b.now().await, flow_of("c", Lane::Bulk));
    let keys = keys(120);
    open(&store, &keys[..100], &queue, now).await;
    open(&store, &keys[100..], &direct(Lane::Bulk), now).await;
    claim(&store, &queue, 9).await;

    for limit in [1_024, 7] {
        let found = browse_all(&store, &queue, limit).await;
        let wanted = keys[..100].iter().map(|k| k.device.to_string());
        assert_eq!(found, wanted.collect());
    }
    assert_eq!(browse_all(&store, &direct(Lane::Urgent), 7).await.len(), 0);
}

pub(crate) async fn browse_refuses_a_cursor_of_another_kind(b: &mut dyn Backend) {
    let (store, now, queue) = (b.store(), b.now().await, direct(Lane::Bulk));
    open(&store, &[key("a")], &queue, now).await;
    for cursor in ["", "garbage", "-1", "99999999999999999999999"] {
        let answer = store.browse(&queue, Some(cursor), 10).await;
        assert!(
            matches!(answer, Err(StoreError::Damaged { .. })),
            "{cursor}"
        );
    }
}
