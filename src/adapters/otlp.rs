//! Takes spans to an OpenTelemetry collector: OTLP as protobuf over HTTP.
//!
//! The library exports from a thread of its own that has no runtime; the request itself runs on the broker's. Whatever the
//! collector does, nothing but that thread waits for it.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header::AUTHORIZATION};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{
    ExporterBuildError, Protocol, RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig,
};
use opentelemetry_sdk::trace::SpanExporter as _;
use percent_encoding::percent_decode_str;
use reqwest::{Client, redirect};
use tokio::{runtime::Handle, sync::mpsc, time::Instant};
use url::Url;

use crate::telemetry::Telemetry;

/// An answer is read no further than this, in bytes; collectors answer with next to nothing.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The exporter cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// The HTTP library refuses the configuration.
    #[error("the client for traces cannot be built: {0}")]
    Client(#[from] reqwest::Error),
    /// The exporting library does, or what the `OTEL_EXPORTER_OTLP_…` variables say.
    #[error("the exporter for traces cannot be built: {0}")]
    Exporter(#[from] ExporterBuildError),
}

/// Makes an exporter to the collector at `endpoint`, each request of which takes `timeout` at most. Its requests run on the
/// runtime of the caller.
///
/// # Errors
/// [`OtlpError`] says which library refuses what.
pub fn exporter(
    endpoint: &Url,
    timeout: Duration,
    telemetry: Telemetry,
) -> Result<SpanExporter, OtlpError> {
    let tell = move |ended: Result<(), String>| match ended {
        Ok(()) => telemetry.traces_exported(),
        Err(why) => telemetry.traces_not_exported(&why, Instant::now()),
    };
    build(endpoint, timeout, RetryPolicy::default(), tell)
}

/// Sends the collector at `endpoint` a request without spans, once, as [`exporter`] would; within `timeout`. The inner error
/// says why it was not taken, without the address.
///
/// # Errors
/// As [`exporter`].
///
/// # Cancel safety
/// Safe: the request ends by itself.
pub async fn probe(endpoint: &Url, timeout: Duration) -> Result<Result<(), String>, OtlpError> {
    let (tell, mut told) = mpsc::unbounded_channel();
    // The receiver lives as long as the request.
    let tell = move |ended| drop(tell.send(ended));
    let exporter = build(endpoint, timeout, RetryPolicy::disabled(), tell)?;
    let exported = exporter.export(Vec::new()).await;
    // What the carrier saw says more; without it no request was made.
    let seen = told.try_recv().ok();
    Ok(seen.unwrap_or_else(|| exported.map_err(|error| error.to_string())))
}

fn build(
    endpoint: &Url,
    timeout: Duration,
    retries: RetryPolicy,
    tell: impl Fn(Result<(), String>) + Send + Sync + 'static,
) -> Result<SpanExporter, OtlpError> {
    let client = Client::builder()
        .redirect(redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .connect_timeout(timeout)
        .timeout(timeout)
        .build()?;
    let carrier = Carrier {
        client,
        runtime: Handle::current(),
        tell: Arc::new(tell),
    };
    let (address, login) = without_login(endpoint);
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(carrier)
        .with_protocol(Protocol::HttpBinary)
        .with_retry_policy(retries)
        .with_headers(login.into_iter().collect())
        .with_endpoint(address.as_str())
        .with_timeout(timeout)
        .build()?;
    Ok(exporter)
}

/// The address as it may be shown, and the header that its user and password become.
fn without_login(endpoint: &Url) -> (Url, Option<(String, String)>) {
    let mut address = endpoint.clone();
    let plain = |text: &str| percent_decode_str(text).collect::<Vec<u8>>();
    let user = plain(endpoint.username());
    let password = plain(endpoint.password().unwrap_or_default());
    // Both only fail for URLs without a host, which have no login.
    let cleared = address
        .set_username("")
        .and_then(|()| address.set_password(None));
    let given = !user.is_empty() || !password.is_empty();
    let login = (given && cleared.is_ok()).then(|| {
        let text = STANDARD.encode([user, password].join(&b':'));
        (AUTHORIZATION.to_string(), format!("Basic {text}"))
    });
    (address, login)
}

/// Makes the library's requests, and tells how they end.
struct Carrier {
    client: Client,
    runtime: Handle,
    tell: Arc<dyn Fn(Result<(), String>) + Send + Sync>,
}

impl fmt::Debug for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Carrier")
    }
}

#[async_trait]
impl HttpClient for Carrier {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (client, tell) = (self.client.clone(), Arc::clone(&self.tell));
        let sent = self.runtime.spawn(async move {
            let answer = send(&client, request).await;
            tell(match &answer {
                Ok(answer) if answer.status().is_success() => Ok(()),
                Ok(answer) => Err(refusal(answer.status())),
                Err(error) => Err(innermost(error)),
            });
            answer
        });
        Ok(sent.await??)
    }
}

async fn send(client: &Client, request: Request<Bytes>) -> Result<Response<Bytes>, reqwest::Error> {
    let request = reqwest::Request::try_from(request)?;
    let mut answer = client
        .execute(request)
        .await
        .map_err(reqwest::Error::without_url)?;
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(reqwest::Error::without_url)? {
        body.extend_from_slice(&piece);
        if body.len() > ANSWER_BYTES_MAX {
            break;
        }
    }
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = answer.status();
    *response.headers_mut() = std::mem::take(answer.headers_mut());
    Ok(response)
}

fn refusal(status: StatusCode) -> String {
    format!("it answered {status}")
}

/// What went wrong, by its innermost cause.
fn innermost(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut cause: &dyn Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
