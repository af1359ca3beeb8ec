//! How much the API takes on at once; what is beyond is refused before a body is read.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::Problem;

/// Bytes of request bodies and of what is made of them that may be in work at once.
const BYTES_MAX: usize = 256 * 1024 * 1024;
/// The budget is counted in pieces of this many bytes.
const PIECE_BYTES: usize = 1024;
/// What a body becomes while it is worked on, as a multiple of its length.
const GROWTH: usize = 3;
/// Live event streams at once.
const STREAMS_MAX: usize = 1024;

/// Counts what is in work.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    requests: Arc<Semaphore>,
    pieces: Arc<Semaphore>,
    streams: Arc<Semaphore>,
}

/// A part of the budget, given back when dropped.
#[derive(Debug)]
pub(super) struct Permit(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Gate {
    pub(super) fn new(requests_max: usize) -> Self {
        Self {
            requests: Arc::new(Semaphore::new(requests_max)),
            pieces: Arc::new(Semaphore::new(BYTES_MAX / PIECE_BYTES)),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
        }
    }

    /// Takes on one request.
    pub(super) fn request(&self) -> Result<Permit, Problem> {
        let permit = Arc::clone(&self.requests).try_acquire_owned();
        permit
            .map(Permit)
            .map_err(|_| Problem::overloaded("as many requests as allowed are in work"))
    }

    /// Takes on a body, or a further part of one, of `bytes`.
    pub(super) fn body(&self, bytes: usize) -> Result<Permit, Problem> {
        let pieces = (bytes.saturating_mul(GROWTH)).div_ceil(PIECE_BYTES).max(1);
        let pieces = u32::try_from(pieces.min(BYTES_MAX / PIECE_BYTES)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.pieces).try_acquire_many_owned(pieces);
        permit
            .map(Permit)
            .map_err(|_| Problem::overloaded("as many bytes as allowed are in work"))
    }

    /// Takes on one live stream of events.
    pub(super) fn stream(&self) -> Result<Permit, Problem> {
        let permit = Arc::clone(&self.streams).try_acquire_owned();
        permit
            .map(Permit)
            .map_err(|_| Problem::overloaded("as many live streams as allowed are open"))
    }
}
