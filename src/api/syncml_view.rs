//! Commands for a session and what a device's message says, as consoles see them.

use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::problem::Problem;
use crate::domain::{
    identity::Pfn,
    syncml::{
        commands::{Command, PushCommands, SetPfn},
        node::{ProviderId, PushNode},
        report::{Answer, ChannelFinding, SyncMlReport},
        status::PushStatus,
    },
    wns::channel_uri::ChannelUri,
};

const DEAD: &str = "dead";

/// What the device's message says and what was done about it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SyncMlAnswer {
    /// The device.
    pub(super) device: String,
    /// The provider whose settings were found.
    pub(super) provider_id: Option<String>,
    /// What it says of its channel.
    pub(super) channel: ChannelAnswer,
    /// `Push/Status`, if it was reported.
    pub(super) push_status: Option<PushStatusView>,
    /// `Push/PFN`, if it was reported.
    pub(super) pfn: Option<PfnView>,
    /// Its answers to commands that may be about push.
    pub(super) answers: Vec<AnswerView>,
    /// Whether the session was noted as a check-in; null unless it was to be.
    pub(super) check_in: Option<CheckInNote>,
    /// Asks that the session closed; null unless it was noted.
    pub(super) closed: Option<u64>,
    /// What to do in the next session: `query`, unless the PFN must be set.
    pub(super) next: Step,
    /// The commands for it; null if the provider or the app's PFN is not known.
    pub(super) commands: Option<CommandsAnswer>,
}

/// What became of a session that was to count as a check-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum CheckInNote {
    /// It counts.
    Noted,
    /// It does not: nobody has named this device, and its message brings no channel that would make it known.
    UnknownDevice,
}

/// What a device says of its channel.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ChannelAnswer {
    /// `registered`, `unchanged`, `dead` (unchanged, and refused by WNS: set the PFN again), `empty` (it has none yet), `refused`
    /// or `not_reported`.
    state: &'static str,
    /// Its host.
    host: Option<String>,
    /// Why it was refused.
    detail: Option<String>,
}

/// `Push/Status`, explained.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PushStatusView {
    /// The number.
    code: i32,
    /// What it says.
    meaning: &'static str,
    /// What helps; empty if nothing is wrong.
    cure: &'static str,
}

/// `Push/PFN`, compared.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PfnView {
    /// What the device has.
    value: String,
    /// Whether it is the app's; null if the configuration does not say.
    matches: Option<bool>,
}

/// A device's answer to a command.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AnswerView {
    /// The command's number.
    cmd_ref: u32,
    /// The command.
    verb: &'static str,
    /// What it was about: `push`, `pfn`, `channel_uri` or `status`; null if neither the answer nor `sent` says.
    node: Option<&'static str>,
    /// 200 is success.
    code: u16,
    /// What the code says.
    meaning: &'static str,
}

impl From<&Answer> for AnswerView {
    fn from(answer: &Answer) -> Self {
        Self {
            cmd_ref: answer.cmd_ref,
            verb: answer.verb.name(),
            node: answer.node.map(PushNode::as_str),
            code: answer.code,
            meaning: answer.meaning(),
        }
    }
}

impl From<PushStatus> for PushStatusView {
    fn from(status: PushStatus) -> Self {
        Self {
            code: status.code(),
            meaning: status.meaning(),
            cure: status.cure(),
        }
    }
}

/// Commands for a session, in order.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CommandsAnswer {
    /// What they do.
    step: Step,
    /// To be placed in `SyncBody`, not in an `Atomic`.
    xml: String,
    /// The same, one by one.
    commands: Vec<CommandView>,
}

/// One command.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CommandView {
    /// `CmdID`.
    cmd_id: u32,
    /// `Add`, `Replace`, `Delete` or `Get`.
    verb: &'static str,
    /// `Target/LocURI`.
    loc_uri: String,
}

pub(super) fn answer(step: Step, commands: &PushCommands) -> CommandsAnswer {
    let view = |command: &Command| CommandView {
        cmd_id: command.cmd_id,
        verb: command.verb.name(),
        loc_uri: commands.target(command).to_string(),
    };
    CommandsAnswer {
        step,
        xml: commands.to_string(),
        commands: commands.commands().iter().map(view).collect(),
    }
}

/// How the PFN was or will be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Step {
    /// `Add` of the Push node and the PFN.
    FirstTime,
    /// `Replace` of the PFN.
    Again,
    /// `Delete` of the Push node, then as the first time.
    Recovery,
    /// `Get` of channel and status alone.
    Query,
}

impl From<Option<SetPfn>> for Step {
    fn from(step: Option<SetPfn>) -> Self {
        match step {
            Some(SetPfn::FirstTime) => Self::FirstTime,
            Some(SetPfn::Again) => Self::Again,
            Some(SetPfn::Recovery) => Self::Recovery,
            None => Self::Query,
        }
    }
}

impl Step {
    /// How the PFN is set by it; `None` if it is not.
    pub(super) fn how(self) -> Option<SetPfn> {
        match self {
            Self::FirstTime => Some(SetPfn::FirstTime),
            Self::Again => Some(SetPfn::Again),
            Self::Recovery => Some(SetPfn::Recovery),
            Self::Query => None,
        }
    }

    pub(super) fn commands(
        self,
        provider: &ProviderId,
        pfn: impl FnOnce() -> Result<Pfn, Problem>,
        first: NonZeroU16,
    ) -> Result<PushCommands, Problem> {
        let Some(how) = self.how() else {
            return Ok(PushCommands::query(provider, first));
        };
        Ok(PushCommands::set(provider, &pfn()?, how, first))
    }
}

/// What is known of a URI that a device reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// It is new.
    New,
    /// It was there before, and nothing speaks against it.
    Usable,
    /// It was there before, and WNS refuses it.
    Dead,
}

impl ChannelAnswer {
    /// Whether only another channel helps.
    pub(super) fn is_dead(&self) -> bool {
        self.state == DEAD
    }
}

pub(super) fn channel_answer(
    report: &SyncMlReport,
    uri: Option<&ChannelUri>,
    known: Known,
) -> ChannelAnswer {
    let (state, detail) = match (&report.channel, known) {
        (ChannelFinding::Uri(_), Known::New) => ("registered", None),
        (ChannelFinding::Uri(_), Known::Usable) => ("unchanged", None),
        (ChannelFinding::Uri(_), Known::Dead) => {
            let cure =
                "WNS refuses this channel: set the PFN again, so that the device asks for another";
            (DEAD, Some(cure.to_owned()))
        }
        (ChannelFinding::NotReported, _) => ("not_reported", None),
        (ChannelFinding::Empty, _) => ("empty", None),
        (ChannelFinding::Refused(error), _) => ("refused", Some(error.to_string())),
    };
    ChannelAnswer {
        state,
        host: uri.map(|uri| uri.host().to_owned()),
        detail,
    }
}

pub(super) fn pfn_view(value: &str, pfn: &Option<Pfn>) -> PfnView {
    let same = |pfn: &Pfn| Pfn::parse(value).is_ok_and(|other| other == *pfn);
    PfnView {
        value: value.to_owned(),
        matches: pfn.as_ref().map(same),
    }
}
