//! Cases of the records port: read, commit, scan, fences, room.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use futures_util::future::join_all;
use reveille::{
    domain::{
        ask::Class,
        channel::ChannelKind,
        counter::Counter,
        id::{DeviceKey, TenantId},
        queue::Lane,
        record::Revision,
    },
    ports::{
        Store,
        error::StoreError,
        feed::After,
        records::{BATCH_MAX, Change, Committed, Expect, Fence, ListName, Stored, Urgency},
    },
};

use crate::{backend::Backend, items::*};

pub(crate) async fn read_answers_each_key_in_order(b: &mut dyn Backend) {
    let store = b.store();
    apply(&store, vec![create(&key("a"), 1), create(&key("b"), 2)]).await;

    let asked = [key("b"), key("nobody"), key("a"), key("b")];
    let found = store.read(&asked).await.unwrap();

    let wanted = vec![Some(stored(2)), None, Some(stored(1)), Some(stored(2))];
    assert_eq!(found, wanted);
    assert_eq!(store.read(&[]).await.unwrap(), vec![]);
}

pub(crate) async fn records_come_back_byte_for_byte(b: &mut dyn Backend) {
    let store = b.store();
    let every_byte: Vec<u8> = (0..=255).collect();
    let contents = [
        Bytes::new(),
        Bytes::from(every_byte),
        Bytes::from(vec![b'\n'; 16_384]),
    ];
    for (n, bytes) in contents.into_iter().enumerate() {
        let key = key(&format!("d{n}"));
        let revision = Revision(u32::MAX - u32::try_from(n).unwrap());
        let change = Change::Put(revision, bytes.clone());

        apply(&store, vec![item(&key, Expect::Absent, change)]).await;

        assert_eq!(
            read_one(&store, &key).await,
            Some(Stored { revision, bytes })
        );
    }
}

pub(crate) async fn names_never_run_into_each_other(b: &mut dyn Backend) {
    let store = b.store();
    let long = "x".repeat(128);
    let names = [
        ("a", "b.c"),
        ("a.b", "c"),
        ("a", "b:c"),
        ("a", "B:c"),
        ("A", "b:c"),
        ("a-", "~@_"),
        ("a", long.as_str()),
    ];
    let keys: Vec<_> = names
        .iter()
        .map(|(t, d)| DeviceKey::new(tenant(t), device(d)))
        .collect();

    apply(
        &store,
        (1..).zip(&keys).map(|(n, k)| create(k, n)).collect(),
    )
    .await;

    let wanted: Vec<_> = (1..).zip(&keys).map(|(n, _)| Some(stored(n))).collect();
    assert_eq!(store.read(&keys).await.unwrap(), wanted);
}

pub(crate) async fn the_largest_batch_is_taken_whole(b: &mut dyn Backend) {
    let store = b.store();
    let keys = keys(BATCH_MAX);

    let answers = commit(&store, keys.iter().map(|k| create(k, 7)).collect()).await;

    assert_eq!(answers, vec![Committed::Done; BATCH_MAX]);
    assert_eq!(
        store.read(&keys).await.unwrap(),
        vec![Some(stored(7)); BATCH_MAX]
    );
    assert_eq!(commit(&store, vec![]).await, vec![]);
}

pub(crate) async fn absent_creates_once(b: &mut dyn Backend) {
    let store = b.store();
    apply(&store, vec![create(&key("a"), 1)]).await;

    let answer = commit_one(&store, create(&key("a"), 2)).await;

    assert_eq!(answer, Committed::Conflict(Some(stored(1))));
    assert_eq!(read_one(&store, &key("a")).await, Some(stored(1)));
}

pub(crate) async fn a_revision_is_replaced_once(b: &mut dyn Backend) {
    let store = b.store();
    apply(&store, vec![create(&key("a"), 1)]).await;
    apply(&store, vec![replace(&key("a"), 1, 2)]).await;

    let late = commit_one(&store, replace(&key("a"), 1, 3)).await;
    let unknown = commit_one(&store, replace(&key("nobody"), 1, 3)).await;

    assert_eq!(late, Committed::Conflict(Some(stored(2))));
    assert_eq!(unknown, Committed::Conflict(None));
    assert_eq!(read_one(&store, &key("nobody")).await, None);
}

pub(crate) async fn a_deleted_device_never_matches_an_old_revision(b: &mut dyn Backend) {
    let store = b.store();
    apply(&store, vec![create(&key("a"), 1)]).await;
    apply(&store, vec![delete(&key("a"), 1)]).await;
    assert_eq!(read_one(&store, &key("a")).await, None);

    let gone = commit_one(&store, replace(&key("a"), 1, 2)).await;
    apply(&store, vec![create(&key("a"), 3)]).await;
    let late = commit_one(&store, replace(&key("a"), 1, 4)).await;

    assert_eq!(gone, Committed::Conflict(None));
    assert_eq!(late, Committed::Conflict(Some(stored(3))));
}

pub(crate) async fn a_refused_item_leaves_the_others_applied(b: &mut dyn Backend) {
    let store = b.store();
    apply(&store, vec![create(&key("b"), 1)]).await;

    let items = vec![
        create(&key("a"), 2),
        create(&key("b"), 2),
        create(&key("c"), 2),
    ];
    let answers = commit(&store, items).await;

    let conflict = Committed::Conflict(Some(stored(1)));
    assert_eq!(answers, [Committed::Done, conflict, Committed::Done]);
    let found = store.read(&[key("a"), key("b"), key("c")]).await.unwrap();
    assert_eq!(found, [Some(stored(2)), Some(stored(1)), Some(stored(2))]);
}

pub(crate) async fn nothing_of_a_refused_item_is_applied(b: &mut dyn Backend) {
    let (store, now) = (b.store(), b.now().await);
    let (queue, list) = (direct(Lane::Urgent), ListName::Channels("dead"));
    apply(&store, vec![create(&key("a"), 1)]).await;

    let refused = replace(&key("a"), 9, 10)
        .to(&queue, now)
        .moving(Counter::Pushes(Class::Urgent), 1)
        .listed(&list, 5, "x")
        .saying(event(&key("a"), 1));
    let answer = commit_one(&store, refused).await;

    assert_eq!(answer, Committed::Conflict(Some(stored(1))));
    assert_eq!(claim(&store, &queue, 1).await, vec![]);
    assert_eq!(count(&store, &Counter::Pushes(Class::Urgent)).await, 0);
    let found = store.find(&contoso(), &list, &[device("a")]).await.unwrap();
    assert_eq!(found, [None]);
    let (events, _) = store.events(&contoso(), &After::Oldest, 10).await.unwrap();
    assert_eq!(events, []);
}

pub(crate) async fn a_second_item_of_one_device_conflicts(b: &mut dyn Backend) {
    let store = b.store();
    let counter = Counter::Channels(ChannelKind::Live);

    let first = create(&key("a"), 1).moving(counter.clone(), 1);
    let again = replace(&key("a"), 1, 2).moving(counter.clone(), 1);
    let answers = commit(&store, vec![first, again]).await;

    assert_eq!(answers[0], Committed::Done);
    assert!(matches!(answers[1], Committed::Conflict(_)), "{answers:?}");
    assert_eq!(read_one(&store, &key("a")).await, Some(stored(1)));
    assert_eq!(count(&store, &counter).await, 1);
}

pub(crate) async fn items_may_have_answers_of_their_own(b: &mut dyn Backend) {
    let store = b.store();
    apply(&store, vec![create(&key("a"), 1)]).await;

    let items = vec![
        create(&key("a"), 2),
        create(&key("b"), 1),
        create(&key("b"), 2),
        replace(&key("a"), 1, 3),
    ];
    let answers = store.commit_each(items, Urgency::Settle).await;

    let conflict = Ok(Committed::Conflict(Some(stored(1))));
    let done = Ok(Committed::Done);
    assert_eq!(
        answers,
        [&conflict, &done, &conflict, &conflict].map(Clone::clone)
    );
}

pub(crate) async fn keep_moves_counters_and_leaves_the_record(b: &mut dyn Backend) {
    let store = b.store();
    let counter = Counter::Closed("accepted");
    apply(&store, vec![create(&key("a"), 1)]).await;

    apply(&store, vec![keep(&key("a"), 1).moving(counter.clone(), 3)]).await;
    let refused = commit_one(&store, keep(&key("a"), 2).moving(counter.clone(), 3)).await;

    assert_eq!(refused, Committed::Conflict(Some(stored(1))));
    assert_eq!(read_one(&store, &key("a")).await, Some(stored(1)));
    assert_eq!(count(&store, &counter).await, 3);
}

pub(crate) async fn one_of_many_concurrent_commits_wins(b: &mut dyn Backend) {
    let store = b.store();
    let counter = Counter::Channels(ChannelKind::Live);
    apply(&store, vec![create(&key("a"), 1)]).await;

    let attempts = (2..34).map(|n| {
        let (store, counter) = (store.clone(), counter.clone());
        async move { commit_one(&store, replace(&key("a"), 1, n).moving(counter, 1)).await }
    });
    let answers = join_all(attempts).await;

    let won = answers.iter().filter(|a| **a == Committed::Done).count();
    assert_eq!(won, 1);
    assert_eq!(count(&store, &counter).await, 1);
    let current = read_one(&store, &key("a")).await;
    for answer in answers {
        assert!(answer == Committed::Done || answer == Committed::Conflict(current.clone()));
    }
}

pub(crate) async fn thousands_of_commits_at_once_are_each_answered(b: &mut dyn Backend) {
    const COMMITS: usize = 5_000;
    let store = b.store();

    let commits = (0..COMMITS).map(|n| {
        let items = vec![create(&key(&format!("d{n}")), 1)];
        store.commit(items, Urgency::Open, None)
    });
    let answers = join_all(commits).await;

    let done = |answer: &Result<Vec<Committed>, StoreError>| *answer == Ok(vec![Committed::Done]);
    let refused: Vec<_> = answers.iter().filter(|answer| !done(answer)).collect();
    assert!(refused.is_empty(), "{}: {:?}", refused.len(), refused[0]);
}

pub(crate) async fn a_dropped_commit_is_applied_whole_or_not(b: &mut dyn Backend) {
    let store = b.store();
    let counter = Counter::Channels(ChannelKind::Live);
    let keys = keys(64);
    for key in &keys {
        let items = vec![create(key, 1).moving(counter.clone(), 1)];
        let call = store.commit(items, Urgency::Open, None);
        drop(futures_util::future::select(call, Box::pin(tokio::task::yield_now())).await);
    }

    apply(&store, vec![create(&key("last"), 1)]).await;

    let found = store.read(&keys).await.unwrap();
    let there = i64::try_from(found.iter().flatten().count()).unwrap();
    assert_eq!(count(&store, &counter).await, there);
}

pub(crate) async fn what_was_acknowledged_survives_a_crash(b: &mut dyn Backend) {
    let (queue, now) = (direct(Lane::Normal), b.now().await);
    let keys = keys(300);
    let items = keys.iter().map(|k| create(k, 5).to(&queue, now));
    apply(&b.store(), items.collect()).await;
    apply(&b.store(), vec![delete(&keys[0], 5).from(&queue)]).await;

    b.crash().await;

    let found = b.store().read(&keys).await.unwrap();
    assert_eq!(found[0], None);
    assert!(found[1..].iter().all(|s| *s == Some(stored(5))));
    let census = b.store().census().await.unwrap();
    let sizes: Vec<_> = census
        .into_iter()
        .map(|held| (held.ready.queue, held.entries))
        .collect();
    assert_eq!(sizes, [(queue, 299)]);
}

// === fences ===

fn fence(name: &str, epoch: u64) -> Fence {
    let name = name.to_owned();
    Fence { name, epoch }
}

async fn commit_fenced(
    store: &Arc<dyn Store>,
    name: &str,
    fence: &Fence,
) -> Result<Vec<Committed>, StoreError> {
    let items = vec![create(&key(name), 1)];
    store.commit(items, Urgency::Open, Some(fence)).await
}

pub(crate) async fn a_raised_fence_refuses_lower_epochs(b: &mut dyn Backend) {
    let store = b.store();
    store
        .raise_fence(&fence("campaign:contoso:c", 5))
        .await
        .unwrap();
    store
        .raise_fence(&fence("campaign:contoso:c", 3))
        .await
        .unwrap();

    let lower = commit_fenced(&store, "a", &fence("campaign:contoso:c", 4)).await;
    let equal = commit_fenced(&store, "b", &fence("campaign:contoso:c", 5)).await;
    let higher = commit_fenced(&store, "c", &fence("campaign:contoso:c", 6)).await;
    let another = commit_fenced(&store, "d", &fence("campaign:contoso:d", 1)).await;

    assert_eq!(lower, Err(StoreError::Fenced));
    assert_eq!(read_one(&store, &key("a")).await, None);
    for answer in [equal, higher, another] {
        assert_eq!(answer, Ok(vec![Committed::Done]));
    }
}

pub(crate) async fn a_fence_survives_a_crash(b: &mut dyn Backend) {
    b.store().raise_fence(&fence("f", 2)).await.unwrap();

    b.crash().await;

    let answer = commit_fenced(&b.store(), "a", &fence("f", 1)).await;
    assert_eq!(answer, Err(StoreError::Fenced));
}

// === scan ===

async fn scan_all(
    store: &Arc<dyn Store>,
    tenant: &TenantId,
    limit: usize,
) -> HashMap<String, Stored> {
    let found =
        all_pages(
            |cursor| async move { store.scan(tenant, cursor.as_deref(), limit).await.unwrap() },
        );
    let found = found.await.into_iter();
    found
        .map(|(device, stored)| (device.to_string(), stored))
        .collect()
}

pub(crate) async fn scan_finds_the_devices_of_the_tenant(b: &mut dyn Backend) {
    let store = b.store();
    let keys = keys(700);
    apply(&store, keys.iter().map(|k| create(k, 1)).collect()).await;
    let foreign = DeviceKey::new(tenant("fabrikam"), device("f"));
    apply(&store, vec![create(&foreign, 9)]).await;

    for limit in [1_024, 50] {
        let found = scan_all(&store, &contoso(), limit).await;
        assert_eq!(found.len(), 700);
        assert!(found.values().all(|s| *s == stored(1)));
    }
    assert_eq!(scan_all(&store, &tenant("nobody"), 10).await.len(), 0);
}

pub(crate) async fn scan_finds_what_stays_while_others_come_and_go(b: &mut dyn Backend) {
    let store = b.store();
    let keys = keys(300);
    apply(&store, keys.iter().map(|k| create(k, 1)).collect()).await;
    let (mut found, mut cursor, mut round) = (HashMap::new(), None::<String>, 0_usize);
    loop {
        let page = store.scan(&contoso(), cursor.as_deref(), 20).await.unwrap();
        found.extend(page.items.into_iter().map(|(d, s)| (d.to_string(), s)));
        if let Some(even) = keys.iter().step_by(2).nth(round) {
            let newcomers = (0..5).map(|n| create(&key(&format!("new-{round}-{n}")), 2));
            apply(&store, newcomers.collect()).await;
            apply(&store, vec![delete(even, 1)]).await;
        }
        (cursor, round) = (page.next, round + 1);
        if cursor.is_none() {
            break;
        }
    }

    for stays in keys.iter().skip(1).step_by(2) {
        assert!(found.contains_key(stays.device.as_str()), "{stays:?}");
    }
}

pub(crate) async fn scan_refuses_a_cursor_of_another_kind(b: &mut dyn Backend) {
    let store = b.store();
    apply(&store, vec![create(&key("a"), 1)]).await;
    for cursor in ["", "garbage", "-1", "99999999999999999999999", "é"] {
        let answer = store.scan(&contoso(), Some(cursor), 10).await;
        assert!(
            matches!(answer, Err(StoreError::Damaged { .. })),
            "{cursor}"
        );
    }
}

// === room ===

pub(crate) async fn a_full_store_refuses_new_work_and_still_settles(b: &mut dyn Backend) {
    let (queue, now) = (direct(Lane::Normal), b.now().await);
    apply(&b.store(), vec![create(&key("a"), 1).to(&queue, now)]).await;
    b.fill().await;
    let store = b.store();
    let claimed = claim_one(&store, &queue).await;

    let items = vec![create(&key("new"), 1)];
    let refused = store.commit(items, Urgency::Open, None).await;
    let settle = replace(&key("a"), 1, 2).under(&claimed.lease);
    let settled = store.commit(vec![settle], Urgency::Settle, None).await;

    assert!(
        matches!(refused, Err(StoreError::Full { .. })),
        "{refused:?}"
    );
    assert_eq!(read_one(&store, &key("new")).await, None);
    assert_eq!(settled, Ok(vec![Committed::Done]));
    assert_eq!(read_one(&store, &key("a")).await, Some(stored(2)));
}
