//! Shares of an app's pace: how many requests each broker may start in the next second.

use std::time::Duration;

use async_trait::async_trait;

use super::error::StoreError;
use crate::domain::id::AppId;

/// What a broker asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct ShareRequest {
    /// The app.
    pub app: AppId,
    /// Its pace for all brokers together, requests a second.
    pub pace_per_second: f64,
    /// How much this broker could use, requests a second. It starts no more from the call on, whatever it had.
    pub demand_per_second: f64,
}

/// What a broker got, until the term is over by the caller's monotonic clock, counted from before the call.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    /// The app.
    pub app: AppId,
    /// Requests a second that this broker may start.
    pub per_second: f64,
}

/// Divides the pace among brokers.
#[async_trait]
pub trait Shares: Send + Sync {
    /// Renews the shares of all apps of `broker` in one call, valid for `term` by the store's clock. With what is granted the sum of
    /// live shares of an app does not exceed the lowest pace asked for, even if the answer is lost that made a broker's share smaller:
    /// the former one counts until its term is over. So after the pace was lowered it holds within a term. Apps are answered in the
    /// order asked.
    ///
    /// # Errors
    /// [`StoreError`]; the caller's former shares run out.
    async fn renew(
        &self,
        broker: &str,
        requests: &[ShareRequest],
        term: Duration,
    ) -> Result<Vec<Share>, StoreError>;
}
