//! The command line: what can be asked for, and how it is answered.
//!
//! Every command keeps to one convention. Results go to standard output, everything else to standard error. `--json` makes
//! the result one JSON object (or one a line, for lists) and switches progress off. An error is one line on standard error
//! that begins with `reveille: `. The exit code is one of [`Exit`].

mod bundle;
mod campaign;
mod channels;
mod check;
mod client;
mod completions;
pub mod demo;
mod health;
mod key;
mod output;
mod pfn;
mod push;
pub mod sandbox;
mod serve;
pub mod signals;
mod store;
mod syncml;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use self::{
    completions::CompletionsArgs,
    key::{KeyArgs, KeyNewArgs},
    output::{Exit, Failure, print, print_json},
};

const AFTER_HELP: &str = "\
Results go to standard output, everything else to standard error.
Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 done in part, 4 unreachable, \
5 cancelled, 6 paused by a gate.";

/// Wakes Windows fleets: a push broker between MDM consoles and WNS.
#[derive(Debug, Parser)]
#[command(name = "reveille", version, propagate_version = true, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    // The largest by far, so that the others stay small.
    Demo(demo::DemoArgs),
    Serve(serve::ServeArgs),
    Check(check::CheckArgs),
    Sandbox(Box<sandbox::SandboxArgs>),
    Push(push::PushArgs),
    Channels(channels::ChannelsArgs),
    Campaign(campaign::CampaignArgs),
    #[command(name = "syncml")]
    SyncMl(syncml::SyncMlArgs),
    Pfn(pfn::PfnArgs),
    Store(store::StoreArgs),
    Key(KeyArgs),
    Health(health::HealthArgs),
    Bundle(bundle::BundleArgs),
    Completions(CompletionsArgs),
}

/// Reads the command line of this process and does what it asks.
#[must_use]
pub fn main() -> ExitCode {
    // Wrong usage and `--help` end the process here, with 2 and 0.
    output::ended(run(Cli::parse().command))
}

fn run(command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Demo(args) => demo::main(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Sandbox(args) => run_sandbox(*args),
        Command::Push(args) => block_on(push::run(args))?,
        Command::Channels(args) => block_on(channels::run(args))?,
        Command::Campaign(args) => block_on(campaign::run(args))?,
        Command::SyncMl(args) => syncml::run(args),
        Command::Pfn(args) => pfn::run(&args),
        Command::Store(args) => block_on(store::run(args))?,
        Command::Key(args) => key::run(args),
        Command::Health(args) => block_on(health::run(args))?,
        Command::Bundle(args) => block_on(bundle::run(args))?,
        Command::Completions(args) => completions::run(&args),
    }
}

fn run_sandbox(args: sandbox::SandboxArgs) -> Result<Exit, Failure> {
    block_on(sandbox::run(args))?.map_err(|error| {
        let exit = match &error {
            sandbox::SandboxCommandError::Config(_)
            | sandbox::SandboxCommandError::KeyUnset { .. } => Exit::Usage,
            sandbox::SandboxCommandError::Start(_) | sandbox::SandboxCommandError::System(_) => {
                Exit::Failed
            }
        };
        Failure::new(exit, error)
    })?;
    Ok(Exit::Done)
}

/// Runs `work` on a runtime of this thread, for commands that need no actors.
fn block_on<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot start: {error}")))?;
    Ok(runtime.block_on(work))
}

#[cfg(test)]
mod tests;
