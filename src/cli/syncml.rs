//! `reveille syncml`: the SyncML that gives a device its PFN, asks for its channel, and what the device answered.

mod read;

use std::num::NonZeroU16;

use clap::{Args, Subcommand, ValueEnum};

use super::{Exit, Failure, print};
use crate::domain::{
    identity::Pfn,
    syncml::{
        commands::{PushCommands, SetPfn},
        node::ProviderId,
    },
};

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
    Read(read::ReadArgs),
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
    #[value(alias = "first_time")]
    First,
    /// Afterwards: replaces the PFN
    Again,
    /// After a 500 on Replace: deletes the node and adds it anew
    Recovery,
}

impl From<How> for SetPfn {
    fn from(how: How) -> Self {
        match how {
            How::First => Self::FirstTime,
            How::Again => Self::Again,
            How::Recovery => Self::Recovery,
        }
    }
}

pub(super) fn run(args: SyncMlArgs) -> Result<Exit, Failure> {
    match args.command {
        SyncMlCommand::SetPfn(args) => {
            let pfn = Pfn::parse(&args.pfn).map_err(usage)?;
            print(PushCommands::set(
                &provider(&args.common.provider)?,
                &pfn,
                args.how.into(),
                args.common.first_cmd_id,
            ))?;
        }
        SyncMlCommand::Query(args) => {
            print(PushCommands::query(
                &provider(&args.common.provider)?,
                args.common.first_cmd_id,
            ))?;
        }
        SyncMlCommand::Read(args) => read::run(&args)?,
    }
    Ok(Exit::Done)
}

fn provider(text: &str) -> Result<ProviderId, Failure> {
    ProviderId::new(text).map_err(usage)
}

fn usage(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Usage, error)
}
