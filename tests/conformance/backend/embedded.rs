//! The embedded store under the suite, with a clock of its own and a folder that is copied away to crash it.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;
use reveille::{
    adapters::{
        embedded::{EmbeddedOptions, EmbeddedStore},
        measured::MeasuredStore,
    },
    ports::{Store, clock::Clock, queues::LEASE},
    telemetry::Telemetry,
};
use tempfile::TempDir;

use crate::{Start, backend::Backend};

const FEED_EVENTS_MAX: usize = 40;
const FEED_AGE_MAX: Duration = Duration::from_secs(3_600);

/// A clock that is moved by hand.
struct HandClock(Mutex<Timestamp>);

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

pub(crate) struct Embedded {
    store: Arc<EmbeddedStore>,
    clock: Arc<HandClock>,
    folder: TempDir,
    /// Handles and folders of crashed stores that cases may still have.
    crashed: Vec<(Arc<EmbeddedStore>, TempDir)>,
}

fn open(folder: &Path, clock: Arc<HandClock>, disk_reserve_bytes: u64) -> Arc<EmbeddedStore> {
    let options = EmbeddedOptions {
        feed_events_max: FEED_EVENTS_MAX as u64,
        feed_age_max: FEED_AGE_MAX,
        cache_bytes: 1024 * 1024,
        segment_bytes: 64 * 1024,
        disk_reserve_bytes,
        ballast_bytes: 64 * 1024,
        ..EmbeddedOptions::new(folder.to_owned(), clock)
    };
    EmbeddedStore::open(options).unwrap()
}

impl Start for Embedded {
    async fn start() -> Self {
        tokio::time::pause();
        let clock = Mutex::new("2026-03-14T15:09:26.535Z".parse().unwrap());
        let (clock, folder) = (Arc::new(HandClock(clock)), TempDir::new().unwrap());
        Self {
            store: open(folder.path(), clock.clone(), 0),
            clock,
            folder,
            crashed: Vec::new(),
        }
    }
}

impl Embedded {
    /// Opens what a killed process would have left: the files as they are.
    fn reopen(&mut self, disk_reserve_bytes: u64) {
        let copy = TempDir::new().unwrap();
        copy_folder(self.folder.path(), copy.path());
        let store = open(copy.path(), self.clock.clone(), disk_reserve_bytes);
        let former = std::mem::replace(&mut self.store, store);
        let folder = std::mem::replace(&mut self.folder, copy);
        self.crashed.push((former, folder));
    }
}

fn copy_folder(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&to).unwrap();
            copy_folder(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), &to).unwrap();
        }
    }
}

#[async_trait]
impl Backend for Embedded {
    /// As a broker uses it: measured.
    fn store(&self) -> Arc<dyn Store> {
        let telemetry = Telemetry::new(Duration::from_secs(60));
        Arc::new(MeasuredStore::new(self.store.clone(), telemetry))
    }

    fn other(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    fn shards(&self) -> usize {
        1
    }

    async fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn tick(&self) -> Duration {
        Duration::from_secs(10)
    }

    fn lease(&self) -> Duration {
        LEASE
    }

    async fn pass(&self, span: Duration) {
        *self.clock.0.lock().unwrap() += span;
        tokio::time::advance(span).await;
    }

    async fn crash(&mut self) {
        self.reopen(0);
    }

    async fn fill(&mut self) {
        self.reopen(u64::MAX);
    }

    fn feed_events_max(&self) -> usize {
        FEED_EVENTS_MAX
    }

    fn feed_age_max(&self) -> Duration {
        FEED_AGE_MAX
    }
}
