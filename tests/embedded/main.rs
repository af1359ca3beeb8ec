//! What only the embedded store promises: steps of the clock, a log that stays short, damage that is noticed.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod folder;
mod marks;
mod measured;

use std::{
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::Timestamp;
use reveille::{
    adapters::embedded::{EmbeddedOptions, EmbeddedStore, OpenError},
    domain::{
        ask::Class,
        counter::{Counter, Moves},
        id::{DeviceId, DeviceKey, TenantId},
        queue::{Due, Flow, Lane, Queue},
        record::Revision,
    },
    ports::{
        clock::Clock,
        error::Probe,
        queues::{Claimed, LEASE, Queues, Want},
        records::{Change, Committed, Expect, Item, Placement, Records, Urgency},
        tally::Tally,
    },
};
use tempfile::TempDir;

const SEGMENT_BYTES: u64 = 64 * 1024;
const HOUR: Duration = Duration::from_secs(3_600);

/// A clock that is moved by hand, in both directions.
struct HandClock(Mutex<Timestamp>);

impl HandClock {
    fn start() -> Arc<Self> {
        let begin = "2026-03-14T15:09:26.535Z".parse().unwrap();
        Arc::new(Self(Mutex::new(begin)))
    }

    fn step_back(&self, span: Duration) {
        *self.0.lock().unwrap() -= span;
    }

    fn step_forward(&self, span: Duration) {
        *self.0.lock().unwrap() += span;
    }

    async fn pass(&self, span: Duration) {
        self.step_forward(span);
        tokio::time::advance(span).await;
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

fn try_open(folder: &Path, clock: &Arc<HandClock>) -> Result<Arc<EmbeddedStore>, OpenError> {
    EmbeddedStore::open(EmbeddedOptions {
        segment_bytes: SEGMENT_BYTES,
        cache_bytes: 1024 * 1024,
        disk_reserve_bytes: 0,
        ballast_bytes: 0,
        ..EmbeddedOptions::new(folder.to_owned(), clock.clone())
    })
}

fn open(folder: &Path, clock: &Arc<HandClock>) -> Arc<EmbeddedStore> {
    try_open(folder, clock).unwrap()
}

/// Closes the store, so that the same folder can be opened again.
async fn close(store: Arc<EmbeddedStore>) {
    store.close().await.unwrap();
}

fn queue() -> Queue {
    Queue {
        tenant: TenantId::new("contoso").unwrap(),
        lane: Lane::Bulk,
        flow: Flow::Direct,
    }
}

fn key(n: u32) -> DeviceKey {
    let tenant = TenantId::new("contoso").unwrap();
    DeviceKey::new(tenant, DeviceId::new(&format!("d{n}")).unwrap())
}

fn content(n: u32, revision: u32) -> String {
    format!("{n} {revision} ").repeat(30)
}

/// Puts revision `new` of a device that has revision `new - 1`.
fn put(n: u32, new: u32) -> Item {
    let expect = match new {
        1 => Expect::Absent,
        _ => Expect::Revision(Revision(new - 1)),
    };
    let mut moves = Moves::default();
    moves.add(Counter::Pushes(Class::Bulk), 1);
    Item {
        key: key(n),
        expect,
        lease: None,
        change: Change::Put(Revision(new), content(n, new).into()),
        placement: Placement::default(),
        moves,
        lists: Vec::new(),
        events: Vec::new(),
    }
}

fn due(mut item: Item, at: Timestamp) -> Item {
    let queue = queue();
    item.placement.to = Some(Due { queue, at });
    item
}

async fn apply(store: &EmbeddedStore, items: Vec<Item>) {
    let answers = store.commit(items, Urgency::Open, None).await.unwrap();
    assert!(answers.iter().all(|a| *a == Committed::Done), "{answers:?}");
}

async fn claim(store: &EmbeddedStore) -> Vec<Claimed> {
    let (queue, limit) = (queue(), 256);
    store.claim(&[Want { queue, limit }]).await.unwrap()
}

// === the clock ===

#[tokio::test(start_paused = true)]
async fn a_clock_set_back_makes_nobody_wait_longer() {
    let (folder, clock) = (TempDir::new().unwrap(), HandClock::start());
    let store = open(folder.path(), &clock);
    let ten_minutes = HOUR / 6;
    apply(&store, vec![due(put(1, 1), clock.now() + ten_minutes)]).await;

    clock.step_back(HOUR);

    let ready = store.ready().await.unwrap();
    assert_eq!(ready[0].earliest, clock.now() + ten_minutes);
    assert_eq!(claim(&store).await.len(), 0);
    clock.pass(ten_minutes).await;
    assert_eq!(claim(&store).await.len(), 1);
    let warnings = store.probe().await.unwrap().warnings;
    assert!(
        warnings.iter().any(|w| w.contains("3600 s")),
        "{warnings:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_comes_after_a_step_back_is_due_by_the_new_time() {
    let (folder, clock) = (TempDir::new().unwrap(), HandClock::start());
    let store = open(folder.path(), &clock);
    apply(&store, vec![put(1, 1)]).await;
    clock.step_back(HOUR);

    apply(&store, vec![due(put(2, 1), clock.now() + HOUR / 6)]).await;

    clock.pass(HOUR / 7).await;
    assert_eq!(claim(&store).await.len(), 0);
    clock.pass(HOUR / 6).await;
    assert_eq!(claim(&store).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_clock_set_back_while_the_broker_was_down_is_noticed() {
    let (folder, clock) = (TempDir::new().unwrap(), HandClock::start());
    let store = open(folder.path(), &clock);
    apply(&store, vec![due(put(1, 1), clock.now() + HOUR / 6)]).await;
    close(store).await;

    clock.step_back(HOUR);
    let store = open(folder.path(), &clock);
    let earliest = store.ready().await.unwrap()[0].earliest;
    assert_eq!(earliest, clock.now() + HOUR / 6);
    close(store).await;

    let store = open(folder.path(), &clock);
    let earliest = store.ready().await.unwrap()[0].earliest;
    assert_eq!(earliest, clock.now() + HOUR / 6);
}

#[tokio::test(start_paused = true)]
async fn a_lease_does_not_end_with_a_step_of_the_clock() {
    let (folder, clock) = (TempDir::new().unwrap(), HandClock::start());
    let store = open(folder.path(), &clock);
    apply(&store, vec![due(put(1, 1), clock.now())]).await;
    let held = claim(&store).await.remove(0);

    clock.step_forward(HOUR);
    assert_eq!(claim(&store).await.len(), 0);
    clock.step_back(HOUR);
    assert_eq!(claim(&store).await.len(), 0);
    let settle = Item {
        lease: Some(held.lease),
        ..put(1, 2)
    };
    apply(&store, vec![due(settle, clock.now())]).await;

    claim(&store).await;
    tokio::time::advance(LEASE).await;
    clock.step_forward(LEASE);
    assert_eq!(claim(&store).await.len(), 1);
}

// === the log ===

fn log_files(folder: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder.join("log")).unwrap();
    let mut files: Vec<_> = files.map(|f| f.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "log"));
    files.sort();
    files
}

#[tokio::test(start_paused = true)]
async fn the_log_stays_short_and_loses_nothing() {
    let (folder, clock) = (TempDir::new().unwrap(), HandClock::start());
    let store = open(folder.path(), &clock);
    let (devices, rounds) = (200, 60);
    let far = clock.now() + HOUR;
    let rarely_written = 1_000..1_200;
    apply(
        &store,
        rarely_written
            .clone()
            .map(|n| due(put(n, 1), far))
            .collect(),
    )
    .await;

    for revision in 1..=rounds {
        let items = (0..devices).map(|n| due(put(n, revision), far));
        apply(&store, items.collect()).await;
    }

    let current = u64::from(devices + 200) * 400;
    let log: u64 = log_files(folder.path())
        .iter()
        .map(|f| f.metadata().unwrap().len())
        .sum();
    assert!(
        log < 3 * current + 6 * SEGMENT_BYTES,
        "{log} bytes for {current}"
    );
    let first = log_files(folder.path()).remove(0);
    assert!(!first.ends_with("00000001.log"), "{first:?}");
    for _ in 0..2 {
        close(store.clone()).await;
        let store = open(folder.path(), &clock);
        for (numbers, revision) in [(0..devices, rounds), (rarely_written.clone(), 1)] {
            for n in numbers {
                let stored = store.read(&[key(n)]).await.unwrap().remove(0).unwrap();
                assert_eq!(stored.bytes, content(n, revision));
            }
        }
        let census = store.census().await.unwrap();
        assert_eq!(
            (census[0].entries, census[0].ready.earliest),
            (u64::from(devices + 200), far)
        );
        let tenant = TenantId::new("contoso").unwrap();
        let counters = store.counters(&tenant, "pushes.").await.unwrap();
        assert_eq!(counters["pushes.bulk"], i64::from(devices * rounds + 200));
        close(store).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_place_that_changed_after_its_record_survives_compaction() {
    let (folder, clock) = (TempDir::new().unwrap(), HandClock::start());
    let store = open(folder.path(), &clock);
    let (early, late) = (clock.now() + HOUR, clock.now() + 2 * HOUR);
    apply(&store, vec![due(put(5_000, 1), early)]).await;
    let keep = Item {
        change: Change::Keep,
        expect: Expect::Revision(Revision(1)),
        ..put(5_000, 1)
    };
    let mut keep = due(keep, late);
    keep.placement.from = Some(queue());
    apply(&store, vec![keep]).await;

    for revision in 1..=60 {
        apply(&store, (0..200).map(|n| put(n, revision)).collect()).await;
    }
    assert!(!log_files(folder.path())[0].ends_with("00000001.log"));

    close(store).await;
    let store = open(folder.path(), &clock);
    assert_eq!(store.ready().await.unwrap()[0].earliest, late);
}

// === damage ===

/// A closed store with a few frames.
async fn closed_store(clock: &Arc<HandClock>) -> TempDir {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path(), clock);
    for n in 0..20 {
        apply(&store, vec![put(n, 1)]).await;
    }
    close(store).await;
    folder
}

fn flip_byte(file: &Path, at: u64) {
    let options = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(file);
    let (file, mut byte) = (options.unwrap(), [0]);
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x40], at).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_torn_last_frame_is_cut_off() {
    let clock = HandClock::start();
    let folder = closed_store(&clock).await;
    let file = log_files(folder.path()).remove(0);
    let bytes = std::fs::read(&file).unwrap();
    let end = bytes.iter().rposition(|b| *b != 0).unwrap() as u64;
    flip_byte(&file, end - 2);

    let store = open(folder.path(), &clock);

    let found = store
        .read(&(0..20).map(key).collect::<Vec<_>>())
        .await
        .unwrap();
    assert!(found.iter().all(Option::is_some));
    apply(&store, vec![put(99, 1)]).await;
    close(store).await;
    let store = open(folder.path(), &clock);
    assert!(store.read(&[key(99)]).await.unwrap()[0].is_some());
}

#[tokio::test(start_paused = true)]
async fn damage_before_the_last_frame_is_refused() {
    let clock = HandClock::start();
    let folder = closed_store(&clock).await;
    let file = log_files(folder.path()).remove(0);
    flip_byte(&file, 1_000);

    let error = try_open(folder.path(), &clock).map(|_| ()).unwrap_err();

    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_missing_segment_is_refused() {
    let (folder, clock) = (TempDir::new().unwrap(), HandClock::start());
    let store = open(folder.path(), &clock);
    for n in 0..1_500 {
        apply(&store, vec![put(n, 1)]).await;
    }
    close(store).await;
    let files = log_files(folder.path());
    assert!(files.len() > 2);
    std::fs::remove_file(&files[1]).unwrap();

    let error = try_open(folder.path(), &clock).map(|_| ()).unwrap_err();

    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_folder_of_another_version_is_refused() {
    let clock = HandClock::start();
    let folder = closed_store(&clock).await;
    flip_byte(&log_files(folder.path())[0], 8);

    let error = try_open(folder.path(), &clock).map(|_| ()).unwrap_err();

    assert!(matches!(error, OpenError::Version { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_record_that_rots_on_the_disk_is_told_from_a_good_one() {
    let (folder, clock) = (TempDir::new().unwrap(), HandClock::start());
    let store = open(folder.path(), &clock);
    apply(&store, vec![put(7, 1)]).await;
    let file = log_files(folder.path()).remove(0);
    let bytes = std::fs::read(&file).unwrap();
    let content = content(7, 1);
    let at = bytes
        .windows(content.len())
        .position(|w| w == content.as_bytes());
    flip_byte(&file, at.unwrap() as u64 + 5);

    let answer = store.read(&[key(7)]).await;

    let damaged = matches!(
        answer,
        Err(reveille::ports::error::StoreError::Damaged { .. })
    );
    assert!(damaged, "{answer:?}");
}
