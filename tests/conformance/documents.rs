//! Cases of the documents port.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use reveille::ports::{
    Store,
    documents::{DOCUMENT_BYTES_MAX, Document, Precondition, Put},
    error::StoreError,
};

use crate::{backend::Backend, items::*};

async fn put(store: &Arc<dyn Store>, name: &str, text: &str, when: Precondition) -> Put {
    let bytes = Bytes::from(text.to_owned());
    store.put(name, bytes, when, None).await.unwrap()
}

async fn put_for(store: &Arc<dyn Store>, name: &str, text: &str, ttl: Duration) -> Put {
    let bytes = Bytes::from(text.to_owned());
    let put = store.put(name, bytes, Precondition::Any, Some(ttl));
    put.await.unwrap()
}

fn document(version: u64, text: &str) -> Document {
    let bytes = Bytes::from(text.to_owned());
    Document { version, bytes }
}

/// A time to live that is surely over after [`Backend::pass`] of it and a second.
fn ttl(b: &dyn Backend) -> Duration {
    b.tick().max(Duration::from_secs(1))
}

pub(crate) async fn a_document_is_kept_as_it_was_put(b: &mut dyn Backend) {
    let store = b.store();
    let bytes = Bytes::from(
        (0..DOCUMENT_BYTES_MAX)
            .map(|n| (n % 251) as u8)
            .collect::<Vec<_>>(),
    );
    let long = format!("answer/{}", "x".repeat(505));
    for name in [
        "a",
        "tenant/contoso",
        "odd name/!\"#$%&'()*+,-.:;<=>?@[]^_`{|}~",
        &long,
    ] {
        let put = store
            .put(name, bytes.clone(), Precondition::Absent, None)
            .await;

        assert_eq!(put, Ok(Put::Done(1)));
        let wanted = Document {
            version: 1,
            bytes: bytes.clone(),
        };
        assert_eq!(store.get(name).await, Ok(Some(wanted)));
    }
    assert_eq!(store.get("tenant").await, Ok(None));
}

pub(crate) async fn preconditions_decide(b: &mut dyn Backend) {
    let store = b.store();
    let absent = put(&store, "n", "0", Precondition::Version(1)).await;
    assert_eq!(absent, Put::Conflict(None));
    assert_eq!(
        put(&store, "n", "1", Precondition::Absent).await,
        Put::Done(1)
    );
    let there = put(&store, "n", "x", Precondition::Absent).await;
    assert_eq!(there, Put::Conflict(Some(document(1, "1"))));
    assert_eq!(
        put(&store, "n", "2", Precondition::Version(1)).await,
        Put::Done(2)
    );
    let stale = put(&store, "n", "x", Precondition::Version(1)).await;
    assert_eq!(stale, Put::Conflict(Some(document(2, "2"))));
    assert_eq!(put(&store, "n", "3", Precondition::Any).await, Put::Done(3));
    assert_eq!(put(&store, "m", "1", Precondition::Any).await, Put::Done(1));
    assert_eq!(store.get("n").await, Ok(Some(document(3, "3"))));
}

pub(crate) async fn one_of_many_concurrent_puts_wins(b: &mut dyn Backend) {
    let store = b.store();
    put(&store, "n", "0", Precondition::Absent).await;

    let puts = (1..20).map(|n| {
        let broker = if n % 2 == 0 { b.store() } else { b.other() };
        async move { put(&broker, "n", &n.to_string(), Precondition::Version(1)).await }
    });
    let answers = join_all(puts).await;

    let won = answers.iter().filter(|a| **a == Put::Done(2)).count();
    assert_eq!(won, 1);
    let kept = store.get("n").await.unwrap();
    assert!(
        answers
            .iter()
            .all(|a| *a == Put::Done(2) || *a == Put::Conflict(kept.clone()))
    );
}

pub(crate) async fn a_deleted_document_is_absent(b: &mut dyn Backend) {
    let store = b.store();
    put(&store, "n", "1", Precondition::Absent).await;

    store.delete("n").await.unwrap();
    store.delete("n").await.unwrap();

    assert_eq!(store.get("n").await, Ok(None));
    assert_eq!(
        put(&store, "n", "2", Precondition::Absent).await,
        Put::Done(1)
    );
}

pub(crate) async fn list_pages_by_name_under_a_prefix(b: &mut dyn Backend) {
    let store = b.store();
    for n in [7, 3, 11, 5, 1] {
        let name = format!("a/{n:02}");
        put(&store, &name, &n.to_string(), Precondition::Absent).await;
    }
    for other in ["a", "a0", "ab/1", "A/1", "b/1"] {
        put(&store, other, "x", Precondition::Absent).await;
    }

    for limit in [100, 2, 1] {
        let store = &store;
        let found =
            all_pages(
                |cursor| async move { store.list("a/", cursor.as_deref(), limit).await.unwrap() },
            );
        let wanted = [1, 3, 5, 7, 11].map(|n| (format!("a/{n:02}"), document(1, &n.to_string())));
        assert_eq!(found.await, wanted);
    }
    let none = store.list("nothing/", None, 10).await.unwrap();
    assert_eq!((none.items, none.next), (vec![], None));
}

pub(crate) async fn list_refuses_a_cursor_of_another_kind(b: &mut dyn Backend) {
    let store = b.store();
    put(&store, "a/1", "x", Precondition::Absent).await;
    for cursor in ["", "garbage", "b/1", "é"] {
        let answer = store.list("a/", Some(cursor), 10).await;
        assert!(
            matches!(answer, Err(StoreError::Damaged { .. })),
            "{cursor}"
        );
    }
}

pub(crate) async fn a_document_with_ttl_is_gone_after_it(b: &mut dyn Backend) {
    let (store, ttl) = (b.store(), ttl(b));
    assert_eq!(put_for(&store, "a/n", "1", ttl * 3).await, Put::Done(1));
    assert_eq!(put_for(&store, "a/long", "1", ttl * 90).await, Put::Done(1));
    assert_eq!(store.get("a/n").await, Ok(Some(document(1, "1"))));

    b.pass(ttl * 3 + Duration::from_secs(1)).await;

    assert_eq!(store.get("a/n").await, Ok(None));
    let page = store.list("a/", None, 10).await.unwrap();
    assert_eq!(page.items, [("a/long".to_owned(), document(1, "1"))]);
    let stale = put(&store, "a/n", "2", Precondition::Version(1)).await;
    assert_eq!(stale, Put::Conflict(None));
    assert_eq!(
        put(&store, "a/n", "2", Precondition::Absent).await,
        Put::Done(1)
    );
}

pub(crate) async fn a_put_replaces_the_ttl(b: &mut dyn Backend) {
    let (store, ttl) = (b.store(), ttl(b));
    put_for(&store, "forever", "1", ttl).await;
    put(&store, "forever", "2", Precondition::Any).await;
    put_for(&store, "longer", "1", ttl).await;
    put_for(&store, "longer", "2", ttl * 90).await;

    b.pass(ttl + Duration::from_secs(1)).await;
    store.trim().await.unwrap();

    assert_eq!(store.get("forever").await, Ok(Some(document(2, "2"))));
    assert_eq!(store.get("longer").await, Ok(Some(document(2, "2"))));
}

pub(crate) async fn lasting_changes_are_announced(b: &mut dyn Backend) {
    let store = b.store();
    let mut changed = b.other().changed();
    changed.mark_unchanged();

    put(&store, "n", "1", Precondition::Absent).await;
    soon(changed.changed()).await.unwrap();
    store.delete("n").await.unwrap();
    soon(changed.changed()).await.unwrap();
}

pub(crate) async fn documents_survive_a_crash(b: &mut dyn Backend) {
    put(&b.store(), "n", "1", Precondition::Absent).await;
    put(&b.store(), "n", "2", Precondition::Any).await;
    put(&b.store(), "gone", "1", Precondition::Any).await;
    b.store().delete("gone").await.unwrap();
    put_for(&b.store(), "for-a-while", "1", ttl(b) * 3).await;

    b.crash().await;

    assert_eq!(b.store().get("n").await, Ok(Some(document(2, "2"))));
    assert_eq!(b.store().get("gone").await, Ok(None));
    b.pass(ttl(b) * 3 + Duration::from_secs(1)).await;
    assert_eq!(b.store().get("for-a-while").await, Ok(None));
}
