//! The time of day.

use jiff::Timestamp;

/// Tells the time of day. Elapsed time is tokio's `Instant`, never a difference of two of these.
pub trait Clock: Send + Sync {
    /// The time of day; may step in both directions.
    fn now(&self) -> Timestamp;
}
