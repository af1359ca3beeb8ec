//! `reveille campaign create`: a draft with its targets, started on request.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use clap::Args;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::{
    body::{DefinitionArgs, MoreTargetArgs, TargetArgs, body},
    devices::{self, Devices},
    summary::counted,
};
use crate::{
    cli::{
        Exit, Failure,
        client::{Api, ServerArgs},
        output::{grouped, say},
        print, print_json,
    },
    domain::id::CampaignId,
};

/// Longest campaign that is read from a file, in bytes.
const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

const AFTER_HELP: &str = "\
Prints the campaign's id, and nothing else, on standard output. What was not taken is told on standard error, and the \
command ends with 3. A campaign whose targets could not be sent whole is taken back, and so is one with --start that has none.";

/// Make a campaign: a draft, unless --start is given.
///
/// From flags, or from a JSON file as the API takes it; flags take the place of what the file says. Targets are streamed,
/// whatever their number.
#[derive(Args, Clone, Debug)]
#[command(after_help = AFTER_HELP)]
pub(super) struct CreateArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// JSON file with the campaign, or - for standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    definition: DefinitionArgs,
    #[command(flatten)]
    targets: TargetArgs,
    #[command(flatten)]
    more: MoreTargetArgs,
    /// Start it at once
    #[arg(long)]
    start: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: &CreateArgs) -> Result<Exit, Failure> {
    let from_input = |file: &Option<PathBuf>| file.as_ref().is_some_and(|f| f.as_os_str() == "-");
    if from_input(&args.file) && from_input(&args.targets.devices) {
        return Err(usage("--file and --devices cannot both be standard input"));
    }
    let file = args.file.as_deref().map(read).transpose()?;
    let body = body(
        file.unwrap_or_default(),
        &args.definition,
        &args.targets,
        &args.more,
    );
    // Opened first, so that a file that cannot be read makes nothing.
    let devices = match &args.targets.devices {
        Some(file) => Some(devices::open(file, args.json).await?),
        None => None,
    };
    let api = Api::new(&args.server)?;
    let request = api.request(Method::POST, "/campaigns").json(&body);
    let mut campaign = api.call(request).await?;
    let id = campaign["id"].as_str().unwrap_or_default();
    let id: CampaignId = id
        .parse()
        .map_err(|error| Failure::new(Exit::Failed, format!("the broker's answer: {error}")))?;
    let mut errors = take(&mut campaign, "errors");
    if let Some(devices) = devices {
        match add(&api, &id, devices, args.more.register_unknown).await {
            Ok(mut answer) => errors.append(&mut take(&mut answer, "errors")),
            Err(failure) => return Err(taken_back(&api, &id, failure).await),
        }
        campaign = api
            .call(api.request(Method::GET, &super::path(&id, "")))
            .await?;
    }
    if args.start {
        if campaign["selection"] == "listed" && counted(&campaign, "targets") == 0 {
            tell(&errors);
            let failure = usage("nothing is started: the campaign has no targets");
            return Err(taken_back(&api, &id, failure).await);
        }
        let request = api.request(Method::POST, &super::path(&id, "/start"));
        campaign = api.call(request).await?;
    }
    show(campaign, errors, args.json)
}

fn usage(message: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Usage, message)
}

fn read(file: &Path) -> Result<Map<String, Value>, Failure> {
    let name = file.display();
    let unreadable = |error| usage(format!("cannot read {name}: {error}"));
    let input: Box<dyn Read> = if file.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(file).map_err(unreadable)?)
    };
    let mut text = String::new();
    let mut bounded = input.take(FILE_BYTES_MAX);
    bounded.read_to_string(&mut text).map_err(unreadable)?;
    serde_json::from_str(&text).map_err(|error| usage(format!("{name} is no campaign: {error}")))
}

/// Streams the devices of a file into the draft.
async fn add(
    api: &Api,
    id: &CampaignId,
    devices: Devices,
    register_unknown: bool,
) -> Result<Value, Failure> {
    let below = format!("/targets?register_unknown={register_unknown}");
    let request = api
        .request(Method::POST, &super::path(id, &below))
        .header("content-type", "application/x-ndjson");
    let answer = api.call(request.body(devices.body)).await;
    devices.bar.finish_and_clear();
    answer
}

/// Deletes the draft after `failure`, so that nothing is left half made.
async fn taken_back(api: &Api, id: &CampaignId, failure: Failure) -> Failure {
    let request = api.request(Method::DELETE, &super::path(id, ""));
    match api.send(request).await {
        Ok(_) => failure,
        Err(_) => Failure::new(
            failure.exit,
            format!(
                "{}\n  the draft {id} is left without all its targets",
                failure.message
            ),
        ),
    }
}

fn take(answer: &mut Value, list: &str) -> Vec<Value> {
    match answer[list].take() {
        Value::Array(items) => items,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            Vec::new()
        }
    }
}

fn show(mut campaign: Value, errors: Vec<Value>, as_json: bool) -> Result<Exit, Failure> {
    let exit = if errors.is_empty() {
        Exit::Done
    } else {
        Exit::Partly
    };
    if as_json {
        campaign["errors"] = json!(errors);
        print_json(&campaign)?;
        return Ok(exit);
    }
    tell(&errors);
    let text = |name: &str| campaign[name].as_str().unwrap_or_default();
    let targets = grouped(counted(&campaign, "targets"));
    say(format_args!(
        "{}: {}, targets so far: {targets}",
        text("name"),
        text("state")
    ));
    print(text("id"))?;
    Ok(exit)
}

/// Says what was not taken.
fn tell(errors: &[Value]) {
    for error in errors {
        let place = match error["line"].as_u64() {
            Some(line) => format!("line {line}"),
            None => error["pointer"].as_str().unwrap_or_default().to_owned(),
        };
        let detail = error["detail"].as_str().unwrap_or_default();
        say(format_args!("  {place}: {detail}"));
    }
}
