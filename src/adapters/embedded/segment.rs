//! One file of the log: preallocated, written once from front to back, read at any place.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::bytes::{Bytes, Put};

/// Version of all that the folder holds.
pub(super) const SCHEMA: u32 = 1;
/// Longest frame in bytes: far more than the writer puts into one.
pub(super) const FRAME_BYTES_MAX: usize = 256 * 1024 * 1024;
/// What stands before the payload of a frame: length, number, checksum.
pub(super) const FRAME_HEAD_BYTES: usize = 4 + 8 + 8;
/// What stands at the begin of a segment: magic, schema, number, store.
pub(super) const SEGMENT_HEAD_BYTES: u64 = 8 + 4 + 4 + 8;

const MAGIC: &[u8; 8] = b"REVEILLE";
const CHECK_BYTES: usize = 1024 * 1024;
/// How far behind a torn frame the number of a lost one can be.
const LOST_FRAMES_MAX: u64 = 1_000_000;

/// A file of the log.
#[derive(Debug)]
pub(super) struct Segment {
    /// Rises by one from file to file.
    pub(super) number: u32,
    file: File,
}

/// Why a segment is not what it should be.
#[derive(Debug, thiserror::Error)]
pub(super) enum SegmentError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{0} is not a part of a reveille store")]
    Foreign(PathBuf),
    #[error("{0} has schema {1}, this broker reads {SCHEMA}")]
    Schema(PathBuf, u32),
}

pub(super) fn file_name(number: u32) -> String {
    format!("{number:08}.log")
}

impl Segment {
    /// Makes a file of `bytes` that a segment can become, with its room taken.
    pub(super) fn prepare(path: &Path, bytes: u64) -> io::Result<()> {
        let file = File::create(path)?;
        let allocated = allocate(&file, bytes);
        if allocated.is_err() {
            std::fs::remove_file(path)?;
        }
        allocated?;
        file.sync_all()
    }

    /// Makes segment `number` of a prepared file.
    pub(super) fn create(
        folder: &Path,
        prepared: &Path,
        number: u32,
        store: u64,
    ) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(prepared)?;
        let mut head = MAGIC.to_vec();
        head.put_u32(SCHEMA);
        head.put_u32(number);
        head.put_u64(store);
        file.write_all_at(&head, 0)?;
        file.sync_all()?;
        let path = folder.join(file_name(number));
        std::fs::rename(prepared, &path)?;
        if let Err(error) = File::open(folder).and_then(|folder| folder.sync_all()) {
            // Nobody knows whether the name would survive; another attempt begins with another file.
            std::fs::remove_file(&path)?;
            return Err(error);
        }
        Ok(Self { number, file })
    }

    /// Opens a segment and tells which store it belongs to.
    pub(super) fn open(folder: &Path, number: u32) -> Result<(Self, u64), SegmentError> {
        let path = folder.join(file_name(number));
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let mut head = [0; SEGMENT_HEAD_BYTES as usize];
        let foreign = || SegmentError::Foreign(path.clone());
        file.read_exact_at(&mut head, 0).map_err(|_| foreign())?;
        let mut head = Bytes::new(&head);
        if head.take(MAGIC.len()).map_err(|_| foreign())? != MAGIC {
            return Err(foreign());
        }
        let schema = head.u32().map_err(|_| foreign())?;
        if schema != SCHEMA {
            return Err(SegmentError::Schema(path, schema));
        }
        if head.u32() != Ok(number) {
            return Err(foreign());
        }
        let store = head.u64().map_err(|_| foreign())?;
        Ok((Self { number, file }, store))
    }

    pub(super) fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, at)
    }

    /// Writes a frame; durable after [`Segment::sync`].
    pub(super) fn write_at(&self, frame: &[u8], at: u64) -> io::Result<()> {
        self.file.write_all_at(frame, at)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Gives back the room behind the last frame.
    pub(super) fn seal(&self, end: u64) -> io::Result<()> {
        self.file.set_len(end)?;
        self.file.sync_all()
    }

    /// Cuts off a torn frame at `end` and takes the room up to `bytes` again, if the disk still has it.
    pub(super) fn reopen_at(&self, end: u64, bytes: u64) -> io::Result<()> {
        if self.is_zero_from(end)? {
            return Ok(());
        }
        self.file.set_len(end)?;
        match allocate(&self.file, bytes.max(end)) {
            Err(error) if error.kind() != io::ErrorKind::StorageFull => return Err(error),
            Ok(()) | Err(_) => {}
        }
        self.file.sync_all()
    }

    pub(super) fn bytes(&self) -> io::Result<u64> {
        self.file.metadata().map(|m| m.len())
    }

    fn is_zero_from(&self, mut at: u64) -> io::Result<bool> {
        let mut buffer = vec![0; CHECK_BYTES];
        loop {
            let count = read_up_to(&self.file, &mut buffer, at)?;
            if !is_zero(&buffer[..count]) {
                return Ok(false);
            }
            if count == 0 {
                return Ok(true);
            }
            at += count as u64;
        }
    }

    /// Whether a whole frame with a number above `number` stands behind `at`: then what is broken there was once whole.
    pub(super) fn has_later_frame(&self, mut at: u64, number: u64) -> io::Result<bool> {
        let later = number + 1..=number + LOST_FRAMES_MAX;
        let (mut window, mut payload) = (vec![0; CHECK_BYTES], Vec::new());
        loop {
            let count = read_up_to(&self.file, &mut window, at)?;
            if count < FRAME_HEAD_BYTES {
                return Ok(false);
            }
            let places = count - FRAME_HEAD_BYTES + 1;
            // The room that is taken ahead is nearly all of it, and no frame begins there.
            let used = if is_zero(&window[..count]) { 0 } else { places };
            for place in 0..used {
                let found = Bytes::new(&window[place + 4..]).u64();
                let found = found.ok().filter(|n| later.contains(n));
                let from = at + place as u64;
                if found.is_some() && self.frame(from, found, &mut payload)?.is_some() {
                    return Ok(true);
                }
            }
            at += places as u64;
        }
    }

    /// Reads the frame at `at` into `buffer` and returns its number; `None` if there is no whole one with this number.
    pub(super) fn frame(
        &self,
        at: u64,
        number: Option<u64>,
        buffer: &mut Vec<u8>,
    ) -> io::Result<Option<u64>> {
        let mut head = [0; FRAME_HEAD_BYTES];
        if read_up_to(&self.file, &mut head, at)? < FRAME_HEAD_BYTES {
            return Ok(None);
        }
        let mut fields = Bytes::new(&head);
        let (Ok(length), Ok(found), Ok(checksum)) = (fields.u32(), fields.u64(), fields.u64())
        else {
            return Ok(None);
        };
        let length = length as usize;
        if length == 0 || length > FRAME_BYTES_MAX || number.is_some_and(|n| n != found) {
            return Ok(None);
        }
        if at + (FRAME_HEAD_BYTES + length) as u64 > self.bytes()? {
            return Ok(None);
        }
        buffer.resize(length, 0);
        let got = read_up_to(&self.file, buffer, at + FRAME_HEAD_BYTES as u64)?;
        let whole = got == length && checksum == xxh3_64_with_seed(buffer, found);
        Ok(whole.then_some(found))
    }
}

/// Fills the head of a frame whose payload stands behind it.
pub(super) fn fill_head(frame: &mut [u8], number: u64) {
    let (head, payload) = frame.split_at_mut(FRAME_HEAD_BYTES);
    let mut fields = Vec::with_capacity(FRAME_HEAD_BYTES);
    let length = u32::try_from(payload.len()).expect("a frame is far shorter than 4 GiB");
    fields.put_u32(length);
    fields.put_u64(number);
    fields.put_u64(xxh3_64_with_seed(payload, number));
    head.copy_from_slice(&fields);
}

/// Compares in blocks: a whole segment is looked at whenever a store is opened.
fn is_zero(bytes: &[u8]) -> bool {
    const ZEROS: [u8; 4096] = [0; 4096];
    bytes
        .chunks(ZEROS.len())
        .all(|block| *block == ZEROS[..block.len()])
}

fn read_up_to(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        let count = file.read_at(&mut buffer[got..], at + got as u64)?;
        if count == 0 {
            break;
        }
        got += count;
    }
    Ok(got)
}

/// Takes the room of a file, so that writing into it cannot meet a full disk; as far as the file system can.
pub(super) fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::{fs::FallocateFlags, io::Errno};
        match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
            Ok(()) => return Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
            Err(error) => return Err(error.into()),
        }
    }
    file.set_len(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_far_behind_is_found_wherever_it_lies_between_blocks() {
        let folder = tempfile::tempdir().unwrap();
        let spare = folder.path().join("spare");
        for place in [CHECK_BYTES - 10, CHECK_BYTES, 2 * CHECK_BYTES + 4_090] {
            Segment::prepare(&spare, 3 * CHECK_BYTES as u64).unwrap();
            let segment = Segment::create(folder.path(), &spare, 1, 7).unwrap();
            assert!(!segment.has_later_frame(SEGMENT_HEAD_BYTES, 1).unwrap());
            assert!(segment.is_zero_from(SEGMENT_HEAD_BYTES).unwrap());

            let mut frame = vec![0; FRAME_HEAD_BYTES + 5];
            fill_head(&mut frame, 9);
            segment.write_at(&frame, place as u64).unwrap();
            assert!(
                segment.has_later_frame(SEGMENT_HEAD_BYTES, 1).unwrap(),
                "{place}"
            );
            assert!(!segment.has_later_frame(SEGMENT_HEAD_BYTES, 9).unwrap());
            assert!(!segment.is_zero_from(SEGMENT_HEAD_BYTES).unwrap());
        }
    }
}
