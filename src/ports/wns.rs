//! What the broker needs of the network: one POST to WNS, one request to a token endpoint.

use async_trait::async_trait;
use jiff::Timestamp;

use crate::domain::wns::{
    channel_uri::ChannelUri,
    ms_cv::MsCv,
    reply::Outcome,
    token::{AccessToken, TokenFailure, TokenReply},
};

/// One raw notification.
#[derive(Clone, Debug)]
pub struct Notification {
    /// Where to; the sender checks once more that it may be trusted with a token.
    pub uri: ChannelUri,
    /// The app's token.
    pub token: AccessToken,
    /// `X-WNS-TTL` in seconds, never 0.
    pub ttl_seconds: u32,
    /// The correlation vector.
    pub ms_cv: MsCv,
}

/// Sends notifications; one instance for each dispatch arbiter, used on that arbiter only.
#[async_trait(?Send)]
pub trait Wns {
    /// POSTs one notification and classifies whatever comes of it. Never fails and never follows a redirect; bounded by the
    /// sender's request timeout. `now` is the time of day for `Retry-After` dates.
    ///
    /// # Cancel safety
    /// A dropped call may have been delivered.
    async fn send(&self, notification: &Notification, now: Timestamp) -> Outcome;
}

/// Fetches access tokens for one app.
#[async_trait]
pub trait TokenSource: Send + Sync {
    /// Asks the token endpoint once; tries the secrets in their order when one is refused.
    ///
    /// # Errors
    /// [`TokenFailure`] says whether the credential was refused or the endpoint was unavailable.
    async fn fetch(&self) -> Result<TokenReply, TokenFailure>;
}
