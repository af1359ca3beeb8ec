//! What the broker needs of the network: one POST to WNS, one request to a token endpoint.

use async_trait::async_trait;
use http::HeaderValue;
use jiff::Timestamp;

use crate::domain::wns::{
    channel_uri::ChannelUri,
    reply::{Outcome, Trace},
    request::RawPush,
    token::{AccessToken, TokenFailure, TokenReply},
};

/// The `Authorization` header of one access token, made once a token so that sending copies nothing; printed redacted.
#[derive(Clone, Debug)]
pub struct Bearer(HeaderValue);

impl Bearer {
    /// Makes the header of `token`; its characters were proven when it was parsed.
    #[must_use]
    pub fn new(token: &AccessToken) -> Self {
        let text = format!("Bearer {}", token.expose());
        let mut value = HeaderValue::try_from(text).expect("an access token is valid in a header");
        value.set_sensitive(true);
        Self(value)
    }

    /// The header's value, marked sensitive.
    #[must_use]
    pub fn header(&self) -> &HeaderValue {
        &self.0
    }
}

/// One raw notification.
#[derive(Clone, Debug)]
pub struct Notification {
    /// Where to; the sender checks once more that it may be trusted with a token.
    pub uri: ChannelUri,
    /// The app's token.
    pub bearer: Bearer,
    /// Headers and body.
    pub push: RawPush,
}

/// What came of one POST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What it means.
    pub outcome: Outcome,
    /// What support needs to know.
    pub trace: Trace,
}

/// Sends notifications; one instance for each dispatch arbiter, used on that arbiter only.
#[async_trait(?Send)]
pub trait Wns {
    /// POSTs one notification and classifies whatever comes of it. Never fails and never follows a redirect; bounded by the
    /// sender's request timeout. `now` is the time of day for `Retry-After` dates.
    ///
    /// # Cancel safety
    /// A dropped call may have been delivered.
    async fn send(&self, notification: Notification, now: Timestamp) -> Answer;
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
