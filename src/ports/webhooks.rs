//! Calling the endpoints of consoles.

use async_trait::async_trait;
use bytes::Bytes;

use crate::domain::webhook::Receipt;

/// One signed request.
#[derive(Clone)]
pub struct Delivery {
    /// Whereto.
    pub url: String,
    /// `webhook-id`.
    pub id: String,
    /// `webhook-timestamp`, in seconds.
    pub timestamp: i64,
    /// `webhook-signature`.
    pub signature: String,
    /// The body: JSON.
    pub body: Bytes,
}

/// Carries requests to consoles.
#[async_trait]
pub trait Courier: Send + Sync {
    /// Makes one POST and says what the endpoint did with it. Redirects are not followed; an address outside the public
    /// internet is not called, unless the broker allows it: judged by what the name resolves to when the connection is
    /// opened. Bounded in time.
    ///
    /// # Cancel safety
    /// A dropped call may or may not have reached the endpoint.
    async fn deliver(&self, delivery: Delivery) -> Receipt;
}
