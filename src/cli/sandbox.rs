//! `reveille sandbox`: a WNS to test a client against, until it is interrupted.

mod args;

use std::io::{self, Write};

pub use self::args::SandboxArgs;
use super::signals::interrupted;
use crate::{
    domain::counted::counted,
    sandbox::{ConfigError, Ledger, Sandbox, SandboxConfig, SandboxError},
};

/// Why `reveille sandbox` ended with an error.
#[derive(Debug, thiserror::Error)]
pub enum SandboxCommandError {
    /// An option cannot be acted upon.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The sandbox did not start.
    #[error("cannot start the sandbox: {0}")]
    Start(#[from] SandboxError),
    /// The variable that should hold the broker's key does not.
    #[error("--check-in-key-env names {name}, which is not set")]
    KeyUnset {
        /// The variable.
        name: String,
    },
    /// Nothing can be printed.
    #[error("cannot run the sandbox: {0}")]
    System(#[from] io::Error),
}

/// Runs a sandbox until SIGINT or SIGTERM, then prints what it counted.
///
/// # Errors
/// [`SandboxCommandError`] when an option cannot be acted upon or the sandbox cannot start.
pub async fn run(args: SandboxArgs) -> Result<(), SandboxCommandError> {
    let config = args.into_config()?;
    let sandbox = Sandbox::start(&config)?;
    print_start(&sandbox, &config)?;
    interrupted().await;
    let ledger = sandbox.ledger();
    sandbox.shutdown().await;
    print_end(&ledger)?;
    Ok(())
}

/// Prints what a client needs, as the broker's configuration where it has a place there.
fn print_start(sandbox: &Sandbox, config: &SandboxConfig) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "# WNS sandbox on https://{} (seed {})",
        sandbox.address(),
        config.seed
    )?;
    let hosts = if config.channel_hosts.is_empty() {
        vec![sandbox.host()]
    } else {
        config.channel_hosts.clone()
    };
    writeln!(out, "[wns]\nsandbox_hosts = {hosts:?}")?;
    if let Some(file) = &config.ca_file {
        writeln!(out, "ca_file = {file:?}")?;
    }
    for (spec, id) in config.apps.iter().zip(sandbox.apps()) {
        let Some(credentials) = sandbox.credentials(id) else {
            continue;
        };
        writeln!(
            out,
            "\n[[apps]]  # {}",
            counted(spec.devices.unwrap_or(config.devices).into(), "device")
        )?;
        writeln!(out, "id = {id:?}\npfn = {:?}", credentials.pfn)?;
        writeln!(out, "package_sid = {:?}", credentials.package_sid)?;
        writeln!(out, "token_url = {:?}", credentials.token_url)?;
        writeln!(out, "# secrets: {}", credentials.secrets.join(" "))?;
        writeln!(
            out,
            "# Entra: directory {}, client {}",
            credentials.entra_tenant, credentials.entra_client
        )?;
    }
    writeln!(
        out,
        "\n# channels: curl --cacert … https://{}/sandbox/v1/channels",
        sandbox.host()
    )?;
    writeln!(
        out,
        "# ledger:   curl --cacert … https://{}/sandbox/v1/ledger",
        sandbox.host()
    )?;
    out.flush()
}

fn print_end(ledger: &Ledger) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "\n# {} requests, {} accepted",
        ledger.requests, ledger.accepted
    )?;
    let replies = ledger.replies.iter().filter(|(_, count)| **count > 0);
    for (reply, count) in replies {
        writeln!(out, "#   {reply}: {count}")?;
    }
    let violations = ledger.violations.iter().filter(|(_, count)| **count > 0);
    for (violation, count) in violations {
        writeln!(out, "# violated {violation}: {count}")?;
    }
    let devices = ledger.devices;
    writeln!(
        out,
        "# {} of {} reached, {} checked in, {}",
        devices.reached,
        counted(devices.total, "device"),
        devices.checked_in,
        counted(devices.repeats, "repeat")
    )?;
    out.flush()
}
