//! Keeps the log short: copies what is still current out of the oldest segment, a little with every batch, then removes it.
//!
//! Only the oldest segment is ever emptied, so what it deletes or replaces can only be older than itself, and is gone already.

use std::sync::Arc;

use super::{
    batch::{Batch, PAYLOAD_HEAD_BYTES},
    bytes::Bytes,
    log::{Log, LogError},
    ops::{Op, RECORD_CHECKSUM_BYTES, Record},
    segment::{FRAME_HEAD_BYTES, SEGMENT_HEAD_BYTES, Segment},
    state::State,
};

/// What a record takes in the log beside its bytes, about.
const RECORD_EXTRA_BYTES: u64 = 110;
/// Segments beyond twice the current records before anything is copied.
const SLACK_SEGMENTS: u64 = 3;

/// A walk through the oldest segment.
pub(super) struct Compaction {
    segment: Arc<Segment>,
    end: u64,
    /// What stands before this is current nowhere or durable elsewhere.
    done: u64,
    /// The same once the batch under construction is durable.
    staged: u64,
    payload: Vec<u8>,
}

impl Compaction {
    /// Begins with the oldest segment if the log is much longer than what is current.
    pub(super) fn begin(log: &Log, state: &State, segment_bytes: u64) -> Option<Self> {
        let current = state.devices.live_bytes() + state.devices.len() as u64 * RECORD_EXTRA_BYTES;
        if log.bytes() <= 2 * current + SLACK_SEGMENTS * segment_bytes {
            return None;
        }
        let (segment, end) = log.oldest()?;
        Some(Self {
            segment,
            end,
            done: SEGMENT_HEAD_BYTES,
            staged: SEGMENT_HEAD_BYTES,
            payload: Vec::new(),
        })
    }

    /// Adds copies of what is current in the next frames to `batch`; `bytes` of frames are looked at, and one at least.
    pub(super) fn stage(
        &mut self,
        batch: &mut Batch,
        state: &State,
        bytes: u64,
    ) -> Result<(), LogError> {
        let until = self.end.min(self.done + bytes);
        while self.staged < until {
            let at = self.staged;
            let frame = self.segment.frame(at, None, &mut self.payload)?;
            let segment = self.segment.number;
            frame.ok_or(LogError::Damaged { segment, at })?;
            let payload_at = at + FRAME_HEAD_BYTES as u64;
            let mut rest = Bytes::new(&self.payload);
            rest.take(PAYLOAD_HEAD_BYTES)?;
            while !rest.is_empty() {
                if let Op::Record(record) | Op::Moved(record) = Op::read(&mut rest)? {
                    let offset = payload_at + record.at as u64;
                    copy_current(&record, (segment, offset), batch, state);
                }
            }
            self.staged = payload_at + self.payload.len() as u64;
        }
        Ok(())
    }

    /// What was staged has become durable; tells whether the segment is empty now.
    pub(super) fn commit(&mut self) -> bool {
        self.done = self.staged;
        self.done >= self.end
    }

    /// What was staged was not written.
    pub(super) fn revert(&mut self) {
        self.staged = self.done;
    }
}

fn copy_current(record: &Record<'_>, at: (u32, u64), batch: &mut Batch, state: &State) {
    let Some(number) = state.devices.find(record.key) else {
        return;
    };
    let device = state.devices.get(number);
    let location = device.location;
    if (location.segment, u64::from(location.offset)) != at {
        return;
    }
    debug_assert!(record.at > RECORD_CHECKSUM_BYTES);
    batch.add(&Op::Moved(Record {
        revision: device.revision,
        place: state.home(number),
        settles: false,
        ..*record
    }));
}
