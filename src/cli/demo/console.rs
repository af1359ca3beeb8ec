//! What an MDM console does, through the broker's API.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use serde_json::Value;

use super::{DemoError, TENANT};
use crate::sandbox::Sandbox;

/// The fleet as the broker's counters show it.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    /// Pushes that are open.
    pub(super) open: u64,
    /// Asks that have ended, by reason.
    pub(super) closed: BTreeMap<String, u64>,
    /// Devices by the state of their channel.
    pub(super) channels: BTreeMap<String, u64>,
}

/// A console with the broker's address.
pub(super) struct Console {
    http: reqwest::Client,
    base: String,
}

impl Console {
    pub(super) fn new(base: String) -> Self {
        let http = reqwest::Client::builder()
            .no_proxy()
            .build()
            .unwrap_or_default();
        Self { http, base }
    }

    /// Registers the channels of all devices; gives how many were.
    pub(super) async fn register(&self, sandbox: &Sandbox) -> Result<u64, DemoError> {
        let mut lines = String::new();
        for (device, uri) in sandbox.channels(TENANT) {
            line(
                &mut lines,
                &serde_json::json!({ "device": device, "uri": uri }),
            );
        }
        let answer = self.post("channels", lines).await?;
        Ok(answer["registered"].as_u64().unwrap_or(0))
    }

    /// Opens a push for every device until `deadline`; gives how many were.
    pub(super) async fn push_all(
        &self,
        sandbox: &Sandbox,
        deadline: Duration,
    ) -> Result<u64, DemoError> {
        let mut lines = String::new();
        for (device, _) in sandbox.channels(TENANT) {
            line(&mut lines, &serde_json::json!({ "device": device }));
        }
        let seconds = deadline.as_secs();
        let path =
            format!("pushes?goal=check_in&priority=bulk&reason=revoke-ca-7&expires_in={seconds}s");
        let answer = self.post(&path, lines).await?;
        Ok(answer["opened"].as_u64().unwrap_or(0))
    }

    /// The counters of the tenant.
    pub(super) async fn state(&self) -> Result<State, DemoError> {
        let text = self.get_text(&format!("/v1/tenants/{TENANT}")).await?;
        let tenant: Value =
            serde_json::from_str(&text).map_err(|e| DemoError::Api(e.to_string()))?;
        Ok(State {
            open: counts(&tenant["pushes"]).values().sum(),
            closed: counts(&tenant["closed"]),
            channels: counts(&tenant["devices"]),
        })
    }

    /// Attempts by outcome, from the broker's metrics.
    pub(super) async fn attempts(&self) -> Result<BTreeMap<String, u64>, DemoError> {
        let text = self.get_text("/metrics").await?;
        let mut found = BTreeMap::new();
        for line in text
            .lines()
            .filter(|l| l.starts_with("reveille_attempts_total{"))
        {
            let outcome = line
                .split("outcome=\"")
                .nth(1)
                .and_then(|rest| rest.split('"').next());
            let count = line.rsplit(' ').next().and_then(|v| v.parse::<f64>().ok());
            if let (Some(outcome), Some(count)) = (outcome, count.filter(|c| *c > 0.0)) {
                *found.entry(outcome.to_owned()).or_default() += count as u64;
            }
        }
        Ok(found)
    }

    async fn post(&self, path: &str, lines: String) -> Result<Value, DemoError> {
        let url = format!("{}/v1/tenants/{TENANT}/{path}", self.base);
        let request = self
            .http
            .post(url)
            .header("content-type", "application/x-ndjson")
            .body(lines);
        let answer = request.send().await.map_err(|e| api(&e))?;
        let status = answer.status();
        let text = answer.text().await.map_err(|e| api(&e))?;
        if !status.is_success() {
            return Err(DemoError::Api(format!("{path}: {status}: {text}")));
        }
        serde_json::from_str(&text).map_err(|e| DemoError::Api(format!("{path}: {e}")))
    }

    async fn get_text(&self, path: &str) -> Result<String, DemoError> {
        let answer = self
            .http
            .get(format!("{}{path}", self.base))
            .send()
            .await
            .map_err(|e| api(&e))?;
        let answer = answer.error_for_status().map_err(|e| api(&e))?;
        answer.text().await.map_err(|e| api(&e))
    }
}

fn api(error: &reqwest::Error) -> DemoError {
    DemoError::Api(error.to_string())
}

fn line(lines: &mut String, value: &Value) {
    // Writing to a `String` cannot fail.
    let _written = writeln!(lines, "{value}");
}

fn counts(object: &Value) -> BTreeMap<String, u64> {
    let fields = object.as_object().into_iter().flatten();
    fields
        .filter_map(|(name, n)| Some((name.clone(), n.as_u64()?)))
        .collect()
}
