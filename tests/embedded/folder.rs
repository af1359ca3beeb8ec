//! What stands in a store's folder: copies that do not fit together, room that cannot be taken, an opening given up.

use std::{fs, os::unix::fs::FileExt};

use bytes::Bytes;
use reveille::ports::{
    documents::{Documents, Precondition, Put},
    error::StoreError,
    leases::Leases,
};

use super::*;

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Puts what is at `kept` in the place of `part`.
fn replace(part: &Path, kept: &Path) {
    fs::remove_dir_all(part).unwrap();
    copy(kept, part);
}

async fn note(store: &EmbeddedStore, name: &str) {
    let put = store.put(name, Bytes::from_static(b"x"), Precondition::Any, None);
    assert!(matches!(put.await, Ok(Put::Done(_))));
}

/// A closed store with one document, and copies of its two parts.
async fn copied(clock: &Arc<HandClock>) -> (TempDir, TempDir) {
    let (folder, kept) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(folder.path(), clock);
    note(&store, "first").await;
    close(store).await;
    for part in ["log", "side"] {
        copy(&folder.path().join(part), &kept.path().join(part));
    }
    (folder, kept)
}

#[tokio::test(start_paused = true)]
async fn whoever_opens_the_folder_finds_each_lease_free_and_gets_a_higher_epoch() {
    let clock = HandClock::start();
    let folder = TempDir::new().unwrap();
    let store = open(folder.path(), &clock);
    let former = store.hold("campaign/contoso/c1", "former", HOUR);
    let former = former.await.unwrap();
    close(store).await;

    let store = open(folder.path(), &clock);
    let next = store.hold("campaign/contoso/c1", "next", HOUR);

    assert!(former.is_some() && next.await.unwrap() > former);
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_was_killed_just_after_it_began_a_segment_starts_again() {
    // given a log of a head and the room taken behind it, as a broker leaves it that is killed before its first frame
    const HEAD_BYTES: usize = 24;
    let clock = HandClock::start();
    let folder = TempDir::new().unwrap();
    close(open(folder.path(), &clock)).await;
    let segment = folder.path().join("log/00000001.log");
    let mut bytes = fs::read(&segment).unwrap();
    assert!(bytes.starts_with(b"REVEILLE") && bytes[HEAD_BYTES..].iter().any(|byte| *byte != 0));
    bytes[HEAD_BYTES..].fill(0);
    fs::write(&segment, bytes).unwrap();
    fs::remove_dir_all(folder.path().join("side")).unwrap();

    // when it is opened and works
    let store = open(folder.path(), &clock);
    apply(&store, vec![put(1, 1)]).await;

    // then what was written there is found, now and later
    assert!(store.read(&[key(1)]).await.unwrap()[0].is_some());
    close(store).await;
    let store = open(folder.path(), &clock);
    assert!(store.read(&[key(1)]).await.unwrap()[0].is_some());
}

#[tokio::test(start_paused = true)]
async fn a_record_that_rots_keeps_none_back_that_is_claimed_with_it() {
    const COUNT: u32 = 20;
    let clock = HandClock::start();
    let folder = TempDir::new().unwrap();
    let store = open(folder.path(), &clock);
    let items = (0..COUNT).map(|n| due(put(n, 1), clock.now()));
    apply(&store, items.collect()).await;
    let segment = folder.path().join("log/00000001.log");
    let bytes = fs::read(&segment).unwrap();
    let rotten = content(7, 1).into_bytes();
    let place = bytes.windows(rotten.len()).position(|w| w == rotten);
    let file = fs::OpenOptions::new().write(true).open(&segment).unwrap();
    file.write_all_at(b"x", place.unwrap() as u64).unwrap();

    let claimed = claim(&store).await;

    assert_eq!(claimed.len(), COUNT as usize);
    let empty = claimed.iter().filter(|c| c.stored.bytes.is_empty());
    assert_eq!(empty.map(|c| &c.key).collect::<Vec<_>>(), [&key(7)]);
    let read = store.read(&[key(7)]).await;
    assert!(matches!(read, Err(StoreError::Damaged { .. })));
}

fn refusal(folder: &Path, clock: &Arc<HandClock>) -> String {
    match try_open(folder, clock) {
        Err(error @ OpenError::Apart { .. }) => error.to_string(),
        Err(other) => panic!("refused as {other}"),
        Ok(_) => panic!("opened"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_older_than_what_stands_beside_it_is_refused_with_the_cure() {
    let clock = HandClock::start();
    let (folder, kept) = copied(&clock).await;
    let store = open(folder.path(), &clock);
    note(&store, "second").await;
    close(store).await;

    replace(&folder.path().join("log"), &kept.path().join("log"));

    let said = refusal(folder.path(), &clock);
    assert!(said.contains("`side` is newer"), "{said}");
    assert!(
        said.contains("copy it whole with the broker stopped"),
        "{said}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_stands_beside_the_log_is_made_up_for_from_the_log_if_it_can_be() {
    let clock = HandClock::start();
    let (folder, kept) = copied(&clock).await;
    let store = open(folder.path(), &clock);
    note(&store, "second").await;
    close(store).await;

    replace(&folder.path().join("side"), &kept.path().join("side"));

    let store = open(folder.path(), &clock);
    assert!(store.get("second").await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn what_stands_beside_the_log_and_misses_what_the_log_has_dropped_is_refused() {
    let clock = HandClock::start();
    let (folder, kept) = copied(&clock).await;
    let store = open(folder.path(), &clock);
    let first = log_files(folder.path())[0].clone();
    let mut revision = 0;
    while first.exists() {
        revision += 1;
        assert!(revision < 1_000, "the log is never made shorter");
        apply(&store, (0..50).map(|n| put(n, revision)).collect()).await;
    }
    close(store).await;

    replace(&folder.path().join("side"), &kept.path().join("side"));

    let said = refusal(folder.path(), &clock);
    assert!(said.contains("`side` is older"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn parts_of_two_stores_are_refused() {
    let clock = HandClock::start();
    let ((folder, _), (_, kept)) = (copied(&clock).await, copied(&clock).await);
    replace(&folder.path().join("side"), &kept.path().join("side"));
    let said = refusal(folder.path(), &clock);
    assert!(said.contains("of different stores"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_store_goes_on_when_the_room_of_the_next_segment_can_be_taken_again() {
    // given a store that cannot begin a segment, though the disk is not full
    let (folder, clock) = (TempDir::new().unwrap(), HandClock::start());
    let store = open(folder.path(), &clock);
    apply(&store, vec![put(0, 1)]).await;
    let spare = folder.path().join("log").join("spare");
    fs::remove_file(&spare).unwrap();
    fs::create_dir(&spare).unwrap();

    // when it is written to until it needs one
    let mut last = 0;
    let refused = loop {
        last += 1;
        assert!(last < 10_000, "it never needs one");
        let item = vec![put(last, 1)];
        if let Err(error) = store.commit(item, Urgency::Settle, None).await {
            break error;
        }
    };

    // then it refuses until the obstacle is gone, and loses nothing
    assert!(
        matches!(refused, StoreError::Unavailable { .. }),
        "{refused}"
    );
    let again = store
        .commit(vec![put(last, 1)], Urgency::Settle, None)
        .await;
    assert!(again.is_err(), "{again:?}");
    fs::remove_dir(&spare).unwrap();
    apply(&store, vec![put(last, 1)]).await;
    close(store).await;
    let store = open(folder.path(), &clock);
    let keys: Vec<DeviceKey> = (0..=last).map(key).collect();
    let read = store.read(&keys).await.unwrap();
    assert!(read.iter().all(Option::is_some));
}

#[tokio::test(start_paused = true)]
async fn an_opening_that_is_given_up_stops_reading() {
    let clock = HandClock::start();
    let (folder, _kept) = copied(&clock).await;
    let options = EmbeddedOptions::new(folder.path().to_owned(), clock.clone());
    options.given_up.cancel();
    assert!(matches!(
        EmbeddedStore::open(options),
        Err(OpenError::Io { .. })
    ));
    drop(open(folder.path(), &clock));
}
