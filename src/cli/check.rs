//! `reveille check`: tries what a broker needs and says how to mend what does not work.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::{Exit, Failure, block_on, print, print_json};
use crate::{
    app::check::{self, Finding, Weight},
    config::{Config, ConfigError, Environment},
    domain::counted::counted,
};

/// Try what a broker with this configuration needs, and say what is wrong and how to mend it.
///
/// Reads the configuration, listens for a moment, opens the store unless a running broker holds it, reaches the proxy and
/// the collector of traces, and asks for a token with each app's secrets. A broker may run meanwhile. One line for each finding: ok, warning, unreachable
/// (may work later), failed or invalid (the configuration).
#[derive(Args, Clone, Debug)]
pub(super) struct CheckArgs {
    /// Configuration file; without it the environment must say everything
    #[arg(long, short, value_name = "FILE", env = "REVEILLE_CONFIG")]
    config: Option<PathBuf>,
    /// Print the findings as one JSON object
    #[arg(long)]
    json: bool,
}

/// The whole answer in JSON.
#[derive(Serialize)]
struct Answer<'a> {
    /// The gravest weight of all.
    result: Weight,
    findings: &'a [Finding],
}

pub(super) fn run(args: &CheckArgs) -> Result<Exit, Failure> {
    let findings = match Config::load(args.config.as_deref(), &Environment::of_process()) {
        Ok(config) => {
            let read = Finding::new(Weight::Ok, "configuration", contents(&config));
            let mut findings = vec![read];
            findings.extend(block_on(check::check(&config))?);
            findings
        }
        Err(error) => refused(&error),
    };
    let gravest = findings.iter().map(|found| found.weight).max();
    let result = gravest.unwrap_or(Weight::Ok);
    if args.json {
        let findings = &findings;
        print_json(&Answer { result, findings })?;
    } else {
        findings.iter().try_for_each(|found| print(line(found)))?;
    }
    Ok(exit(result))
}

fn contents(config: &Config) -> String {
    format!(
        "{}, {}, {}",
        counted(config.apps.len() as u64, "app"),
        counted(config.tenants.len() as u64, "tenant"),
        counted(config.keys.principals().count() as u64, "API key"),
    )
}

fn refused(error: &ConfigError) -> Vec<Finding> {
    let found = |detail: String| Finding::new(Weight::Invalid, "configuration", detail);
    match error {
        ConfigError::Unreadable { .. } => vec![found(error.to_string())],
        ConfigError::Invalid { problems } => problems
            .iter()
            .map(|problem| found(problem.to_string()))
            .collect(),
    }
}

fn line(found: &Finding) -> String {
    let weight = match found.weight {
        Weight::Ok => "ok",
        Weight::Warning => "warning",
        Weight::Unreachable => "unreachable",
        Weight::Failed => "failed",
        Weight::Invalid => "invalid",
    };
    let cure = found
        .cure
        .as_ref()
        .map(|cure| format!("; to mend it: {cure}"));
    format!(
        "{weight:<11} {}: {}{}",
        found.subject,
        found.detail,
        cure.unwrap_or_default()
    )
}

fn exit(gravest: Weight) -> Exit {
    match gravest {
        Weight::Ok | Weight::Warning => Exit::Done,
        Weight::Unreachable => Exit::Unreachable,
        Weight::Failed => Exit::Failed,
        Weight::Invalid => Exit::Usage,
    }
}
