//! A sandbox and a client for it, as any test of the sandbox needs them.

use std::time::Duration;

use reqwest::{Certificate, Client, ClientBuilder, RequestBuilder, Response, redirect::Policy};
use reveille::sandbox::{Behaviour, Credentials, DeviceLedger, Sandbox, SandboxConfig};
use serde_json::Value;

/// The id of the only app.
pub(crate) const APP: &str = "contoso";

pub(crate) struct Bench {
    pub(crate) sandbox: Sandbox,
    pub(crate) client: Client,
}

impl Bench {
    pub(crate) fn start(config: SandboxConfig) -> Self {
        Self::start_with(config, |client| client)
    }

    pub(crate) fn start_with(
        config: SandboxConfig,
        tune: impl FnOnce(ClientBuilder) -> ClientBuilder,
    ) -> Self {
        let sandbox = Sandbox::start(&config).unwrap();
        let authority = Certificate::from_pem(sandbox.ca_pem().as_bytes()).unwrap();
        let client = Client::builder()
            .tls_certs_only([authority])
            .redirect(Policy::none())
            .timeout(Duration::from_secs(20))
            .no_proxy();
        Self {
            client: tune(client).build().unwrap(),
            sandbox,
        }
    }

    pub(crate) fn credentials(&self) -> Credentials {
        self.sandbox.credentials(APP).unwrap()
    }

    /// The channel URI of the device with this number, which begins at 1.
    pub(crate) fn uri(&self, number: usize) -> String {
        self.sandbox.channels(APP).nth(number - 1).unwrap().1
    }

    pub(crate) fn device(&self, number: usize) -> DeviceLedger {
        self.sandbox.device_ledgers(APP).nth(number - 1).unwrap()
    }

    /// Asks the classic endpoint for a token.
    pub(crate) async fn token(&self) -> String {
        let credentials = self.credentials();
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", &credentials.package_sid),
            ("client_secret", &credentials.secrets[0]),
            ("scope", "notify.windows.com"),
        ];
        let reply = self
            .client
            .post(&credentials.token_url)
            .form(&form)
            .send()
            .await
            .unwrap();
        assert_eq!(reply.status(), 200);
        let reply: Value = reply.json().await.unwrap();
        reply["access_token"].as_str().unwrap().to_owned()
    }

    /// A raw notification as it should be.
    pub(crate) fn notification(&self, uri: &str, token: &str) -> RequestBuilder {
        self.client
            .post(uri)
            .bearer_auth(token)
            .header("X-WNS-Type", "wns/raw")
            .header("Content-Type", "application/octet-stream")
            .header("X-WNS-Cache-Policy", "cache")
            .header("X-WNS-RequestForStatus", "true")
            .header("X-WNS-TTL", "3600")
            .header("MS-CV", "abcdefghijklmnopqrstuv.0")
            .body("wake")
    }

    /// Sends a notification to a device and returns the status code and the status header.
    pub(crate) async fn push(&self, number: usize, token: &str) -> (u16, String) {
        let reply = self
            .notification(&self.uri(number), token)
            .send()
            .await
            .unwrap();
        (reply.status().as_u16(), status_header(&reply))
    }

    /// Calls the control API and expects it to succeed.
    pub(crate) async fn control(&self, method: &str, path: &str, body: Value) -> Value {
        let reply = self.control_raw(method, path, body).await;
        let status = reply.status();
        let body = reply.text().await.unwrap();
        assert!(status.is_success(), "{method} {path}: {status} {body}");
        serde_json::from_str(&body).unwrap()
    }

    pub(crate) async fn control_raw(&self, method: &str, path: &str, body: Value) -> Response {
        let url = format!("https://{}/sandbox/v1/{path}", self.sandbox.host());
        let request = self.client.request(method.parse().unwrap(), url);
        let request = if body.is_null() {
            request
        } else {
            request.json(&body)
        };
        request.send().await.unwrap()
    }
}

pub(crate) fn config(devices: u32) -> SandboxConfig {
    SandboxConfig {
        devices,
        ..SandboxConfig::default()
    }
}

pub(crate) fn header(reply: &Response, name: &str) -> String {
    reply
        .headers()
        .get(name)
        .map(|value| value.to_str().unwrap().to_owned())
        .unwrap_or_default()
}

/// The status header; both spellings must agree.
pub(crate) fn status_header(reply: &Response) -> String {
    let (new, old) = (
        header(reply, "X-WNS-Status"),
        header(reply, "X-WNS-NotificationStatus"),
    );
    assert_eq!(new, old);
    new
}

/// A sandbox whose channels behave in a given way.
pub(crate) fn behaving(devices: u32, behaviour: Behaviour) -> SandboxConfig {
    SandboxConfig {
        behaviour,
        ..config(devices)
    }
}
