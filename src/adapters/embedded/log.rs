//! The log: every change in the order it became true, in segments, the newest written, the oldest compacted away.

use std::{
    collections::VecDeque,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    bytes::Malformed,
    segment::{FRAME_HEAD_BYTES, SEGMENT_HEAD_BYTES, Segment, SegmentError, fill_head},
};
use crate::ports::error::StoreError;

const SPARE: &str = "spare";

/// Where a payload stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At {
    pub(super) segment: u32,
    pub(super) offset: u64,
}

/// The segments and the end of the last.
pub(super) struct Log {
    folder: PathBuf,
    segment_bytes: u64,
    store: u64,
    segments: VecDeque<(Arc<Segment>, u64)>,
    next_frame: u64,
    has_spare: bool,
    /// Whether the newest segment has given back its room: the next frame needs another one.
    sealed: bool,
}

/// Why the log could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum LogError {
    #[error(transparent)]
    Segment(#[from] SegmentError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("segment {segment} is damaged at byte {at}")]
    Damaged { segment: u32, at: u64 },
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("lists, events and documents: {0}")]
    Side(#[from] fjall::Error),
    #[error("{0}")]
    Apart(&'static str),
}

/// A frame of the log as it is read again.
pub(super) struct Frame<'a> {
    pub(super) number: u64,
    pub(super) at: At,
    pub(super) payload: &'a [u8],
}

impl Log {
    /// Opens the log in `folder` and shows every frame in order; `store` names a new one.
    pub(super) fn open(
        folder: &Path,
        segment_bytes: u64,
        store: u64,
        mut visit: impl FnMut(Frame<'_>) -> Result<(), LogError>,
    ) -> Result<Self, LogError> {
        let numbers = segment_numbers(folder)?;
        let mut log = Self {
            folder: folder.to_owned(),
            segment_bytes,
            store,
            segments: VecDeque::new(),
            next_frame: 1,
            has_spare: folder.join(SPARE).exists(),
            sealed: false,
        };
        let mut expected = None;
        for (place, number) in numbers.iter().enumerate() {
            let (segment, store) = Segment::open(folder, *number)?;
            log.store = store;
            let segment = Arc::new(segment);
            let last = place + 1 == numbers.len();
            let end = read_segment(&segment, &mut expected, last, &mut visit)?;
            if last {
                segment.reopen_at(end, segment_bytes)?;
            }
            log.segments.push_back((segment, end));
        }
        log.next_frame = expected.unwrap_or(1);
        Ok(log)
    }

    /// Names the store for cursors.
    pub(super) fn store(&self) -> u64 {
        self.store
    }

    /// Whether the next frame is the first of its segment, so that it must be a checkpoint.
    pub(super) fn wants_checkpoint(&self) -> bool {
        let end = self.segments.back().map(|(_, end)| *end);
        end.is_none_or(|end| end == SEGMENT_HEAD_BYTES)
    }

    /// Whether a frame of this many bytes belongs into the newest segment.
    pub(super) fn fits(&self, frame: &[u8]) -> bool {
        let end = self.segments.back().map(|(_, end)| *end);
        !self.sealed
            && end.is_some_and(|end| {
                end == SEGMENT_HEAD_BYTES || end + frame.len() as u64 <= self.segment_bytes
            })
    }

    /// Whether the next segment's room is taken already.
    pub(super) fn has_spare(&self) -> bool {
        self.has_spare
    }

    /// Takes the room of the next segment.
    pub(super) fn prepare_spare(&mut self) -> io::Result<()> {
        if !self.has_spare {
            Segment::prepare(&self.folder.join(SPARE), self.segment_bytes)?;
            self.has_spare = true;
        }
        Ok(())
    }

    /// Number of the last frame; 0 if there is none.
    pub(super) fn last_frame(&self) -> u64 {
        self.next_frame - 1
    }

    /// Begins a new segment. After an error it may be tried again.
    pub(super) fn rotate(&mut self) -> io::Result<Arc<Segment>> {
        self.prepare_spare()?;
        let mut number = 1;
        if let Some((last, end)) = self.segments.back() {
            self.sealed = true;
            last.seal(*end)?;
            number = last.number + 1;
        }
        let spare = self.folder.join(SPARE);
        let created = Segment::create(&self.folder, &spare, number, self.store);
        self.has_spare = false;
        let segment = Arc::new(created?);
        self.sealed = false;
        let newest = (segment.clone(), SEGMENT_HEAD_BYTES);
        self.segments.push_back(newest);
        Ok(segment)
    }

    /// Writes a frame, whose head is left free, into the newest segment; not durable yet.
    pub(super) fn write(&mut self, frame: &mut [u8]) -> io::Result<(u64, At)> {
        let number = self.next_frame;
        let (segment, end) = self.segments.back().expect("a segment was begun before");
        fill_head(frame, number);
        segment.write_at(frame, *end)?;
        let (segment, offset) = (segment.number, end + FRAME_HEAD_BYTES as u64);
        Ok((number, At { segment, offset }))
    }

    /// Makes what was written durable; `written` bytes belong to the log from now on.
    pub(super) fn sync(&mut self, written: usize) -> io::Result<()> {
        let (segment, end) = self
            .segments
            .back_mut()
            .expect("a frame was written before");
        segment.sync()?;
        *end += written as u64;
        self.next_frame += 1;
        Ok(())
    }

    /// Bytes of all frames.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|(_, end)| end).sum()
    }

    /// All segments, the oldest first.
    pub(super) fn segments(&self) -> impl Iterator<Item = &Arc<Segment>> {
        self.segments.iter().map(|(segment, _)| segment)
    }

    /// The oldest segment and its end, unless it is also the newest.
    pub(super) fn oldest(&self) -> Option<(Arc<Segment>, u64)> {
        let oldest = self.segments.front()?;
        (self.segments.len() > 1).then(|| oldest.clone())
    }

    /// Removes the oldest segment; who reads from it may go on.
    pub(super) fn remove_oldest(&mut self) -> io::Result<()> {
        if let Some((oldest, _)) = self.segments.pop_front() {
            let name = super::segment::file_name(oldest.number);
            std::fs::remove_file(self.folder.join(name))?;
            File::open(&self.folder)?.sync_all()?;
        }
        Ok(())
    }
}

/// The store that a log was begun for; none if there is no log yet.
pub(super) fn store_of(folder: &Path) -> Result<Option<u64>, LogError> {
    let first = segment_numbers(folder)?.first().copied();
    let opened = first.map(|number| Segment::open(folder, number));
    Ok(opened.transpose()?.map(|(_, store)| store))
}

fn segment_numbers(folder: &Path) -> Result<Vec<u32>, LogError> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|n| n.strip_suffix(".log"));
        numbers.extend(number.and_then(|n| n.parse::<u32>().ok()));
    }
    numbers.sort_unstable();
    for pair in numbers.windows(2) {
        if pair[0] + 1 != pair[1] {
            let (segment, at) = (pair[0] + 1, 0);
            return Err(LogError::Damaged { segment, at });
        }
    }
    Ok(numbers)
}

/// Shows the frames of one segment and returns its end. Only the last segment may end in a torn frame, and nothing whole may
/// follow it: that would have been acknowledged once.
fn read_segment(
    segment: &Arc<Segment>,
    expected: &mut Option<u64>,
    last: bool,
    visit: &mut impl FnMut(Frame<'_>) -> Result<(), LogError>,
) -> Result<u64, LogError> {
    let (mut at, mut buffer) = (SEGMENT_HEAD_BYTES, Vec::new());
    while let Some(number) = segment.frame(at, *expected, &mut buffer)? {
        let offset = at + FRAME_HEAD_BYTES as u64;
        let place = At {
            segment: segment.number,
            offset,
        };
        visit(Frame {
            number,
            at: place,
            payload: &buffer,
        })?;
        *expected = Some(number + 1);
        at = offset + buffer.len() as u64;
    }
    let whole = match last {
        true => !segment.has_later_frame(at, expected.unwrap_or(0))?,
        false => at == segment.bytes()?,
    };
    if whole {
        return Ok(at);
    }
    let segment = segment.number;
    Err(LogError::Damaged { segment, at })
}
