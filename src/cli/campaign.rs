//! `reveille campaign`: make campaigns, run them, watch them, and keep the list of what became of each target.

mod body;
mod create;
mod devices;
mod pace;
mod report;
mod summary;
mod watch;
mod wave;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::Value;

use self::{create::CreateArgs, report::ReportArgs, summary::counted, watch::WatchArgs};
use super::{
    Exit, Failure,
    client::{Api, ServerArgs},
    output::grouped,
    print, print_json,
};
use crate::domain::id::CampaignId;

/// Campaigns asked for at a time.
const PAGE: usize = 100;

/// Push many devices for one reason, at a pace, and know what became of each.
#[derive(Args, Clone, Debug)]
pub(super) struct CampaignArgs {
    #[command(subcommand)]
    command: CampaignCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum CampaignCommand {
    Create(Box<CreateArgs>),
    List(ListArgs),
    /// Tell how many devices a campaign would reach, and how long it would take
    DryRun(OneArgs),
    /// Start a draft
    Start(OneArgs),
    /// Stop releasing and sending, within a second
    Pause(OneArgs),
    /// Let a paused campaign go on; after a failed gate with the next wave
    Resume(OneArgs),
    /// Call a campaign off: what has not ended ends as cancelled
    Cancel(OneArgs),
    Pace(pace::PaceArgs),
    Watch(WatchArgs),
    Report(ReportArgs),
}

/// One campaign.
#[derive(Args, Clone, Debug)]
struct OneArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// The campaign's id
    #[arg(value_name = "ID")]
    id: CampaignId,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// List the campaigns of a tenant, oldest first.
#[derive(Args, Clone, Debug)]
struct ListArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: CampaignArgs) -> Result<Exit, Failure> {
    match args.command {
        CampaignCommand::Create(args) => create::run(&args).await,
        CampaignCommand::List(args) => list(&args).await,
        CampaignCommand::DryRun(args) => dry_run(&args).await,
        CampaignCommand::Start(args) => act(&args, "start").await,
        CampaignCommand::Pause(args) => act(&args, "pause").await,
        CampaignCommand::Resume(args) => act(&args, "resume").await,
        CampaignCommand::Cancel(args) => act(&args, "cancel").await,
        CampaignCommand::Pace(args) => pace::run(&args).await,
        CampaignCommand::Watch(args) => watch::run(&args).await,
        CampaignCommand::Report(args) => report::run(&args).await,
    }
}

/// The path of a campaign, and what lies below it.
fn path(id: &CampaignId, below: &str) -> String {
    format!("/campaigns/{id}{below}")
}

async fn act(args: &OneArgs, verb: &str) -> Result<Exit, Failure> {
    let api = Api::new(&args.server)?;
    let path = path(&args.id, &format!("/{verb}"));
    let campaign = api.call(api.request(Method::POST, &path)).await?;
    shown(&campaign, args.json)
}

fn shown(campaign: &Value, as_json: bool) -> Result<Exit, Failure> {
    if as_json {
        print_json(campaign)?;
    } else {
        print(line(campaign))?;
    }
    Ok(Exit::Done)
}

/// A campaign in one line.
fn line(campaign: &Value) -> String {
    let text = |name: &str| campaign[name].as_str().unwrap_or_default();
    let targets = counted(campaign, "targets");
    format!(
        "{}  {:<9}  {:>12} targets  {:>12} ended  {}",
        text("id"),
        text("state"),
        grouped(targets),
        grouped(summary::ended(campaign)),
        text("name"),
    )
}

async fn list(args: &ListArgs) -> Result<Exit, Failure> {
    let api = Api::new(&args.server)?;
    let mut path = format!("/campaigns?limit={PAGE}");
    loop {
        let page = api.call(api.request(Method::GET, &path)).await?;
        for campaign in page["items"].as_array().into_iter().flatten() {
            shown(campaign, args.json)?;
        }
        let Some(cursor) = page["next_cursor"].as_str() else {
            return Ok(Exit::Done);
        };
        path = format!("/campaigns?limit={PAGE}&cursor={cursor}");
    }
}

async fn dry_run(args: &OneArgs) -> Result<Exit, Failure> {
    let api = Api::new(&args.server)?;
    let request = api.request(Method::POST, &path(&args.id, "/dry-run"));
    let answer = api.call(request).await?;
    if args.json {
        print_json(&answer)?;
        return Ok(Exit::Done);
    }
    let count = |value: &Value| grouped(value.as_u64().unwrap_or(0));
    print(format_args!(
        "{} of {} targets can be reached now; releasing all takes {} at {} a second",
        count(&answer["reachable"]),
        count(&answer["targets"]),
        answer["takes"].as_str().unwrap_or_default(),
        answer["per_second"]
    ))?;
    for (state, channels) in answer["channels"].as_object().into_iter().flatten() {
        print(format_args!("  {state:<10}{:>12}", count(channels)))?;
    }
    for note in answer["notes"].as_array().into_iter().flatten() {
        print(note.as_str().unwrap_or_default())?;
    }
    Ok(Exit::Done)
}
