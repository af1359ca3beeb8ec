//! How much room the disk has, and the ballast that is thrown off so that settling goes on when it has none.

use std::{error::Error, fs::File, io, path::PathBuf};

use super::segment::Segment;

const BALLAST: &str = "ballast";
/// The ballast goes when less than this part of the reserve is free: lists, events and documents need room too.
const LAST_PART: u64 = 8;

/// Watches the disk under the store.
pub(super) struct Room {
    folder: PathBuf,
    reserve_bytes: u64,
    ballast_bytes: u64,
    has_ballast: bool,
}

impl Room {
    /// Watches the disk of `folder`; new work is refused when less than `reserve_bytes` are free.
    pub(super) fn new(folder: PathBuf, reserve_bytes: u64, ballast_bytes: u64) -> Self {
        Self {
            has_ballast: folder.join(BALLAST).exists(),
            folder,
            reserve_bytes,
            ballast_bytes,
        }
    }

    /// Why there is no room for new work, if so. Throws the ballast off before the last room is gone.
    pub(super) fn shortage(&mut self) -> Option<String> {
        let free = match self.free_bytes() {
            Ok(free) if free >= self.reserve_bytes => return None,
            Ok(free) => free,
            Err(error) => return Some(format!("the free space of the disk is unknown: {error}")),
        };
        if free < self.reserve_bytes / LAST_PART {
            self.drop_ballast();
        }
        let (free, reserve) = (free >> 20, self.reserve_bytes >> 20);
        Some(format!(
            "{free} MiB of disk are free, {reserve} MiB are kept for settling"
        ))
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let disk = rustix::fs::statvfs(&self.folder)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Takes the ballast on if there is none and plenty of room; without it the store is only closer to the edge.
    pub(super) fn take_ballast(&mut self) {
        let wanted = self.reserve_bytes.saturating_add(self.ballast_bytes);
        if self.ballast_bytes == 0 || self.has_ballast {
            return;
        }
        if self.free_bytes().is_ok_and(|free| free >= wanted) {
            let path = self.folder.join(BALLAST);
            self.has_ballast = Segment::prepare(&path, self.ballast_bytes).is_ok();
        }
    }

    /// Throws the ballast off; tells whether there was any.
    pub(super) fn drop_ballast(&mut self) -> bool {
        let dropped = std::fs::remove_file(self.folder.join(BALLAST)).is_ok();
        self.has_ballast = false;
        if let (true, Ok(folder)) = (dropped, File::open(&self.folder)) {
            return folder.sync_all().is_ok();
        }
        dropped
    }

    /// Whether the tables beside the log can be written: a write of theirs that fails half way cannot be mended while they are
    /// open. Throws the ballast off for it.
    pub(super) fn has_room_aside(&mut self) -> bool {
        let least = self.reserve_bytes / LAST_PART / 2;
        let has = |room: &Self| room.free_bytes().is_ok_and(|free| free >= least);
        has(self) || (self.drop_ballast() && has(self))
    }
}

/// Whether an error means that there is no room, not that the disk is broken.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// The full disk behind an error of a library, if that is its cause.
pub(super) fn full_behind<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e io::Error> {
    let causes = std::iter::successors(Some(error), |cause| (*cause).source());
    let mut io = causes.filter_map(|cause| cause.downcast_ref::<io::Error>());
    io.find(|error| is_full(error))
}
