//! `reveille channels`: register channels from files, and look at them.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use futures_util::TryStreamExt;
use indicatif::ProgressBar;
use reqwest::{Body, Method};
use serde_json::Value;
use tokio_util::io::ReaderStream;

use super::{
    Exit, Failure,
    client::{Api, ServerArgs},
    output::{grouped, progress_bar},
    print, print_json,
};
use crate::domain::counted::counted;

/// Register channels from files, and see how they are.
#[derive(Args, Clone, Debug)]
pub(super) struct ChannelsArgs {
    #[command(subcommand)]
    command: ChannelsCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum ChannelsCommand {
    Import(ImportArgs),
    Stats(StatsArgs),
    Forecast(ForecastArgs),
}

/// Register the channels in files of lines such as {"device": "d1", "uri": "https://…"}.
///
/// Files are streamed, whatever their size; a bad line is reported by its number and does not stop the others.
#[derive(Args, Clone, Debug)]
pub(super) struct ImportArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// NDJSON files, or - for standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print one JSON object a file
    #[arg(long)]
    json: bool,
}

/// Print how many channels are live, silent, suspect and dead.
#[derive(Args, Clone, Debug)]
pub(super) struct StatsArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Print how many channels WNS will expire in the next days unless their devices renew them.
#[derive(Args, Clone, Debug)]
pub(super) struct ForecastArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// How far to look ahead: what is left of today (UTC), and so many whole days after it
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u8).range(1..=30))]
    days: u8,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: ChannelsArgs) -> Result<Exit, Failure> {
    match args.command {
        ChannelsCommand::Import(args) => import_all(&args).await,
        ChannelsCommand::Stats(args) => stats(&args).await,
        ChannelsCommand::Forecast(args) => forecast(&args).await,
    }
}

async fn import_all(args: &ImportArgs) -> Result<Exit, Failure> {
    let api = Api::new(&args.server)?;
    let mut exit = Exit::Done;
    for file in &args.files {
        let mut answer = import(&api, file, args.json).await?;
        let name = file.display().to_string();
        if args.json {
            answer["file"] = name.into();
            print_json(&answer)?;
        } else {
            show(&name, &answer)?;
        }
        if answer["refused"].as_u64() != Some(0) {
            exit = Exit::Partly;
        }
    }
    Ok(exit)
}

async fn import(api: &Api, file: &PathBuf, quiet: bool) -> Result<Value, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::new(
            Exit::Usage,
            format!("cannot read {}: {error}", file.display()),
        )
    };
    let (body, bar) = if file.as_os_str() == "-" {
        let bar = progress_bar(None, quiet);
        (progress_body(tokio::io::stdin(), &bar), bar)
    } else {
        let open = tokio::fs::File::open(file).await.map_err(unreadable)?;
        let bar = progress_bar(
            Some(open.metadata().await.map_err(unreadable)?.len()),
            quiet,
        );
        (progress_body(open, &bar), bar)
    };
    let request = api
        .request(Method::POST, "/channels")
        .header("content-type", "application/x-ndjson");
    let answer = api.call(request.body(body)).await;
    bar.finish_and_clear();
    answer
}

fn progress_body(reader: impl tokio::io::AsyncRead + Send + 'static, bar: &ProgressBar) -> Body {
    let bar = bar.clone();
    let chunks = ReaderStream::with_capacity(reader, 64 * 1024);
    Body::wrap_stream(chunks.inspect_ok(move |chunk| bar.inc(chunk.len() as u64)))
}

fn show(file: &str, answer: &Value) -> Result<(), Failure> {
    let count = |name: &str| answer[name].as_u64().unwrap_or(0);
    print(format_args!(
        "{file}: registered {}, unchanged {}, refused {}",
        count("registered"),
        count("unchanged"),
        count("refused")
    ))?;
    for error in answer["errors"].as_array().into_iter().flatten() {
        let line = error["line"].as_u64().unwrap_or(0);
        print(format_args!(
            "  line {line}: {}",
            error["detail"].as_str().unwrap_or("")
        ))?;
    }
    Ok(())
}

async fn stats(args: &StatsArgs) -> Result<Exit, Failure> {
    let api = Api::new(&args.server)?;
    let tenant = api.call(api.request(Method::GET, "")).await?;
    let channels = &tenant["devices"];
    if args.json {
        print_json(channels)?;
        return Ok(Exit::Done);
    }
    for (state, count) in channels.as_object().into_iter().flatten() {
        print(format_args!("{state:<10}{count:>12}"))?;
    }
    Ok(Exit::Done)
}

async fn forecast(args: &ForecastArgs) -> Result<Exit, Failure> {
    let api = Api::new(&args.server)?;
    let path = format!("/channels/forecast?days={}", args.days);
    let answer = api.call(api.request(Method::GET, &path)).await?;
    if args.json {
        print_json(&answer)?;
        return Ok(Exit::Done);
    }
    let count = |value: &Value| grouped(value.as_u64().unwrap_or(0));
    print(format_args!(
        "channels that expire within {} without renewal: {}; overdue: {}; older than 15 days and not renewed: {}",
        counted(args.days.into(), "day"),
        count(&answer["expiring"]),
        count(&answer["overdue"]),
        count(&answer["renewal_overdue"])
    ))?;
    for day in answer["days"].as_array().into_iter().flatten() {
        let date = day["day"].as_str().unwrap_or_default();
        print(format_args!("{date:<10}{:>12}", count(&day["channels"])))?;
    }
    Ok(Exit::Done)
}
