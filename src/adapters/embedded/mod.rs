//! The embedded store: one data folder, no server; the default.
//!
//! A log takes every change in the order it becomes true, with one fsync for all that wait; records are read out of it again.
//! In memory are a hundred bytes a device: where its record stands, its revision and its turn. Lists, events and documents go
//! aside into an ordered key-value store that repeats the log after a crash.
//!
//! One process at a time uses a folder. Whatever was acknowledged survives `kill -9` and, as far as the disk keeps its word on
//! fsync, a power cut.

mod batch;
mod bytes;
mod claims;
mod clock;
mod compaction;
mod devices;
mod documents;
mod due;
mod errors;
mod feed;
mod fetch;
mod fronts;
mod jobs;
mod leases;
mod lists;
mod log;
mod open;
mod ops;
mod probe;
mod queues;
mod records;
mod room;
mod segment;
mod shares;
mod side;
mod state;
mod tally;
mod writer;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

pub use open::OpenError;

use self::{
    clock::Moment,
    jobs::{Answer, ChangeJob, Job, Stage},
    ops::Op,
    shares::Portions,
    side::Side,
    state::State,
};
use crate::ports::{clock::Clock, error::StoreError, queues::Wake, records::Urgency};

/// Jobs that wait for the writer at most; callers wait for a place.
const JOBS_MAX: usize = 1024;
/// Wakes that a slow listener may be behind.
const WAKES_MAX: usize = 1024;

/// Where the store is and what it may use.
pub struct EmbeddedOptions {
    /// The data folder; made if it is not there.
    pub path: PathBuf,
    /// Tells the time of day.
    pub clock: Arc<dyn Clock>,
    /// Events kept of each tenant's feed at most.
    pub feed_events_max: u64,
    /// How long events are kept at most.
    pub feed_age_max: Duration,
    /// Memory for blocks of lists, events and documents.
    pub cache_bytes: u64,
    /// Size of a file of the log; its room is taken at once.
    pub segment_bytes: u64,
    /// New work is refused when the disk has less free than this.
    pub disk_reserve_bytes: u64,
    /// A file that is thrown away when even settling finds no room.
    pub ballast_bytes: u64,
    /// Ends the reading of the log early, and with it the opening.
    pub given_up: CancellationToken,
}

impl EmbeddedOptions {
    /// The usual figures for a store in `path`.
    #[must_use]
    pub fn new(path: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self {
            path,
            clock,
            feed_events_max: 1_000_000,
            feed_age_max: Duration::from_secs(7 * 24 * 3600),
            cache_bytes: 16 * 1024 * 1024,
            segment_bytes: 64 * 1024 * 1024,
            disk_reserve_bytes: 64 * 1024 * 1024,
            ballast_bytes: 64 * 1024 * 1024,
            given_up: CancellationToken::new(),
        }
    }
}

/// The store; see the module.
pub struct EmbeddedStore {
    shared: Arc<Shared>,
    jobs: mpsc::Sender<Job>,
    path: PathBuf,
    feed_events_max: u64,
    feed_age_max: Duration,
    shares: Mutex<Portions>,
}

/// What callers and the writer see together.
struct Shared {
    state: Mutex<State>,
    /// Gone once the store is closed.
    side: ArcSwapOption<Side>,
    clock: Arc<dyn Clock>,
    store: u64,
    wakes: broadcast::Sender<Wake>,
    appended: watch::Sender<u64>,
    changed: watch::Sender<u64>,
    /// Why nothing can be written any more.
    broken: watch::Sender<Option<String>>,
    shortage: Mutex<Option<String>>,
    warnings: Mutex<Vec<String>>,
}

/// Tells that the store is broken if the writer panics.
struct Doom(Arc<Shared>);

impl Drop for Doom {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let why = "the store's writer panicked".to_owned();
            self.0.broken.send_replace(Some(why));
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("nothing panics while it holds the state")
    }

    fn side(&self) -> Result<Arc<Side>, StoreError> {
        self.side.load_full().ok_or_else(closed)
    }

    fn moment(&self) -> Moment {
        Moment::now(self.clock.as_ref())
    }

    fn set_shortage(&self, shortage: Option<String>) {
        *self
            .shortage
            .lock()
            .expect("nothing panics while it holds this") = shortage;
    }

    fn warn(&self, warning: String) {
        let mut warnings = self
            .warnings
            .lock()
            .expect("nothing panics while it holds this");
        warnings.push(warning);
    }

    /// What the problem list of the probe says.
    fn warnings(&self) -> Vec<String> {
        let kept = self
            .warnings
            .lock()
            .expect("nothing panics while it holds this");
        let mut warnings = kept.clone();
        drop(kept);
        let shortage = self
            .shortage
            .lock()
            .expect("nothing panics while it holds this");
        let shortage = shortage.as_ref();
        warnings.extend(shortage.map(|s| format!("new work is refused: {s}")));
        let set_back = self.state().clock.set_back_ms(self.moment().instant);
        if let Some(ms) = set_back {
            let seconds = ms / 1_000;
            warnings.push(format!(
                "the clock was set back by {seconds} s; due times went with it"
            ));
        }
        warnings
    }

    /// The wakes that the last changes call for.
    fn wakes_of(&self, state: &mut State) -> Vec<Wake> {
        let woken = state.due.take_woken();
        let wake = |(queue, due_ms)| Wake {
            queue,
            earliest: state.clock.timestamp(due_ms),
        };
        woken.into_iter().map(wake).collect()
    }

    /// Tells listeners what has become true.
    fn announce(&self, wakes: Vec<Wake>, aside: &[Op<'_>]) {
        for wake in wakes {
            self.wakes.send(wake).ok();
        }
        if aside.iter().any(|op| matches!(op, Op::Events { .. })) {
            self.appended.send_modify(|n| *n += 1);
        }
        let lasting = |op: &Op<'_>| {
            matches!(
                op,
                Op::Document { expires_ms: 0, .. } | Op::DocumentGone { .. }
            )
        };
        if aside.iter().any(lasting) {
            self.changed.send_modify(|n| *n += 1);
        }
    }
}

impl EmbeddedStore {
    /// Checks and adds a change on the writer's thread, alone with its name, and answers when it is durable.
    async fn change<T: Send + 'static>(
        &self,
        name: String,
        urgency: Urgency,
        stage: impl FnOnce(Stage<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let stage = move |admitted: Result<Stage<'_>, StoreError>| {
            let staged = admitted.and_then(stage);
            let answer = move |flushed: Result<(), StoreError>| {
                reply
                    .send(staged.and_then(|told| flushed.map(|()| told)))
                    .ok();
            };
            Box::new(answer) as Answer
        };
        let job = ChangeJob {
            name,
            urgency,
            moment: self.shared.moment(),
            stage: Box::new(stage),
        };
        self.send(Job::Change(job)).await?;
        answer.await.map_err(|_| closed())?
    }

    async fn send(&self, job: Job) -> Result<(), StoreError> {
        self.shared.side()?;
        self.jobs.send(job).await.map_err(|_| closed())
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable {
        detail: "the embedded store is closed".to_owned(),
        retry_after: None,
    }
}
