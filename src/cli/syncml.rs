//! `reveille syncml`: the SyncML that gives a device its PFN, asks for its channel, and what the device answered.

use std::{
    io::Read,
    num::NonZeroU16,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::{Exit, Failure, print, print_json};
use crate::domain::{
    identity::Pfn,
    syncml::{
        commands::{PushCommands, SetPfn},
        node::ProviderId,
        report::{ChannelFinding, SyncMlReport},
    },
    wns::{channel_uri::HostPolicy, text::Text},
};

/// Longest SyncML body that is read, in bytes; longer ones are refused by the reader.
const BODY_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Write the SyncML of push, and read a device's answer.
#[derive(Args, Clone, Debug)]
pub(super) struct SyncMlArgs {
    #[command(subcommand)]
    command: SyncMlCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum SyncMlCommand {
    SetPfn(SetPfnArgs),
    Query(QueryArgs),
    Read(ReadArgs),
}

/// Print the commands that give a device the PFN and ask for its channel.
#[derive(Args, Clone, Debug)]
pub(super) struct SetPfnArgs {
    /// Package family name
    #[arg(long)]
    pfn: String,
    #[command(flatten)]
    common: CommonArgs,
    /// How the PFN is set
    #[arg(long, value_enum, default_value_t = How::First)]
    how: How,
}

/// Print the commands that ask a device for its channel; put them into every session.
#[derive(Args, Clone, Debug)]
pub(super) struct QueryArgs {
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Args, Clone, Debug)]
struct CommonArgs {
    /// PROVIDER-ID of the enrolment, not percent-encoded
    #[arg(long, value_name = "ID")]
    provider: String,
    /// Number of the first command
    #[arg(long, default_value = "2", value_name = "N")]
    first_cmd_id: NonZeroU16,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum How {
    /// The first time: adds the node and the PFN
    First,
    /// Afterwards: replaces the PFN
    Again,
    /// After a 500 on Replace: deletes the node and adds it anew
    Recovery,
}

/// Read the SyncML that a device sent, and say what it means for push. The channel URI itself is not printed.
#[derive(Args, Clone, Debug)]
pub(super) struct ReadArgs {
    /// File with the message, or - for standard input
    #[arg(default_value = "-", value_name = "FILE")]
    file: PathBuf,
    /// Only the answers about this provider
    #[arg(long, value_name = "ID")]
    provider: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: SyncMlArgs) -> Result<Exit, Failure> {
    match args.command {
        SyncMlCommand::SetPfn(args) => {
            let pfn = Pfn::parse(&args.pfn).map_err(usage)?;
            let how = match args.how {
                How::First => SetPfn::FirstTime,
                How::Again => SetPfn::Again,
                How::Recovery => SetPfn::Recovery,
            };
            print(PushCommands::set(
                &provider(&args.common.provider)?,
                &pfn,
                how,
                args.common.first_cmd_id,
            ))?;
        }
        SyncMlCommand::Query(args) => {
            print(PushCommands::query(
                &provider(&args.common.provider)?,
                args.common.first_cmd_id,
            ))?;
        }
        SyncMlCommand::Read(args) => read(&args)?,
    }
    Ok(Exit::Done)
}

fn provider(text: &str) -> Result<ProviderId, Failure> {
    ProviderId::new(text).map_err(usage)
}

fn usage(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Usage, error)
}

fn read(args: &ReadArgs) -> Result<(), Failure> {
    let body = read_body(&args.file)?;
    let provider = args.provider.as_deref().map(provider).transpose()?;
    let report = SyncMlReport::read(&body, provider.as_ref(), &HostPolicy::default())
        .map_err(|error| Failure::new(Exit::Failed, error))?;
    let channel = match &report.channel {
        ChannelFinding::Uri(uri) => format!("reported, at {}", uri.host()),
        ChannelFinding::Empty => "none yet: ask again in the next session".to_owned(),
        ChannelFinding::NotReported => "not reported".to_owned(),
        ChannelFinding::Refused(why) => format!("refused: {why}"),
    };
    let device = report.device.as_ref().map(Text::as_str);
    let status = report
        .push_status
        .map(|s| (s.code(), s.meaning(), s.cure()));
    let next = report.next_step(None).map(|step| match step {
        SetPfn::FirstTime => "set-pfn --how first",
        SetPfn::Again => "set-pfn --how again",
        SetPfn::Recovery => "set-pfn --how recovery",
    });
    if args.json {
        let status = status
            .map(|(code, meaning, cure)| json!({ "code": code, "meaning": meaning, "cure": cure }));
        return print_json(
            &json!({ "device": device, "channel": channel, "status": status, "next": next }),
        );
    }
    if let Some(device) = device {
        print(format_args!("device   {device}"))?;
    }
    print(format_args!("channel  {channel}"))?;
    match status {
        Some((code, meaning, cure)) => {
            print(format_args!("status   {code}: {meaning}"))?;
            print(format_args!("cure     {cure}"))?;
        }
        None => print("status   not reported")?,
    }
    print(format_args!(
        "next     {}",
        next.unwrap_or("nothing: ask again in every session")
    ))
}

fn read_body(file: &Path) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    let unreadable = |error| usage(format!("cannot read {}: {error}", file.display()));
    let input: Box<dyn Read> = if file.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(file).map_err(unreadable)?)
    };
    input
        .take(BODY_BYTES_MAX)
        .read_to_end(&mut body)
        .map_err(unreadable)?;
    Ok(body)
}
