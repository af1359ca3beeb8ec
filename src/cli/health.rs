//! `reveille health`: whether a broker can do its job, as an exit code for whoever watches it.

use std::time::Duration;

use clap::Args;
use reqwest::{Client, redirect};

use super::{Exit, Failure, print};

/// Longest time for the whole question.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Ask a broker whether it can do its job; ends with 0 if so, 4 if not.
///
/// It needs no key: for health checks of containers and service managers.
#[derive(Args, Clone, Debug)]
pub(super) struct HealthArgs {
    /// Base URL of the broker's API
    #[arg(
        long,
        env = "REVEILLE_URL",
        default_value = "http://127.0.0.1:8470",
        value_name = "URL"
    )]
    server: String,
}

pub(super) async fn run(args: HealthArgs) -> Result<Exit, Failure> {
    let unreachable = |error: reqwest::Error| {
        Failure::new(
            Exit::Unreachable,
            format!("the broker does not answer: {error}"),
        )
    };
    // A broker on this machine is never behind a proxy.
    let http = Client::builder()
        .timeout(TIMEOUT)
        .redirect(redirect::Policy::none())
        .no_proxy();
    let http = http.build().map_err(unreachable)?;
    let url = format!("{}/readyz", args.server.trim_end_matches('/'));
    let answer = http.get(url).send().await.map_err(unreachable)?;
    if !answer.status().is_success() {
        return Err(Failure::new(
            Exit::Unreachable,
            format!("the broker is not ready: {}", answer.status()),
        ));
    }
    print("ready")?;
    Ok(Exit::Done)
}
