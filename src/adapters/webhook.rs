//! Calls the endpoints of consoles over HTTPS, and nothing else that a name may resolve to.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::StreamExt;
use reqwest::{
    Certificate, Client,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER, USER_AGENT},
    redirect,
};

use crate::{
    domain::webhook::{Receipt, is_public},
    ports::webhooks::{Courier, Delivery},
};

/// Longest time to open a connection, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time for one request; Standard Webhooks advises 15 to 30 s.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// An answer is read to its end, so that the connection can be used again, but no further than this, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// How endpoints may be called.
#[derive(Clone, Debug, Default)]
pub struct CourierOptions {
    /// Whether addresses outside the public internet may be called.
    pub private: bool,
    /// PEM text with certificate authorities to trust beside the system's.
    pub extra_ca: Option<Vec<u8>>,
}

/// The client cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("the client for webhooks cannot be built: {0}")]
pub struct CourierError(#[from] reqwest::Error);

/// Calls endpoints. Its connections live on the runtime that opened them.
pub struct WebhookCourier {
    client: Client,
    private: bool,
}

impl WebhookCourier {
    /// Makes the client.
    ///
    /// # Errors
    /// [`CourierError`] when the certificate authorities cannot be used.
    pub fn new(options: &CourierOptions) -> Result<Self, CourierError> {
        let mut builder = Client::builder()
            .redirect(redirect::Policy::none())
            .referer(false)
            // A proxy would resolve names itself: the guard could not see whereto.
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT);
        if !options.private {
            builder = builder.https_only(true).dns_resolver(Arc::new(PublicOnly));
        }
        if let Some(pem) = &options.extra_ca {
            builder = builder.tls_certs_merge(Certificate::from_pem_bundle(pem)?);
        }
        Ok(Self {
            client: builder.build()?,
            private: options.private,
        })
    }

    /// Whether the URL names an address that may not be called; names are judged when they are resolved.
    fn forbidden(&self, url: &url::Url) -> bool {
        match url.host() {
            _ if self.private => false,
            Some(url::Host::Ipv4(ip)) => !is_public(ip.into()),
            Some(url::Host::Ipv6(ip)) => !is_public(ip.into()),
            Some(url::Host::Domain(_)) => false,
            None => true,
        }
    }
}

/// Resolves names to addresses of the public internet only.
struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|a| is_public(a.ip())).collect();
            if public.is_empty() {
                return Err("the name resolves to no address of the public internet".into());
            }
            let addresses: Addrs = Box::new(public.into_iter());
            Ok(addresses)
        })
    }
}

#[async_trait]
impl Courier for WebhookCourier {
    async fn deliver(&self, delivery: Delivery) -> Receipt {
        let unreachable = |detail: &str| Receipt::Unreachable {
            detail: detail.to_owned(),
        };
        let Ok(url) = url::Url::parse(&delivery.url) else {
            return unreachable("the address is not a URL");
        };
        if self.forbidden(&url) {
            return unreachable("the address is not on the public internet");
        }
        let request = self
            .client
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, "reveille")
            .header("webhook-id", delivery.id)
            .header("webhook-timestamp", delivery.timestamp)
            .header("webhook-signature", delivery.signature)
            .body(delivery.body);
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return unreachable(&failure(error)),
        };
        let status = response.status().as_u16();
        let retry_after = retry_after(response.headers());
        read_to_end(response).await;
        match status {
            200..=299 => Receipt::Taken,
            410 => Receipt::Gone,
            status => Receipt::Refused {
                status,
                retry_after,
            },
        }
    }
}

/// What went wrong, by its innermost cause and without the address.
fn failure(error: reqwest::Error) -> String {
    let error = error.without_url();
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut cause: &dyn std::error::Error = &error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// Seconds only: endpoints that answer with a date are retried by our own schedule.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse();
    seconds.ok().map(Duration::from_secs)
}

async fn read_to_end(response: reqwest::Response) {
    let mut read = 0;
    let mut body = response.bytes_stream();
    while let Some(Ok(piece)) = body.next().await {
        read += piece.len();
        if read > ANSWER_BYTES_MAX {
            return;
        }
    }
}
