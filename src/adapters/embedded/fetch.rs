//! Reads records out of the log: from the page cache as a rule, else from the disk, so never on a caller's thread when many.

use bytes::Bytes;

use super::{
    ops::{RECORD_CHECKSUM_BYTES, record_checksum},
    state::Found,
};
use crate::{
    domain::record::Revision,
    ports::{error::StoreError, records::Stored},
};

/// Up to this many records are read on the caller's thread.
const INLINE_MAX: usize = 8;

/// Reads records in order.
pub(super) async fn fetch_all(
    found: Vec<Option<Found>>,
) -> Result<Vec<Option<Stored>>, StoreError> {
    if found.len() <= INLINE_MAX {
        return fetch_here(&found);
    }
    off_thread(move || fetch_here(&found)).await
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

/// Reads records in order on this thread.
pub(super) fn fetch_here(found: &[Option<Found>]) -> Result<Vec<Option<Stored>>, StoreError> {
    let mut buffer = Vec::new();
    let mut records = Vec::with_capacity(found.len());
    for found in found {
        records.push(match found {
            Some(found) => Some(fetch(found, &mut buffer)?),
            None => None,
        });
    }
    Ok(records)
}

fn fetch(found: &Found, buffer: &mut Vec<u8>) -> Result<Stored, StoreError> {
    let (segment, at) = (&found.segment, found.location);
    buffer.resize(RECORD_CHECKSUM_BYTES + at.length as usize, 0);
    let read = segment.read_at(buffer, at.offset.into());
    read.map_err(|error| StoreError::Unavailable {
        detail: format!(
            "cannot read a record of segment {}: {error}",
            segment.number
        ),
        retry_after: None,
    })?;
    let (checksum, bytes) = buffer.split_at(RECORD_CHECKSUM_BYTES);
    if checksum != record_checksum(bytes) {
        return Err(StoreError::Damaged {
            detail: format!(
                "the record at byte {} of segment {}",
                at.offset, segment.number
            ),
        });
    }
    Ok(Stored {
        revision: Revision(found.revision),
        bytes: Bytes::copy_from_slice(bytes),
    })
}
