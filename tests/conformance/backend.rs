//! What the suite needs of a backend besides the store itself: its clock, a crash, and a disk without room.

pub(crate) mod embedded;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use reveille::ports::Store;

/// A fresh store under test. The suite writes every span of time as multiples of [`Backend::tick`] and [`Backend::lease`],
/// so that a backend whose clock cannot be moved may choose short ones and wait.
#[async_trait]
pub(crate) trait Backend: Send + Sync {
    /// The broker's handle.
    fn store(&self) -> Arc<dyn Store>;

    /// Another broker's handle to the same store; the same one if the store serves one broker only.
    fn other(&self) -> Arc<dyn Store>;

    /// How many shards the store has; lists are ordered throughout if it is one.
    fn shards(&self) -> usize;

    /// The time of day by the store's clock.
    async fn now(&self) -> Timestamp;

    /// A span that the store surely tells from none.
    fn tick(&self) -> Duration;

    /// How long a claim is valid: `LEASE`, unless the clock cannot be moved.
    fn lease(&self) -> Duration;

    /// Lets `span` pass by the store's clock.
    async fn pass(&self, span: Duration);

    /// Ends the store without notice and opens it again with what was durable.
    async fn crash(&mut self);

    /// Leaves no room for new work, until the end of the test.
    async fn fill(&mut self);

    /// How many events of a tenant the feed keeps at least; a few dozen.
    fn feed_events_max(&self) -> usize;

    /// How long the feed keeps events.
    fn feed_age_max(&self) -> Duration;
}
