//! Opening a folder: lock it, read the log again, start the writer.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
};

use arc_swap::ArcSwapOption;
use tokio::{
    sync::{broadcast, mpsc, watch},
    time::Instant,
};

use super::{
    EmbeddedOptions, EmbeddedStore, JOBS_MAX, Shared, WAKES_MAX,
    clock::{Moment, QueueClock},
    jobs::Job,
    log::{Frame, Log, LogError, store_of},
    ops::Op,
    room::{Room, full_behind},
    segment::SegmentError,
    shares::Portions,
    side::{Side, is_aside},
    state::State,
    writer::{Parts, Writer, read_ops},
};
use crate::ports::{clock::Clock, error::StoreError};

const LOCK: &str = "LOCK";
const LOG: &str = "log";
const SIDE: &str = "side";

/// Why a folder cannot be opened as a store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process uses it.
    #[error("the store folder {} is in use by another broker; stop it, or choose another folder", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// It cannot be made, read or written.
    #[error("the store folder {} cannot be used: {source}", path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It was written by another version.
    #[error("the store folder {} is of another version: {detail}", path.display())]
    Version {
        /// The folder.
        path: PathBuf,
        /// Which one.
        detail: String,
    },
    /// Its parts are of different moments.
    #[error("the store folder {} was copied in parts, or while a broker used it: {detail}; copy it whole with the broker stopped, or use `reveille store copy`", path.display())]
    Apart {
        /// The folder.
        path: PathBuf,
        /// How that shows.
        detail: &'static str,
    },
    /// It holds something that cannot be read, which would lose what was acknowledged.
    #[error("the store folder {} is damaged: {detail}; keep a copy of it before anything else", path.display())]
    Damaged {
        /// The folder.
        path: PathBuf,
        /// Which part.
        detail: String,
    },
}

impl EmbeddedStore {
    /// Opens the store in `options.path`, or makes one there. Reads the whole log: a million devices take seconds.
    ///
    /// # Errors
    /// [`OpenError`] with the folder and what is wrong with it.
    pub fn open(options: EmbeddedOptions) -> Result<Arc<Self>, OpenError> {
        let path = options.path.clone();
        let lock = lock(&path)?;
        let (folder, side) = (path.join(LOG), path.join(SIDE));
        make_folder(&folder).map_err(|source| io_error(&path, source))?;
        let side =
            Side::open(&side, options.cache_bytes).map_err(|error| unreadable(&path, &error))?;
        let (log, state) =
            read_log(&folder, &side, &options).map_err(|error| log_error(&path, error))?;
        let side = Arc::new(side);
        let shared = Arc::new(share(state, side.clone(), &log, options.clock.clone()));
        let room = Room::new(folder, options.disk_reserve_bytes, options.ballast_bytes);
        let parts = Parts {
            shared: shared.clone(),
            side,
            log,
            room,
            segment_bytes: options.segment_bytes,
            lock,
        };
        let jobs = start(parts).map_err(|error| match error {
            Start::Io(source) => io_error(&path, source),
            Start::Store(error) => io_error(&path, io::Error::other(error)),
        })?;
        Ok(Arc::new(Self {
            shared,
            jobs,
            path,
            feed_events_max: options.feed_events_max,
            feed_age_max: options.feed_age_max,
            shares: Mutex::new(Portions::default()),
        }))
    }
}

/// Makes the folder of the log, so that a power cut leaves it there.
fn make_folder(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for above in folder.ancestors().skip(1).take(2) {
        if !above.as_os_str().is_empty() {
            File::open(above)?.sync_all()?;
        }
    }
    Ok(())
}

fn lock(path: &Path) -> Result<File, OpenError> {
    let made = std::fs::create_dir_all(path).and_then(|()| {
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true);
        options.open(path.join(LOCK))
    });
    let file = made.map_err(|source| io_error(path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(io_error(path, source)),
    }
}

/// Adds up the log, in memory and aside.
fn read_log(
    folder: &Path,
    side: &Side,
    options: &EmbeddedOptions,
) -> Result<(Log, State), LogError> {
    let (mut state, applied) = (State::new(rand::random()), side.applied()?);
    let of_log = store_of(folder)?;
    if of_log.is_some() && side.store()?.is_some_and(|of_side| of_log != Some(of_side)) {
        return Err(LogError::Apart("`log` and `side` are of different stores"));
    }
    let seen = side.seen()?;
    // Tables without a single change are new: whatever the log has lost, they never had.
    let needed = (seen.is_some() || applied == 0).then(|| seen.unwrap_or(0).max(applied) + 1);
    let mut first = None;
    let (mut wall_ms, mut correction_ms) = (None, 0);
    let now = Instant::now();
    let bytes = options.segment_bytes;
    let log = Log::open(folder, bytes, rand::random(), |frame: Frame<'_>| {
        if options.given_up.is_cancelled() {
            return Err(io::Error::from(io::ErrorKind::Interrupted).into());
        }
        let first = *first.get_or_insert(frame.number);
        if needed.is_some_and(|needed| first > needed) {
            return Err(LogError::Apart(
                "`side` is older than the beginning of `log`",
            ));
        }
        let ops = read_ops(frame.payload)?;
        wall_ms = frame
            .payload
            .first_chunk()
            .map(|ms| i64::from_le_bytes(*ms));
        state.apply(&ops, frame.at, now)?;
        for op in &ops {
            if let Op::Correction { ms } = op {
                correction_ms = *ms;
            }
        }
        let aside: Vec<_> = ops.into_iter().filter(is_aside).collect();
        if frame.number > applied && !aside.is_empty() {
            side.apply(frame.number, &aside)?;
        }
        Ok(())
    })?;
    // The newest may have no frame yet: the broker ended just after it began it.
    state.segments = log.segments().cloned().collect();
    vouch(side, &log, first)?;
    let moment = Moment::now(options.clock.as_ref());
    state.clock = QueueClock::new(correction_ms, wall_ms.unwrap_or(moment.wall_ms));
    state.clock.observe(moment);
    state.due.take_woken();
    Ok((log, state))
}

/// Notes that the tables go with the log, whose first frame is `first`.
fn vouch(side: &Side, log: &Log, first: Option<u64>) -> Result<(), LogError> {
    if side.applied()? > log.last_frame() {
        return Err(LogError::Apart("`side` is newer than the end of `log`"));
    }
    if side.store()? != Some(log.store()) {
        side.note_store(log.store())?;
    }
    if side.seen()?.is_none() {
        side.note_seen(first.map_or(0, |first| first - 1))?;
    }
    Ok(())
}

fn share(state: State, side: Arc<Side>, log: &Log, clock: Arc<dyn Clock>) -> Shared {
    Shared {
        state: Mutex::new(state),
        side: ArcSwapOption::new(Some(side)),
        clock,
        store: log.store(),
        wakes: broadcast::Sender::new(WAKES_MAX),
        appended: watch::Sender::new(0),
        changed: watch::Sender::new(0),
        broken: watch::Sender::new(None),
        shortage: Mutex::new(None),
        warnings: Mutex::new(Vec::new()),
    }
}

enum Start {
    Io(io::Error),
    Store(StoreError),
}

fn start(parts: Parts) -> Result<mpsc::Sender<Job>, Start> {
    let moment = parts.shared.moment();
    let mut writer = Writer::new(parts, moment);
    writer.note_opening().map_err(Start::Store)?;
    let (jobs, waiting) = mpsc::channel(JOBS_MAX);
    let thread = thread::Builder::new().name("store-writer".to_owned());
    thread
        .spawn(move || writer.run(waiting))
        .map_err(Start::Io)?;
    Ok(jobs)
}

fn io_error(path: &Path, source: io::Error) -> OpenError {
    let path = path.to_owned();
    OpenError::Io { path, source }
}

/// A full disk is no damage.
fn unreadable(path: &Path, error: &(dyn std::error::Error + 'static)) -> OpenError {
    if let Some(full) = full_behind(error) {
        return io_error(path, io::Error::new(full.kind(), full.to_string()));
    }
    OpenError::Damaged {
        path: path.to_owned(),
        detail: error.to_string(),
    }
}

fn log_error(path: &Path, error: LogError) -> OpenError {
    match error {
        LogError::Io(source) | LogError::Segment(SegmentError::Io(source)) => {
            io_error(path, source)
        }
        LogError::Segment(schema @ SegmentError::Schema(..)) => OpenError::Version {
            path: path.to_owned(),
            detail: schema.to_string(),
        },
        LogError::Apart(detail) => OpenError::Apart {
            path: path.to_owned(),
            detail,
        },
        error @ (LogError::Segment(SegmentError::Foreign(_))
        | LogError::Damaged { .. }
        | LogError::Malformed(_)
        | LogError::Store(_)
        | LogError::Side(_)) => unreadable(path, &error),
    }
}
