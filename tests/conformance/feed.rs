//! Cases of the feed port.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use reveille::{
    domain::{
        event::{Event, EventKind},
        id::TenantId,
        queue::Lane,
    },
    ports::{
        Store,
        feed::{After, Cursor, Entry, FeedError},
    },
};
use serde_json::Value;

use crate::{backend::Backend, items::*};

/// Reads from a place to the end and returns the place after it.
async fn read_on(
    store: &Arc<dyn Store>,
    tenant: &TenantId,
    after: After,
    limit: usize,
) -> (Vec<Entry>, Cursor) {
    let (mut all, mut after) = (Vec::new(), after);
    loop {
        let (mut entries, next) = store.events(tenant, &after, limit).await.unwrap();
        assert!(next.0.len() <= 1_024 && next.0.bytes().all(|b| (b' '..=b'~').contains(&b)));
        assert!(entries.len() <= limit);
        if entries.is_empty() {
            return (all, next);
        }
        all.append(&mut entries);
        after = After::Cursor(next);
    }
}

fn numbers(entries: &[Entry]) -> Vec<u64> {
    let number = |e: &Entry| {
        let json: Value = serde_json::from_slice(&e.json).unwrap();
        json["data"]["number"].as_u64().unwrap()
    };
    entries.iter().map(number).collect()
}

/// Commits `count` events of one device, counted from `first`.
async fn say(store: &Arc<dyn Store>, name: &str, first: u64, count: u64) {
    let key = key(name);
    for n in first..first + count {
        let revision = u32::try_from(n).unwrap() + 1;
        let item = match read_one(store, &key).await {
            None => create(&key, revision),
            Some(old) => replace(&key, old.revision.0, revision),
        };
        apply(store, vec![item.saying(event(&key, n))]).await;
    }
}

/// More than one command of Redis takes, both of what is applied whole and of what is judged item by item.
pub(crate) async fn a_commit_may_bring_thousands_of_events(b: &mut dyn Backend) {
    let (store, key, queue) = (b.store(), key("a"), direct(Lane::Urgent));
    let now = b.now().await;
    for (mut item, last) in [
        (create(&key, 1).to(&queue, now), 9_000),
        (
            keep(&key, 1).from(&queue).to(&direct(Lane::Bulk), now),
            18_000,
        ),
    ] {
        item.events = (last - 9_000..last).map(|n| event(&key, n)).collect();

        apply(&store, vec![item]).await;

        let (told, _) = read_on(&store, &contoso(), After::Oldest, 1_024).await;
        let told = numbers(&told);
        assert!(told.len() >= b.feed_events_max().min(9_000));
        let kept = u64::try_from(told.len()).unwrap();
        assert_eq!(told, (last - kept..last).collect::<Vec<_>>());
    }
    assert_eq!(claim_one(&store, &direct(Lane::Bulk)).await.key, key);
}

pub(crate) async fn events_of_a_device_come_in_order(b: &mut dyn Backend) {
    let store = b.store();
    for round in 0..10 {
        say(&store, "a", round * 3, 3).await;
        say(&store, "b", round * 3, 3).await;
    }

    for limit in [1_024, 7, 1] {
        let (entries, _) = read_on(&store, &contoso(), After::Oldest, limit).await;
        let mut of = HashMap::<String, Vec<u64>>::new();
        for entry in entries {
            let json: Value = serde_json::from_slice(&entry.json).unwrap();
            let name = json["data"]["device"].as_str().unwrap().to_owned();
            of.entry(name).or_default().extend(numbers(&[entry]));
        }
        let in_order: Vec<u64> = (0..30).collect();
        assert_eq!(
            of,
            HashMap::from(["a", "b"].map(|d| (d.to_owned(), in_order.clone())))
        );
    }
}

pub(crate) async fn an_event_is_kept_as_its_json(b: &mut dyn Backend) {
    let store = b.store();
    let told = event(&key("a"), 1)
        .with("text", "line\nbreak, \"quotes\" and ü")
        .with("nothing", Value::Null);
    let two = vec![told.clone(), event(&key("a"), 2)];
    let mut saying = create(&key("a"), 1);
    saying.events = two;

    apply(&store, vec![saying]).await;

    let (entries, _) = read_on(&store, &contoso(), After::Oldest, 10).await;
    let text = Bytes::from(told.to_json_text(&contoso()));
    assert_eq!(entries[0].json, text);
    assert_eq!(numbers(&entries), [1, 2]);
}

pub(crate) async fn reading_goes_on_after_any_event(b: &mut dyn Backend) {
    let store = b.store();
    say(&store, "a", 0, 9).await;
    let (entries, end) = read_on(&store, &contoso(), After::Oldest, 4).await;

    for (n, entry) in (1..).zip(&entries) {
        let after = After::Cursor(entry.id.clone());
        let (rest, _) = read_on(&store, &contoso(), after, 100).await;
        assert_eq!(numbers(&rest), (n..9).collect::<Vec<_>>());
    }
    let (nothing, place) = store
        .events(&contoso(), &After::Cursor(end.clone()), 10)
        .await
        .unwrap();
    assert_eq!((nothing, place), (vec![], end));
}

pub(crate) async fn a_reader_who_has_caught_up_is_never_refused(b: &mut dyn Backend) {
    const TOTAL: u64 = 1_500;
    let store = b.store();
    let (_, mut place) = store.events(&contoso(), &After::Newest, 10).await.unwrap();
    let (writer, mut told) = (store.clone(), Vec::new());
    let writing = tokio::spawn(async move {
        for n in 0..TOTAL {
            let told = event(&key("a"), n);
            writer.append(&contoso(), vec![told]).await.unwrap();
        }
    });

    // Without a pause, so that it reads at every stage of a commit.
    while told.last() != Some(&(TOTAL - 1)) {
        let after = After::Cursor(place);
        let (entries, next) = store.events(&contoso(), &after, 10).await.unwrap();
        told.extend(numbers(&entries));
        place = next;
        tokio::task::yield_now().await;
    }

    assert_eq!(told, (0..TOTAL).collect::<Vec<_>>());
    writing.await.unwrap();
}

pub(crate) async fn newest_begins_with_what_comes(b: &mut dyn Backend) {
    let store = b.store();
    say(&store, "a", 0, 3).await;
    let (nothing, place) = store.events(&contoso(), &After::Newest, 10).await.unwrap();
    assert_eq!(nothing, vec![]);

    say(&store, "a", 3, 2).await;

    let (entries, _) = read_on(&store, &contoso(), After::Cursor(place), 10).await;
    assert_eq!(numbers(&entries), [3, 4]);
}

pub(crate) async fn an_empty_feed_has_a_place_to_begin(b: &mut dyn Backend) {
    let store = b.store();
    let (nothing, oldest) = store.events(&contoso(), &After::Oldest, 10).await.unwrap();
    assert_eq!(nothing, vec![]);
    let (_, newest) = store.events(&contoso(), &After::Newest, 10).await.unwrap();

    say(&store, "a", 0, 1).await;

    for place in [oldest, newest] {
        let (entries, _) = read_on(&store, &contoso(), After::Cursor(place), 10).await;
        assert_eq!(numbers(&entries), [0]);
    }
}

pub(crate) async fn feeds_of_tenants_are_kept_apart(b: &mut dyn Backend) {
    let store = b.store();
    say(&store, "a", 0, 2).await;

    let (nothing, _) = read_on(&store, &tenant("fabrikam"), After::Oldest, 10).await;

    assert_eq!(nothing, vec![]);
}

pub(crate) async fn events_without_a_device_are_appended(b: &mut dyn Backend) {
    let store = b.store();
    let campaign_event = |n: u64| Event {
        device: None,
        ..event(&key("a"), n)
    };
    let told = vec![campaign_event(1), campaign_event(2)];

    store.append(&contoso(), told.clone()).await.unwrap();
    store.append(&contoso(), vec![]).await.unwrap();

    let (entries, _) = read_on(&store, &contoso(), After::Oldest, 10).await;
    assert_eq!(numbers(&entries), [1, 2]);
    assert_eq!(entries[0].json, told[0].to_json_text(&contoso()));
}

pub(crate) async fn an_append_is_announced(b: &mut dyn Backend) {
    let store = b.store();
    let mut appended = b.other().appended();
    appended.mark_unchanged();

    say(&store, "a", 0, 1).await;
    soon(appended.changed()).await.unwrap();

    let told = Event::of_device(EventKind::DeviceDeleted, b.now().await, &device("a"));
    store.append(&contoso(), vec![told]).await.unwrap();
    soon(appended.changed()).await.unwrap();
}

pub(crate) async fn a_cursor_of_another_kind_is_unknown(b: &mut dyn Backend) {
    let store = b.store();
    say(&store, "a", 0, 1).await;
    for cursor in ["", "garbage", "-1", "99999999999999999999999999", "é"] {
        let after = After::Cursor(Cursor(cursor.to_owned()));
        let answer = store.events(&contoso(), &after, 10).await;
        assert_eq!(answer, Err(FeedError::UnknownCursor), "{cursor}");
    }
}

pub(crate) async fn trimming_keeps_the_newest_events(b: &mut dyn Backend) {
    let store = b.store();
    let total = 4 * b.feed_events_max() as u64;
    for first in (0..total).step_by(50) {
        let count = 50.min(total - first);
        let told = (first..first + count).map(|n| Event {
            device: None,
            ..event(&key("a"), n)
        });
        store.append(&contoso(), told.collect()).await.unwrap();
    }
    let (all, _) = read_on(&store, &contoso(), After::Oldest, 1_000).await;
    let first = After::Cursor(all[0].id.clone());

    let gone = store.trim().await.unwrap();

    let (left, _) = read_on(&store, &contoso(), After::Oldest, 1_000).await;
    assert!(gone > 0 && left.len() >= b.feed_events_max());
    assert_eq!(gone + left.len() as u64, total);
    assert_eq!(left.last(), all.last());
    let answer = store.events(&contoso(), &first, 10).await;
    assert_eq!(answer, Err(FeedError::Trimmed));
    let last = After::Cursor(all.last().unwrap().id.clone());
    assert_eq!(store.events(&contoso(), &last, 10).await.unwrap().0, vec![]);
}

pub(crate) async fn trimming_forgets_old_events(b: &mut dyn Backend) {
    let store = b.store();
    say(&store, "a", 0, 3).await;
    let (old, _) = read_on(&store, &contoso(), After::Oldest, 10).await;
    b.pass(b.feed_age_max() + b.tick()).await;
    say(&store, "a", 3, 2).await;

    let gone = store.trim().await.unwrap();

    assert_eq!(gone, 3);
    let (left, _) = read_on(&store, &contoso(), After::Oldest, 10).await;
    assert_eq!(numbers(&left), [3, 4]);
    let after = After::Cursor(old[0].id.clone());
    assert_eq!(
        store.events(&contoso(), &after, 10).await,
        Err(FeedError::Trimmed)
    );
    assert_eq!(store.trim().await, Ok(0));
}

pub(crate) async fn a_cursor_survives_a_crash(b: &mut dyn Backend) {
    say(&b.store(), "a", 0, 5).await;
    let (entries, end) = read_on(&b.store(), &contoso(), After::Oldest, 10).await;

    b.crash().await;
    say(&b.store(), "a", 5, 2).await;

    let third = After::Cursor(entries[2].id.clone());
    let (rest, _) = read_on(&b.store(), &contoso(), third, 10).await;
    assert_eq!(numbers(&rest), [3, 4, 5, 6]);
    let (rest, _) = read_on(&b.store(), &contoso(), After::Cursor(end), 10).await;
    assert_eq!(numbers(&rest), [5, 6]);
}
