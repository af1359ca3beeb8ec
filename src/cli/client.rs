//! Commands that speak to a running broker through its API.

use std::time::Duration;

use clap::Args;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, redirect};
use serde_json::Value;

use super::{Exit, Failure};
use crate::domain::id::TenantId;

/// Longest time to open a connection to the broker.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Most of an error answer that is read, in bytes.
const PROBLEM_BYTES_MAX: usize = 64 * 1024;

/// Which broker.
#[derive(Args, Clone, Debug)]
pub(super) struct AddressArgs {
    /// Base URL of the broker's API
    #[arg(
        long,
        env = "REVEILLE_URL",
        default_value = "http://127.0.0.1:8470",
        value_name = "URL"
    )]
    server: String,
}

impl AddressArgs {
    /// The URL of a path such as `/readyz`.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server.trim_end_matches('/'))
    }
}

/// Which broker, and with which key.
#[derive(Args, Clone, Debug)]
pub(super) struct BrokerArgs {
    #[command(flatten)]
    pub(super) address: AddressArgs,
    /// API key, if the broker wants one; better given in the environment than on the command line
    #[arg(
        long,
        env = "REVEILLE_API_KEY",
        hide_env_values = true,
        value_name = "KEY"
    )]
    pub(super) key: Option<String>,
}

/// Which broker, and whose devices.
#[derive(Args, Clone, Debug)]
pub(super) struct ServerArgs {
    #[command(flatten)]
    broker: BrokerArgs,
    /// Tenant whose devices are meant
    #[arg(long, short, env = "REVEILLE_TENANT")]
    tenant: TenantId,
}

/// A caller of the API.
pub(super) struct Api {
    http: Client,
    base: String,
    key: Option<String>,
}

impl Api {
    pub(super) fn new(args: &ServerArgs) -> Result<Self, Failure> {
        let http = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|error| Failure::new(Exit::Failed, format!("no HTTP client: {error}")))?;
        let broker = &args.broker;
        Ok(Self {
            http,
            base: broker.address.url(&format!("/v1/tenants/{}", args.tenant)),
            key: broker.key.clone(),
        })
    }

    /// A request below the tenant, such as `/pushes`.
    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// Sends a request; gives the answer before its body, or the problem that the broker states.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let answer = request.send().await.map_err(unreachable)?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        Err(refused(answer).await)
    }

    /// The same with a JSON answer, which is read whole.
    pub(super) async fn call(&self, request: RequestBuilder) -> Result<Value, Failure> {
        let answer = self.send(request).await?;
        let status = answer.status();
        let bytes = answer.bytes().await.map_err(unreachable)?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Failure::new(
                Exit::Failed,
                format!("{status}, but the answer is not JSON: {error}"),
            )
        })
    }
}

/// The failure of a connection that was not made, or broke.
pub(super) fn unreachable(error: reqwest::Error) -> Failure {
    let url = error.url().map(|url| url.origin().ascii_serialization());
    let error = error.without_url();
    let mut reason: &dyn std::error::Error = &error;
    while let Some(below) = reason.source() {
        reason = below;
    }
    let broker = url.map_or_else(String::new, |url| format!(" at {url}"));
    Failure::new(
        Exit::Unreachable,
        format!("the broker{broker} cannot be reached: {reason}"),
    )
}

async fn refused(answer: Response) -> Failure {
    let status = answer.status();
    let exit = match status {
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => Exit::Unreachable,
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY | StatusCode::NOT_FOUND => {
            Exit::Usage
        }
        _ => Exit::Failed,
    };
    let bytes = answer.bytes().await.unwrap_or_default();
    let problem: Value =
        serde_json::from_slice(&bytes[..bytes.len().min(PROBLEM_BYTES_MAX)]).unwrap_or_default();
    let detail = problem["detail"]
        .as_str()
        .or_else(|| problem["title"].as_str());
    let mut message = format!("the broker answered {status}");
    if let Some(detail) = detail {
        message = format!("{message}: {detail}");
    }
    for error in problem["errors"].as_array().into_iter().flatten().take(10) {
        let (at, why) = (
            error["pointer"].as_str().unwrap_or(""),
            error["detail"].as_str().unwrap_or(""),
        );
        message = format!("{message}\n  {at}: {why}");
    }
    Failure::new(exit, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_broker_that_is_not_there_is_told_with_its_address_and_the_reason() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let http = Client::builder().build().unwrap();
        let sent = http.get(format!("http://{address}/v1/tenants/t?key=hush"));
        let failure = unreachable(sent.send().await.unwrap_err());
        assert_eq!(failure.exit, Exit::Unreachable);
        let begin = format!("the broker at http://{address} cannot be reached: ");
        let reason = failure.message.strip_prefix(&begin);
        assert!(
            reason.is_some_and(|reason| reason.contains("refused")),
            "{}",
            failure.message
        );
        assert!(!failure.message.contains("hush"));
    }
}
