//! Reads records out of the log: from the page cache as a rule, else from the disk, so never on a caller's thread when many.

use bytes::Bytes;

use super::{
    devices::Location,
    ops::{RECORD_CHECKSUM_BYTES, record_checksum},
    state::Found,
};
use crate::{
    domain::record::Revision,
    ports::{error::StoreError, records::Stored},
};

/// Up to this many records are read on the caller's thread.
const INLINE_MAX: usize = 8;
/// Bytes read in one go at most, unless one record is longer: what is kept of them keeps them all.
const RUN_BYTES_MAX: u32 = 16 * 1024;
/// Bytes between two records at most that are read for nothing: the heads of both, and a little more.
const GAP_BYTES_MAX: u32 = 512;
const CHECKSUM_BYTES: u32 = RECORD_CHECKSUM_BYTES as u32;

/// Records in the order in which they were asked for.
type Records = Result<Vec<Option<Stored>>, StoreError>;

/// Reads records in order.
pub(super) async fn fetch_all(found: Vec<Option<Found>>) -> Records {
    fetch(found, fetch_here).await
}

/// Reads records in order; one that is damaged comes empty, which nobody can read, and keeps no other back.
pub(super) async fn fetch_readable(found: Vec<Option<Found>>) -> Records {
    fetch(found, readable_here).await
}

/// Reads few records here, and many where that holds up nobody.
async fn fetch(found: Vec<Option<Found>>, read: fn(&[Option<Found>]) -> Records) -> Records {
    if found.len() <= INLINE_MAX {
        return read(&found);
    }
    off_thread(move || read(&found)).await
}

fn readable_here(found: &[Option<Found>]) -> Records {
    let empty = |found: &Found| Stored {
        revision: Revision(found.revision),
        bytes: Bytes::new(),
    };
    let apart = |one: &Option<Found>| match fetch_here(std::slice::from_ref(one)) {
        Err(StoreError::Damaged { .. }) => Ok(one.as_ref().map(empty)),
        read => read.map(|mut records| records.pop().flatten()),
    };
    match fetch_here(found) {
        Err(StoreError::Damaged { .. }) => found.iter().map(apart).collect(),
        read => read,
    }
}

/// Runs something that may wait for the disk where it holds up nobody.
pub(super) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| {
        Err(StoreError::Unavailable {
            detail: format!("a read did not end: {error}"),
            retry_after: None,
        })
    })
}

/// Reads records in order on this thread. Devices that came together stand together in the log, and are read together.
pub(super) fn fetch_here(found: &[Option<Found>]) -> Records {
    let mut records = Vec::with_capacity(found.len());
    let mut rest = found;
    while let Some(next) = rest.first() {
        let taken = match next {
            None => {
                records.push(None);
                1
            }
            Some(first) => fetch_run(first, rest, &mut records)?,
        };
        rest = &rest[taken..];
    }
    Ok(records)
}

/// Reads the records that stand close behind `first`, which is the first of `found`, in one go; tells how many.
fn fetch_run(
    first: &Found,
    found: &[Option<Found>],
    records: &mut Vec<Option<Stored>>,
) -> Result<usize, StoreError> {
    let (segment, begin) = (&first.segment, first.location.offset);
    let mut end = begin;
    let follows = |found: &Found, end: u32| {
        let at = found.location;
        found.segment.number == segment.number
            && (end..=end.saturating_add(GAP_BYTES_MAX)).contains(&at.offset)
            && (end == begin || end_of(at) - begin <= RUN_BYTES_MAX)
    };
    let run = found.iter().map_while(Option::as_ref).take_while(|found| {
        let follows = follows(found, end);
        end = if follows { end_of(found.location) } else { end };
        follows
    });
    let run: Vec<&Found> = run.collect();
    let mut buffer = vec![0; (end - begin) as usize];
    let read = segment.read_at(&mut buffer, begin.into());
    read.map_err(|error| StoreError::Unavailable {
        detail: format!(
            "cannot read a record of segment {}: {error}",
            segment.number
        ),
        retry_after: None,
    })?;
    let buffer = Bytes::from(buffer);
    for found in &run {
        records.push(Some(pick(found, &buffer, begin)?));
    }
    Ok(run.len())
}

fn end_of(at: Location) -> u32 {
    at.offset + CHECKSUM_BYTES + at.length
}

/// The record in a part of the log that begins at `begin`.
fn pick(found: &Found, part: &Bytes, begin: u32) -> Result<Stored, StoreError> {
    let at = found.location;
    let place = (at.offset - begin) as usize..(end_of(at) - begin) as usize;
    let mut bytes = part.slice(place);
    let checksum = bytes.split_to(RECORD_CHECKSUM_BYTES);
    if *checksum != record_checksum(&bytes) {
        return Err(StoreError::Damaged {
            detail: format!(
                "the record at byte {} of segment {}",
                at.offset, found.segment.number
            ),
        });
    }
    Ok(Stored {
        revision: Revision(found.revision),
        bytes,
    })
}
