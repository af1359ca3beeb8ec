//! `reveille store`: move a fleet between stores.

use std::io::IsTerminal;

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use super::{Exit, Failure, print, print_json};
use crate::{
    app::copy::{CopyFleetError, Place, copy_fleet},
    domain::counted::counted,
    ports::error::StoreError,
    service::copy::{CopyError, Step, Sums},
};

/// Move a fleet between stores.
#[derive(Args, Clone, Debug)]
pub(super) struct StoreArgs {
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum StoreCommand {
    Copy(CopyArgs),
}

/// Copy devices, open pushes, campaigns, tenants, webhooks and events from one store to another, and compare them.
///
/// A store is a folder (embedded), a URL such as redis://127.0.0.1:6379/0, or a configuration file (*.toml) whose [store] is
/// meant: so for a cluster, for Sentinel, and for extra certificate authorities. Stop all brokers of both stores first. A
/// copy that was interrupted goes on when it is repeated; a broker does not start on half of one.
#[derive(Args, Clone, Debug)]
pub(super) struct CopyArgs {
    /// Where from; the fleet there stays as it is
    #[arg(long, value_name = "STORE")]
    from: String,
    /// Where to; must be empty
    #[arg(long, value_name = "STORE")]
    to: String,
    /// Shards of a Redis store that is made for the copy [default: 64]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=128))]
    shards: Option<u32>,
    /// Let the target hold other tenants
    #[arg(long)]
    add: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: StoreArgs) -> Result<Exit, Failure> {
    let StoreCommand::Copy(args) = args.command;
    let bar = bar(args.json);
    let shown = bar.clone();
    let told = Box::new(move |step| show(&shown, step));
    let copied = copy(&args, told).await;
    bar.finish_and_clear();
    let sums = copied.map_err(refused)?;
    if args.json {
        print_json(&sums)?;
    } else {
        summarise(&sums)?;
    }
    Ok(Exit::Done)
}

async fn copy(
    args: &CopyArgs,
    told: Box<dyn Fn(Step) + Send + Sync>,
) -> Result<Sums, CopyFleetError> {
    // What exists has its own number of shards, which a URL does not tell.
    let from = Place::read(&args.from, None)?;
    let to = Place::read(&args.to, args.shards)?;
    copy_fleet((&from, &to), args.add, told).await
}

fn bar(quiet: bool) -> ProgressBar {
    if quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
    let bar = ProgressBar::new_spinner();
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn show(bar: &ProgressBar, step: Step) {
    bar.set_message(match step {
        Step::Devices(n) => format!("{} copied", counted(n, "device")),
        Step::Targets(n) => format!("{} copied", counted(n, "campaign target")),
        Step::Events(n) => format!("{} copied", counted(n, "event")),
        Step::Verified(n) => format!("{} compared", counted(n, "device")),
    });
    bar.tick();
}

fn summarise(sums: &Sums) -> Result<(), Failure> {
    for (tenant, sums) in &sums.tenants {
        let channels: Vec<String> = sums
            .channels
            .iter()
            .map(|(k, n)| format!("{n} {k}"))
            .collect();
        print(format_args!(
            "{tenant}: {} ({}), {}, {}, {}, digest {:016x}",
            counted(sums.devices, "device"),
            channels.join(", "),
            counted(sums.pushes_open, "open push"),
            counted(sums.campaigns, "campaign"),
            counted(sums.events, "event"),
            sums.digest,
        ))?;
    }
    print(format_args!(
        "{} and {} copied; source and target are the same",
        counted(sums.tenants.len() as u64, "tenant"),
        counted(sums.documents, "document")
    ))
}

fn refused(error: CopyFleetError) -> Failure {
    let exit = match &error {
        CopyFleetError::Place(_) => Exit::Usage,
        CopyFleetError::Copy(CopyError::Store {
            error: StoreError::Unavailable { .. },
            ..
        }) => Exit::Unreachable,
        CopyFleetError::Open { .. } | CopyFleetError::InUse(_) | CopyFleetError::Copy(_) => {
            Exit::Failed
        }
    };
    Failure::new(exit, error)
}
