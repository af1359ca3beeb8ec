//! Asks a token endpoint over HTTP.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Response};
use secrecy::ExposeSecret;

use super::{
    client::{ClientError, HttpClients},
    failure::token_failure,
};
use crate::{
    domain::wns::{
        text::Text,
        token::{TOKEN_REPLY_BYTES_MAX, TokenFailure, TokenReply, TokenRequest, parse_reply},
    },
    ports::{clock::Clock, wns::TokenSource},
};

/// Gives the requests to try, the secret in use first: asked for each fetch, so that a secret replaced on disk is found.
pub type Requests = Arc<dyn Fn() -> Vec<TokenRequest> + Send + Sync>;

/// Fetches tokens for one app.
pub struct HttpTokenSource {
    client: Client,
    proxied: bool,
    requests: Requests,
    clock: Arc<dyn Clock>,
    /// Which request was granted last; it is tried first.
    granted: AtomicUsize,
}

impl HttpTokenSource {
    /// Makes a source. Connections are not kept: a token lasts a day, and the source may be used on any arbiter.
    ///
    /// # Errors
    /// [`ClientError`] when the HTTP library refuses the configuration.
    pub fn new(
        clients: &HttpClients,
        requests: Requests,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ClientError> {
        Ok(Self {
            client: clients.for_tokens()?,
            proxied: clients.proxied(),
            requests,
            clock,
            granted: AtomicUsize::new(0),
        })
    }

    async fn ask(&self, request: &TokenRequest) -> Result<TokenReply, TokenFailure> {
        let failed =
            |error: reqwest::Error| TokenFailure::from(token_failure(&error, self.proxied));
        let posted = self
            .client
            .post(request.url.as_ref())
            .header(CONTENT_TYPE, TokenRequest::CONTENT_TYPE)
            .header(ACCEPT, "application/json")
            .body(request.body.expose_secret().to_owned());
        let response = posted.send().await.map_err(failed)?;
        let status = response.status().as_u16();
        let retry_after = response.headers().get(RETRY_AFTER);
        let retry_after = retry_after
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let body = bounded(response).await.map_err(failed)?;
        parse_reply(status, retry_after.as_deref(), &body, self.clock.now())
    }
}

#[async_trait]
impl TokenSource for HttpTokenSource {
    async fn fetch(&self) -> Result<TokenReply, TokenFailure> {
        let requests = (self.requests)();
        let first = self
            .granted
            .load(Ordering::Relaxed)
            .min(requests.len().saturating_sub(1));
        let mut refusal = None;
        for turn in 0..requests.len() {
            let at = (first + turn) % requests.len();
            match self.ask(&requests[at]).await {
                Ok(reply) => {
                    self.granted.store(at, Ordering::Relaxed);
                    return Ok(reply);
                }
                // The other secret may be the good one: two overlap while one is rotated.
                Err(failure @ TokenFailure::Credential { .. }) => {
                    refusal.get_or_insert(failure);
                }
                Err(failure @ TokenFailure::Unavailable { .. }) => return Err(failure),
            }
        }
        Err(refusal.unwrap_or_else(without_secret))
    }
}

fn without_secret() -> TokenFailure {
    TokenFailure::Credential {
        error: Text::known("no_secret"),
        description: Text::known("no secret could be read"),
    }
}

/// Reads a body up to the largest that is worth reading; a longer one is cut, and then is no JSON.
async fn bounded(mut response: Response) -> Result<Vec<u8>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = TOKEN_REPLY_BYTES_MAX - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if body.len() == TOKEN_REPLY_BYTES_MAX {
            break;
        }
    }
    Ok(body)
}
