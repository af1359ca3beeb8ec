//! How what goes wrong inside is told through the ports.

use crate::ports::error::StoreError;

/// After a part of a commit was applied, every error says so.
pub(super) fn in_part(error: StoreError, applied: bool) -> StoreError {
    if !applied {
        return error;
    }
    StoreError::Unavailable {
        detail: format!("a part may have been applied: {error}"),
        retry_after: None,
    }
}

pub(super) fn damaged(error: &dyn std::error::Error) -> StoreError {
    let detail = error.to_string();
    StoreError::Damaged { detail }
}

pub(super) fn side_failed(error: &fjall::Error) -> StoreError {
    StoreError::Unavailable {
        detail: format!("lists, events and documents cannot be reached: {error}"),
        retry_after: None,
    }
}

pub(super) fn io_failed(what: &str, error: &std::io::Error) -> StoreError {
    StoreError::Unavailable {
        detail: format!("{what}: {error}; restart the broker when the disk is well"),
        retry_after: None,
    }
}
