//! `reveille health`: whether a broker can do its job, as an exit code for whoever watches it.

use std::time::Duration;

use clap::Args;
use reqwest::{Client, redirect};

use super::{Exit, Failure, client::AddressArgs, print};

/// Longest time for the whole question.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Ask a broker whether it can do its job; ends with 0 if so, 4 if not.
///
/// It needs no key: for health checks of containers and service managers.
#[derive(Args, Clone, Debug)]
pub(super) struct HealthArgs {
    #[command(flatten)]
    address: AddressArgs,
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
    let answer = http
        .get(args.address.url("/readyz"))
        .send()
        .await
        .map_err(unreachable)?;
    if !answer.status().is_success() {
        return Err(Failure::new(
            Exit::Unreachable,
            format!("the broker is not ready: {}", answer.status()),
        ));
    }
    print("ready")?;
    Ok(Exit::Done)
}
