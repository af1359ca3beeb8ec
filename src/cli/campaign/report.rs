//! `reveille campaign report`: what a campaign has come to, and what became of each target.

use clap::{Args, ValueEnum};
use futures_util::TryStreamExt;
use reqwest::Method;
use serde_json::Value;

use super::summary;
use crate::{
    cli::{
        Exit, Failure,
        client::{Api, ServerArgs, unreachable},
        output::print_part,
        print, print_json,
        push::word,
    },
    domain::{campaign::TargetStatus, id::CampaignId},
};

const AFTER_HELP: &str = "\
What is left becomes the next campaign:
  reveille campaign report ID --state expired --format ids |
    reveille campaign create --name again --devices -
Or in one call, without the list:
  reveille campaign create --name again --left-of ID --left-state expired";

/// Print what a campaign has come to; with --state or --format, what became of each target.
#[derive(Args, Clone, Debug)]
#[command(after_help = AFTER_HELP)]
pub(super) struct ReportArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// The campaign's id
    #[arg(value_name = "ID")]
    id: CampaignId,
    /// Only targets in these states, separated by commas
    #[arg(long, value_name = "STATE", value_delimiter = ',')]
    state: Vec<TargetStatus>,
    /// How targets are written; table if only --state is given
    #[arg(long, value_enum)]
    format: Option<Shape>,
    /// Print JSON: the campaign as one object, or one object a target
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

/// How targets are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shape {
    /// Columns for people
    Table,
    /// CSV with a header
    Csv,
    /// One JSON object a line
    Ndjson,
    /// Only the devices, one a line
    Ids,
}

pub(super) async fn run(args: &ReportArgs) -> Result<Exit, Failure> {
    let api = Api::new(&args.server)?;
    let shape = match args.format {
        None if args.state.is_empty() => return whole(&api, args).await,
        None if args.json => Shape::Ndjson,
        None => Shape::Table,
        Some(shape) => shape,
    };
    targets(&api, args, shape).await?;
    Ok(Exit::Done)
}

/// The campaign without its targets.
async fn whole(api: &Api, args: &ReportArgs) -> Result<Exit, Failure> {
    let request = api.request(Method::GET, &super::path(&args.id, ""));
    let campaign = api.call(request).await?;
    if args.json {
        print_json(&campaign)?;
    } else {
        print(summary::table(&campaign))?;
    }
    Ok(Exit::Done)
}

/// Passes the targets on as they come; nothing is kept.
async fn targets(api: &Api, args: &ReportArgs, shape: Shape) -> Result<(), Failure> {
    let sent = match shape {
        Shape::Csv => Shape::Csv,
        Shape::Table | Shape::Ndjson | Shape::Ids => Shape::Ndjson,
    };
    let states: Vec<&str> = args.state.iter().map(|s| s.as_str()).collect();
    let below = format!("/targets?format={}&state={}", word(sent), states.join(","));
    let request = api.request(Method::GET, &super::path(&args.id, &below));
    let mut pieces = api.send(request).await?.bytes_stream();
    if shape == Shape::Table {
        print(header())?;
    }
    let mut rest = Vec::new();
    while let Some(piece) = pieces.try_next().await.map_err(unreachable)? {
        let read = match shape {
            Shape::Csv | Shape::Ndjson => print_part(&piece)?,
            Shape::Table => print_part(rewritten(&mut rest, &piece, row)?.as_bytes())?,
            Shape::Ids => print_part(rewritten(&mut rest, &piece, id)?.as_bytes())?,
        };
        if !read {
            break;
        }
    }
    Ok(())
}

/// The lines that `piece` completes, each written anew; what comes after the last is kept in `rest`.
fn rewritten(
    rest: &mut Vec<u8>,
    piece: &[u8],
    write: fn(&Value) -> String,
) -> Result<String, Failure> {
    rest.extend_from_slice(piece);
    let Some(end) = rest.iter().rposition(|byte| *byte == b'\n') else {
        return Ok(String::new());
    };
    let after = rest.split_off(end + 1);
    let lines = std::mem::replace(rest, after);
    let mut text = String::new();
    for line in lines.split(|byte| *byte == b'\n').filter(|l| !l.is_empty()) {
        let target = serde_json::from_slice(line).map_err(|error| {
            Failure::new(
                Exit::Failed,
                format!("the broker's report is damaged: {error}"),
            )
        })?;
        text.push_str(&write(&target));
        text.push('\n');
    }
    Ok(text)
}

fn header() -> String {
    columns([
        "device",
        "state",
        "reason",
        "attempts",
        "delay s",
        "last outcome",
    ])
}

fn row(target: &Value) -> String {
    let text = |name: &str| target[name].as_str().unwrap_or_default();
    let delay = target["check_in_delay_seconds"].as_f64();
    columns([
        text("device"),
        text("state"),
        text("reason"),
        &target["attempts"].to_string(),
        &delay.map_or_else(String::new, |seconds| format!("{seconds:.1}")),
        text("last_outcome"),
    ])
}

fn columns([device, state, reason, attempts, delay, outcome]: [&str; 6]) -> String {
    let line = format!("{device:<38} {state:<10} {reason:<14} {attempts:>8} {delay:>9}  {outcome}");
    line.trim_end().to_owned()
}

fn id(target: &Value) -> String {
    target["device"].as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = concat!(
        r#"{"device":"d1","state":"expired","reason":"no_channel","attempts":0,"check_in_delay_seconds":null,"last_outcome":null}"#,
        "\n",
        r#"{"device":"d2","state":"checked_in","reason":null,"attempts":2,"check_in_delay_seconds":12.345,"last_outcome":"received"}"#,
        "\n",
    );

    #[test]
    fn a_report_is_rewritten_wherever_it_is_cut() {
        for cut in 0..LINES.len() {
            let mut rest = Vec::new();
            let (first, second) = LINES.as_bytes().split_at(cut);
            let ids = [first, second].map(|piece| rewritten(&mut rest, piece, id).unwrap());
            assert_eq!(ids.concat(), "d1\nd2\n", "cut at {cut}");
            assert!(rest.is_empty());
        }
    }

    #[test]
    fn a_table_says_what_became_of_each_target() {
        let rows = rewritten(&mut Vec::new(), LINES.as_bytes(), row).unwrap();
        insta::assert_snapshot!(format!("{}\n{rows}", header()));
    }

    #[test]
    fn a_damaged_report_is_a_failure_and_no_empty_list() {
        let failure = rewritten(&mut Vec::new(), b"{\"device\":\n", id).unwrap_err();
        assert_eq!(failure.exit, Exit::Failed);
    }
}
