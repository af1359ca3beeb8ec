//! The one thread that changes anything durable: it gathers what waits, makes it true with one fsync, and answers all.
//!
//! A change is checked against the state as it is, put into the frame under construction, and applied when the frame is on
//! disk. So whatever is read has been durable before, and a frame that cannot be written leaves no trace. Two changes of one
//! device never share a frame.

use std::{fs::File, sync::Arc};

use hashbrown::HashSet;
use tokio::sync::{mpsc, oneshot};

use super::{
    Doom, Shared,
    batch::{Batch, PAYLOAD_HEAD_BYTES, Verdict, key_of},
    bytes::Bytes,
    clock::Moment,
    compaction::Compaction,
    errors::{damaged, in_part, io_failed, side_failed},
    jobs::{Answer, ChangeJob, CommitJob, Job, Stage, tell},
    log::{At, Log},
    ops::Op,
    room::{Room, is_full},
    segment::FRAME_HEAD_BYTES,
    side::{Side, is_aside},
};
use crate::ports::{error::StoreError, records::Urgency};

/// A frame is written when it has reached this size.
const FRAME_BYTES: usize = 1024 * 1024;
/// Changes that wait for one fsync at most.
const JOBS_PER_FRAME_MAX: usize = 1024;
/// Changes applied under one lock, so that claims get between them.
const APPLY_CHUNK: usize = 256;
/// Bytes of the oldest segment looked at for each byte written, while the log is too long.
const COMPACTION_RATIO: u64 = 3;
const COMPACTION_BYTES_MIN: u64 = 128 * 1024;

enum Pending {
    Commit(CommitJob, Vec<Verdict>),
    Change(Answer),
}

/// The thread's own.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) side: Arc<Side>,
    pub(super) log: Log,
    pub(super) room: Room,
    pub(super) segment_bytes: u64,
    pub(super) lock: File,
    batch: Batch,
    pending: Vec<Pending>,
    compaction: Option<Compaction>,
    compacts: bool,
    logged_correction_ms: i64,
    shortage: Option<String>,
    failed: Option<StoreError>,
    /// Bytes of the frame under construction that are copies of older ones, and of the last frame that were not.
    moved_bytes: usize,
    asked_bytes: u64,
}

/// What a writer is made of.
pub(super) struct Parts {
    pub(super) shared: Arc<Shared>,
    pub(super) side: Arc<Side>,
    pub(super) log: Log,
    pub(super) room: Room,
    pub(super) segment_bytes: u64,
    pub(super) lock: File,
}

impl Writer {
    pub(super) fn new(parts: Parts, moment: Moment) -> Self {
        let Parts {
            shared,
            side,
            log,
            room,
            segment_bytes,
            lock,
        } = parts;
        Self {
            shared,
            side,
            log,
            room,
            segment_bytes,
            lock,
            batch: Batch::new(moment),
            pending: Vec::new(),
            compaction: None,
            compacts: true,
            logged_correction_ms: 0,
            shortage: None,
            failed: None,
            moved_bytes: 0,
            asked_bytes: 0,
        }
    }

    /// Notes in the log that the store was opened, so that no claim's token comes twice.
    pub(super) fn note_opening(&mut self) -> Result<(), StoreError> {
        let times = self.shared.state().opened + 1;
        self.batch.add(&Op::Opened { times });
        self.flush()
    }

    /// Works until the store is closed or forgotten.
    pub(super) fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let _doom = Doom(self.shared.clone());
        while let Some(job) = jobs.blocking_recv() {
            self.shortage = self.look_for_room();
            self.stage_moves();
            let (mut next, mut room) = (Some(job), JOBS_PER_FRAME_MAX);
            while let Some(job) = next.take() {
                match job {
                    Job::Close(reply) => return self.close(reply),
                    Job::Commit(job) => self.stage_commit(job),
                    Job::Change(job) => self.stage_change(job),
                }
                room -= 1;
                // What is taken is staged: none is taken for which there is no room.
                if room > 0 && self.batch.bytes() < FRAME_BYTES {
                    next = jobs.try_recv().ok();
                }
            }
            self.flush().ok();
        }
    }

    fn close(mut self, reply: oneshot::Sender<Result<(), StoreError>>) {
        let ms = self.shared.state().clock.correction_ms();
        self.batch.add(&Op::Correction { ms });
        let flushed = self.flush();
        let persisted = self.side.persist().map_err(|e| side_failed(&e));
        drop((self.side, self.lock));
        reply.send(flushed.and(persisted)).ok();
    }

    // === room ===

    /// Why new work must be refused, if so; takes the room of the next segment ahead.
    fn look_for_room(&mut self) -> Option<String> {
        let mut shortage = self.room.shortage();
        if shortage.is_none() {
            self.room.take_ballast();
        }
        if shortage.is_none() && !self.log.has_spare() {
            let prepared = self.log.prepare_spare();
            shortage = prepared
                .err()
                .map(|e| format!("no room for the next segment: {e}"));
        }
        self.shared.set_shortage(shortage.clone());
        shortage
    }

    fn admit(&self, urgency: Urgency) -> Result<(), StoreError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        match (urgency, &self.shortage) {
            (Urgency::Open, Some(detail)) => {
                let detail = detail.clone();
                Err(StoreError::Full { detail })
            }
            (Urgency::Open | Urgency::Settle, _) => Ok(()),
        }
    }

    // === staging ===

    fn stage_moves(&mut self) {
        if self.compaction.is_none() && self.compacts {
            let state = self.shared.state();
            self.compaction = Compaction::begin(&self.log, &state, self.segment_bytes);
        }
        let Some(compaction) = &mut self.compaction else {
            return;
        };
        let bytes = (self.asked_bytes * COMPACTION_RATIO).max(COMPACTION_BYTES_MIN);
        let (state, before) = (self.shared.state(), self.batch.bytes());
        if let Err(error) = compaction.stage(&mut self.batch, &state, bytes) {
            drop(state);
            let warning = format!("the log is kept whole from now on, it grows: {error}");
            self.shared.warn(warning);
            (self.compaction, self.compacts) = (None, false);
        }
        self.moved_bytes = self.batch.bytes() - before;
    }

    fn note(&mut self, moment: Moment) {
        self.batch.note(moment);
        self.shared.state().clock.observe(moment);
    }

    fn stage_commit(&mut self, job: CommitJob) {
        self.note(job.moment);
        if let Err(error) = self
            .admit(job.urgency)
            .and_then(|()| self.check_fence(&job))
        {
            job.reply.send(Err(error)).ok();
            return;
        }
        match self.stage_items(&job) {
            Ok(verdicts) => self.pending.push(Pending::Commit(job, verdicts)),
            Err(error) => {
                job.reply.send(Err(error)).ok();
            }
        }
    }

    fn check_fence(&self, job: &CommitJob) -> Result<(), StoreError> {
        let Some(fence) = &job.fence else {
            return Ok(());
        };
        let raised = self.shared.state().fences.get(&fence.name).copied();
        if raised.is_some_and(|epoch| epoch > fence.epoch) {
            return Err(StoreError::Fenced);
        }
        Ok(())
    }

    fn stage_items(&mut self, job: &CommitJob) -> Result<Vec<Verdict>, StoreError> {
        let items = &job.items;
        let find = |shared: &Shared| {
            let keys = items.iter().map(|item| key_of(&item.key));
            shared.state().devices.find_all(keys)
        };
        let (mut found, mut flushed) = (find(&self.shared), false);
        let mut own = HashSet::with_capacity(items.len());
        let mut verdicts = Vec::with_capacity(items.len());
        for (place, item) in items.iter().enumerate() {
            let (fingerprint, _) = found[place];
            if !own.insert(fingerprint) {
                verdicts.push(Verdict::Conflict);
                continue;
            }
            if self.batch.touches(fingerprint) || self.batch.bytes() >= FRAME_BYTES {
                self.flush().map_err(|error| in_part(error, flushed))?;
                (found, flushed) = (find(&self.shared), true);
                // It may have been raised by what was flushed.
                self.check_fence(job)
                    .map_err(|error| in_part(error, true))?;
            }
            let state = self.shared.state();
            let staged = self.batch.stage(item, found[place], &state, &self.side);
            verdicts.push(staged.map_err(|error| in_part(side_failed(&error), true))?);
        }
        Ok(verdicts)
    }

    fn stage_change(&mut self, job: ChangeJob) {
        self.note(job.moment);
        let mut admitted = self.admit(job.urgency);
        if admitted.is_ok() && self.batch.touches_name(&job.name) {
            admitted = self.flush();
        }
        self.batch.touch_name(&job.name);
        let stage = admitted.map(|()| Stage {
            batch: &mut self.batch,
            shared: &self.shared,
            side: &self.side,
        });
        let answer = (job.stage)(stage);
        self.pending.push(Pending::Change(answer));
    }

    // === flushing ===

    /// Makes the frame under construction true and answers all that wait for it.
    fn flush(&mut self) -> Result<(), StoreError> {
        let outcome = match &self.failed {
            Some(error) => Err(error.clone()),
            None => self.write_batch(),
        };
        self.batch.clear();
        if let (Err(_), Some(compaction)) = (&outcome, &mut self.compaction) {
            compaction.revert();
        }
        for pending in std::mem::take(&mut self.pending) {
            match pending {
                Pending::Change(answer) => answer(outcome.clone()),
                Pending::Commit(job, verdicts) => {
                    let told = outcome
                        .clone()
                        .and_then(|()| tell(&job.items, verdicts, &self.shared));
                    job.reply.send(told).ok();
                }
            }
        }
        outcome
    }

    fn write_batch(&mut self) -> Result<(), StoreError> {
        let ms = self.shared.state().clock.correction_ms();
        if ms != self.logged_correction_ms {
            self.batch.add(&Op::Correction { ms });
        }
        if self.batch.is_empty() {
            return Ok(());
        }
        self.batch.finish(&mut self.shared.state());
        if !self.log.fits(self.batch.frame()) {
            self.rotate()?;
        }
        if self.log.wants_checkpoint() {
            let mut checkpoint = self.batch.checkpoint(&self.shared.state());
            self.write_frame(&mut checkpoint)?;
        }
        self.look_aside()?;
        let mut frame = std::mem::take(self.batch.frame_mut());
        let written = self.write_frame(&mut frame);
        let applied = written.and_then(|(number, at)| self.apply(number, at, &frame));
        let frame_bytes = frame.len();
        *self.batch.frame_mut() = frame;
        if let Err(error @ (StoreError::Damaged { .. } | StoreError::Unavailable { .. })) = &applied
        {
            let error = error.clone();
            self.fail(error);
        }
        applied?;
        let asked = frame_bytes - std::mem::take(&mut self.moved_bytes).min(frame_bytes);
        self.asked_bytes = asked.min(FRAME_BYTES) as u64;
        self.logged_correction_ms = ms;
        self.finish_compaction()
    }

    fn rotate(&mut self) -> Result<(), StoreError> {
        let mut rotated = self.log.rotate();
        if rotated.as_ref().is_err_and(is_full) && self.room.drop_ballast() {
            rotated = self.log.rotate();
        }
        // Nothing was written yet, so the next change may try again, whatever stood in the way.
        let segment = rotated.map_err(|error| match is_full(&error) {
            true => full(&error),
            false => StoreError::Unavailable {
                detail: format!("the log cannot grow: {error}; it is tried again"),
                retry_after: None,
            },
        })?;
        self.shared.state().segments.push_back(segment);
        Ok(())
    }

    fn write_frame(&mut self, frame: &mut [u8]) -> Result<(u64, At), StoreError> {
        let written = self
            .log
            .write(frame)
            .map_err(|error| self.log_failed(&error))?;
        if let Err(error) = self.log.sync(frame.len()) {
            return Err(self.fail(io_failed("the log cannot be made durable", &error)));
        }
        Ok(written)
    }

    fn log_failed(&mut self, error: &std::io::Error) -> StoreError {
        if is_full(error) {
            return full(error);
        }
        self.fail(io_failed("the log cannot be written", error))
    }

    /// What is on disk and what is in memory may differ from now on: only opening the store anew brings them together.
    fn fail(&mut self, error: StoreError) -> StoreError {
        self.shared.broken.send_replace(Some(error.to_string()));
        self.failed = Some(error.clone());
        error
    }

    /// Refuses a frame that changes the tables beside the log when these may find no room for it.
    fn look_aside(&mut self) -> Result<(), StoreError> {
        if self.shortage.is_none() {
            return Ok(());
        }
        let ops = read_ops(&self.batch.frame()[FRAME_HEAD_BYTES..])?;
        if ops.iter().any(is_aside) && !self.room.has_room_aside() {
            let detail = "the disk is full".to_owned();
            return Err(StoreError::Full { detail });
        }
        Ok(())
    }

    /// Applies a frame that is durable: first aside, so that nothing refers to what is not there yet, then in memory.
    fn apply(&self, number: u64, at: At, frame: &[u8]) -> Result<(), StoreError> {
        let payload = &frame[FRAME_HEAD_BYTES..];
        let ops = read_ops(payload)?;
        let aside: Vec<_> = ops.iter().filter(|op| is_aside(op)).copied().collect();
        if !aside.is_empty() {
            self.side
                .apply(number, &aside)
                .map_err(|e| side_failed(&e))?;
        }
        let (mut state, now) = (self.shared.state(), self.batch.instant());
        let first_count = ops.iter().position(|op| matches!(op, Op::Count { .. }));
        let (of_devices, others) = ops.split_at(first_count.unwrap_or(ops.len()));
        for chunk in of_devices.chunks(APPLY_CHUNK) {
            state
                .apply(chunk, at, now)
                .map_err(|error| damaged(&error))?;
            drop(state);
            state = self.shared.state();
        }
        state
            .apply(others, at, now)
            .map_err(|error| damaged(&error))?;
        let wakes = self.shared.wakes_of(&mut state);
        drop(state);
        self.shared.announce(wakes, &aside);
        Ok(())
    }

    fn finish_compaction(&mut self) -> Result<(), StoreError> {
        let is_empty = self.compaction.as_mut().is_some_and(Compaction::commit);
        if is_empty {
            self.compaction = None;
            let seen = self.side.note_seen(self.log.last_frame());
            seen.and_then(|()| self.side.persist())
                .map_err(|e| side_failed(&e))?;
            self.shared.state().segments.pop_front();
            // Those behind it must not go before it: a log with a hole cannot be opened.
            if let Err(error) = self.log.remove_oldest() {
                return Err(self.fail(io_failed("a segment cannot be removed", &error)));
            }
        }
        Ok(())
    }
}

fn full(error: &std::io::Error) -> StoreError {
    let detail = format!("the log cannot grow: {error}");
    StoreError::Full { detail }
}

/// The changes of a payload.
pub(super) fn read_ops(payload: &[u8]) -> Result<Vec<Op<'_>>, StoreError> {
    let mut rest = Bytes::new(payload);
    rest.take(PAYLOAD_HEAD_BYTES)
        .map_err(|error| damaged(&error))?;
    let mut ops = Vec::with_capacity(payload.len() / 256);
    while !rest.is_empty() {
        ops.push(Op::read(&mut rest).map_err(|error| damaged(&error))?);
    }
    Ok(ops)
}
