//! Works through bodies of any length: reads on while batches are committed, in order for each device, with bounded memory.
//!
//! Entries go to a few lanes by their device. A lane has one batch on its way at a time, so the entries of one device are
//! applied in the order of the body; the lanes go on beside one another and beside reading.

use std::{
    future::Future,
    hash::{BuildHasher, RandomState},
};

use futures_util::{FutureExt, StreamExt, future::LocalBoxFuture, stream::FuturesUnordered};
use serde::Deserialize;

use super::{
    body::Pieces,
    json::explain,
    lines::{Line, LineSplitter},
    problem::Problem,
    report::{EntryError, Errors, Naming},
};
use crate::{domain::id::DeviceId, ports::error::StoreError};

/// Lanes of one request.
const LANES: usize = 4;
/// Most entries in one batch.
const BATCH: usize = 512;
/// Entries that may wait in a lane while its batch is on the way; then nothing more is read.
const WAITING_MAX: usize = 2 * BATCH;

/// An entry that cannot be taken, and why.
pub(super) struct Refusal {
    pub(super) device: Option<String>,
    pub(super) detail: String,
}

impl Refusal {
    pub(super) fn new(device: &str, detail: impl ToString) -> Self {
        Self {
            device: Some(device.to_owned()),
            detail: detail.to_string(),
        }
    }
}

/// One kind of bulk request.
pub(super) trait Work {
    /// A line as it is read.
    type Line<'a>: Deserialize<'a>;
    /// What is done for one device.
    type Job;
    /// What became of it.
    type Answer;
    /// What all answers add up to.
    type Sum: Default;

    /// Proves what was read.
    fn prove(&self, line: Self::Line<'_>) -> Result<(DeviceId, Self::Job), Refusal>;

    /// Does a batch; durable when answered, one answer for each job, in order.
    fn apply(
        &self,
        jobs: Vec<(DeviceId, Self::Job)>,
    ) -> impl Future<Output = Result<Vec<Self::Answer>, StoreError>>;

    /// Adds an answer; a text says why the entry was not taken after all.
    fn count(sum: &mut Self::Sum, answer: Self::Answer) -> Option<String>;
}

/// What became of a bulk request.
#[derive(Debug)]
pub(super) struct Report<S> {
    /// What the answers add up to.
    pub(super) sum: S,
    /// Entries that could not be read or proven.
    pub(super) refused: u64,
    /// The first errors.
    pub(super) errors: Vec<EntryError>,
}

struct Entry<J> {
    number: u64,
    device: DeviceId,
    job: J,
}

struct Lane<J> {
    waiting: Vec<Entry<J>>,
    busy: bool,
}

/// A batch that has ended.
struct Done<A> {
    lane: usize,
    entries: Vec<(u64, DeviceId)>,
    answers: Result<Vec<A>, StoreError>,
}

/// One bulk request being worked on.
pub(super) struct Run<'w, W: Work> {
    work: &'w W,
    lanes: [Lane<W::Job>; LANES],
    hasher: RandomState,
    running: FuturesUnordered<LocalBoxFuture<'w, Done<W::Answer>>>,
    sum: W::Sum,
    refused: u64,
    errors: Errors,
    /// The first failure of the store; no more batches begin then.
    failed: Option<StoreError>,
}

/// Works through a streamed body.
///
/// # Errors
/// What broke the stream or the store, with `done` telling what is durable all the same.
pub(super) async fn stream<W: Work>(
    work: &W,
    mut pieces: Pieces,
    line_bytes_max: usize,
) -> Result<Report<W::Sum>, (Problem, W::Sum)> {
    let mut run = Run::new(work, Naming::Line);
    let mut splitter = LineSplitter::new(line_bytes_max);
    while run.failed.is_none() {
        let piece = tokio::select! {
            piece = pieces.next(), if run.has_room() => piece,
            Some(done) = run.running.next(), if !run.running.is_empty() => {
                run.end(done);
                continue;
            }
        };
        match piece {
            Ok(Some(piece)) => splitter.feed(&piece, |line| run.take(line, line_bytes_max)),
            Ok(None) => break,
            Err(problem) => return Err(run.break_off(problem).await),
        }
        run.start_full();
    }
    splitter.finish(|line| run.take(line, line_bytes_max));
    run.finish().await
}

impl<'w, W: Work> Run<'w, W> {
    pub(super) fn new(work: &'w W, naming: Naming) -> Self {
        Self {
            work,
            lanes: std::array::from_fn(|_| Lane {
                waiting: Vec::new(),
                busy: false,
            }),
            hasher: RandomState::new(),
            running: FuturesUnordered::new(),
            sum: W::Sum::default(),
            refused: 0,
            errors: Errors::new(naming),
            failed: None,
        }
    }

    /// Takes an entry that is proven. Waits while there is no room.
    pub(super) async fn add(&mut self, number: u64, device: DeviceId, job: W::Job) {
        self.push(number, device, job);
        self.start_full();
        while !self.has_room() {
            let Some(done) = self.running.next().await else {
                break;
            };
            self.end(done);
        }
    }

    /// Does what is left and adds it all up.
    pub(super) async fn finish(mut self) -> Result<Report<W::Sum>, (Problem, W::Sum)> {
        self.finish_lanes().await;
        match self.failed {
            Some(error) => Err((error.into(), self.sum)),
            None => Ok(Report {
                sum: self.sum,
                refused: self.refused,
                errors: self.errors.into_list(),
            }),
        }
    }

    /// Commits what came before the stream broke.
    async fn break_off(mut self, problem: Problem) -> (Problem, W::Sum) {
        self.finish_lanes().await;
        (self.failed.map_or(problem, Problem::from), self.sum)
    }

    /// Ends when nothing is on its way any more, so that all that is durable has been counted.
    async fn finish_lanes(&mut self) {
        self.join_small();
        loop {
            for lane in 0..LANES {
                if !self.lanes[lane].busy && !self.lanes[lane].waiting.is_empty() {
                    self.start(lane);
                }
            }
            let Some(done) = self.running.next().await else {
                return;
            };
            self.end(done);
        }
    }

    /// A short body is one batch: lanes would only cut it into small ones.
    fn join_small(&mut self) {
        let waiting: usize = self.lanes.iter().map(|lane| lane.waiting.len()).sum();
        if waiting > BATCH || self.lanes.iter().any(|lane| lane.busy) {
            return;
        }
        let (first, rest) = self.lanes.split_at_mut(1);
        for lane in rest {
            first[0].waiting.append(&mut lane.waiting);
        }
        first[0].waiting.sort_unstable_by_key(|entry| entry.number);
    }

    fn take(&mut self, line: Line<'_>, line_bytes_max: usize) {
        let (number, text) = match line {
            Line::Text(number, text) => (number, text),
            Line::TooLong(number) => {
                let detail = format!("the line is longer than {line_bytes_max} bytes");
                return self.refuse(number, None, &detail);
            }
        };
        match serde_json::from_slice(text).map(|line| self.work.prove(line)) {
            Ok(Ok((device, job))) => self.push(number, device, job),
            Ok(Err(refusal)) => self.refuse(number, refusal.device.as_deref(), &refusal.detail),
            Err(error) => self.refuse(number, None, &explain(&error)),
        }
    }

    fn refuse(&mut self, number: u64, device: Option<&str>, detail: &str) {
        self.refused += 1;
        self.errors.note(number, device, detail);
    }

    fn push(&mut self, number: u64, device: DeviceId, job: W::Job) {
        let hash = self.hasher.hash_one(&device);
        let lane = usize::try_from(hash % LANES as u64).unwrap_or(0);
        self.lanes[lane].waiting.push(Entry {
            number,
            device,
            job,
        });
    }

    fn has_room(&self) -> bool {
        let full = |lane: &Lane<W::Job>| lane.busy && lane.waiting.len() >= WAITING_MAX;
        !self.lanes.iter().any(full)
    }

    fn start_full(&mut self) {
        for lane in 0..LANES {
            if !self.lanes[lane].busy && self.lanes[lane].waiting.len() >= BATCH {
                self.start(lane);
            }
        }
    }

    /// Begins a batch of a lane, unless one has failed: what is left is not worth trying then.
    fn start(&mut self, at: usize) {
        if self.failed.is_some() {
            return;
        }
        let lane = &mut self.lanes[at];
        lane.busy = true;
        let more = lane.waiting.split_off(lane.waiting.len().min(BATCH));
        let batch = std::mem::replace(&mut lane.waiting, more);
        let mut entries = Vec::with_capacity(batch.len());
        let mut jobs = Vec::with_capacity(batch.len());
        for entry in batch {
            entries.push((entry.number, entry.device.clone()));
            jobs.push((entry.device, entry.job));
        }
        let work = self.work;
        let done = async move {
            let answers = work.apply(jobs).await;
            Done {
                lane: at,
                entries,
                answers,
            }
        };
        self.running.push(done.boxed_local());
    }

    fn end(&mut self, done: Done<W::Answer>) {
        self.lanes[done.lane].busy = false;
        match done.answers {
            Ok(answers) => {
                for ((number, device), answer) in done.entries.into_iter().zip(answers) {
                    if let Some(detail) = W::count(&mut self.sum, answer) {
                        self.errors.note(number, Some(device.as_str()), &detail);
                    }
                }
            }
            Err(error) => {
                self.failed.get_or_insert(error);
            }
        }
        if self.lanes[done.lane].waiting.len() >= BATCH {
            self.start(done.lane);
        }
    }
}
