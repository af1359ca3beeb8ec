//! What a device's SyncML says about its channel.
//!
//! Elements are found by name wherever they stand, because devices bind namespaces and prefixes in many ways; everything that
//! is not about the push settings is skipped without being kept.

mod reader;

use std::fmt;

pub use super::xml::{SYNCML_BYTES_MAX, SYNCML_DEPTH_MAX, SyncMlError};
use super::{
    commands::{Command, SetPfn, Verb},
    node::{ProviderId, PushNode},
    status::PushStatus,
};
use crate::domain::wns::{
    channel_uri::{ChannelUri, ChannelUriError, HostPolicy},
    text::Text,
};

/// "Already exists" (OMA DM protocol support): on `Add` the node is there, which is what was wanted.
const ALREADY_EXISTS: u16 = 418;
const NOT_FOUND: u16 = 404;
const NOT_ALLOWED: u16 = 405;
const COMMAND_FAILED: u16 = 500;

/// The findings of one message of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncMlReport {
    /// The device's own name: `Source/LocURI` of the header.
    pub device: Option<Text>,
    /// The provider whose settings were found: the one asked for, the only one named, or the only one that reports its channel.
    pub provider: Option<ProviderId>,
    /// The channel.
    pub channel: ChannelFinding,
    /// `Push/Status`, if it was reported.
    pub push_status: Option<PushStatus>,
    /// `Push/PFN` as the device has it, if it was reported.
    pub pfn: Option<Text>,
    /// Answers to commands that may be about the push settings, in order.
    pub answers: Vec<Answer>,
}

/// What the message says about `Push/ChannelURI`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ChannelFinding {
    /// Nothing: it was not asked for, or the device answered without a result.
    #[default]
    NotReported,
    /// The device has none: registration takes a moment, or no PFN is set.
    Empty,
    /// A channel.
    Uri(ChannelUri),
    /// A text that is no channel URI this broker may push to.
    Refused(ChannelUriError),
}

/// A device's answer to one command: a SyncML `Status` element.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The number of the command it answers.
    pub cmd_ref: u32,
    /// The command.
    pub verb: Verb,
    /// The node, if the answer names it; most do not.
    pub node: Option<PushNode>,
    /// How it went: 200 is success.
    pub code: u16,
}

impl SyncMlReport {
    /// Reads one message of a device. With `provider` only that provider's settings count; channel URIs are proven
    /// under `policy`.
    ///
    /// # Errors
    /// [`SyncMlError`] for what is no SyncML in XML, or too large or too deep, or speaks of several providers without one that
    /// was asked for or alone reports its channel. A message without a word on push is a report that is empty.
    pub fn read(
        body: &[u8],
        provider: Option<&ProviderId>,
        policy: &HostPolicy,
    ) -> Result<Self, SyncMlError> {
        reader::read(body, provider, policy)
    }

    /// How to set the PFN in the next session; `None` if asking for channel and status is enough.
    ///
    /// `sent` are the commands that this message answers: see [`numbered`](super::commands::numbered). Without them an answer that names no node may be about something
    /// else: then a failed `Replace` counts only if the device does not report a working channel, and a node that is not found
    /// only if the message says nothing else about push. A PFN that was set in this session is given until the next one to
    /// work. A device that was asked and has no channel to push to, with no reason for it, may have no PFN.
    #[must_use]
    pub fn next_step(&self, sent: Option<&[Command]>) -> Option<SetPfn> {
        let answers = self.answers_to(sent);
        let advice = |a: &Answer| match a.node {
            Some(node) => advice(a, node),
            None => sent.is_none().then(|| self.guess(a)).flatten(),
        };
        let advice: Vec<SetPfn> = answers.iter().filter_map(advice).collect();
        for step in [SetPfn::Recovery, SetPfn::FirstTime, SetPfn::Again] {
            if advice.contains(&step) {
                return Some(step);
            }
        }
        let cured_by_pfn = match self.push_status {
            Some(PushStatus::Success) | None => sent.is_some() && self.lacks_channel(),
            Some(status) => status.wants_pfn_again(),
        };
        (cured_by_pfn && !self.has_set_pfn(sent)).then_some(SetPfn::Again)
    }

    /// True if the device was asked for its channel and has none that this broker may push to.
    fn lacks_channel(&self) -> bool {
        match self.channel {
            ChannelFinding::Empty | ChannelFinding::Refused(_) => true,
            ChannelFinding::NotReported | ChannelFinding::Uri(_) => false,
        }
    }

    /// The answers, with the nodes that they are known to be about from the commands that were sent.
    #[must_use]
    pub fn answers_to(&self, sent: Option<&[Command]>) -> Vec<Answer> {
        let answers = self.answers.iter().map(|answer| Answer {
            node: answer.node.or_else(|| node_of(answer, sent?)),
            ..*answer
        });
        answers.collect()
    }

    /// True if the device has taken a PFN in this session, as far as the answers say what they are about.
    #[must_use]
    pub fn has_set_pfn(&self, sent: Option<&[Command]>) -> bool {
        let sets = |a: &Answer| matches!((a.verb, a.code), (Verb::Add | Verb::Replace, 200..=299));
        let answers = self.answers_to(sent);
        answers
            .iter()
            .any(|a| a.node == Some(PushNode::Pfn) && sets(a))
    }

    /// True if the device reports a channel and no trouble with it.
    #[must_use]
    pub fn has_channel(&self) -> bool {
        let trouble = self.push_status.is_some_and(PushStatus::wants_pfn_again);
        matches!(self.channel, ChannelFinding::Uri(_)) && !trouble
    }

    /// What an answer that may be about anything comes to.
    fn guess(&self, answer: &Answer) -> Option<SetPfn> {
        match (answer.verb, answer.code) {
            (Verb::Replace, COMMAND_FAILED) => (!self.has_channel()).then_some(SetPfn::Recovery),
            (Verb::Replace | Verb::Get, NOT_FOUND) => {
                (!self.speaks_of_push()).then_some(SetPfn::FirstTime)
            }
            (Verb::Add | Verb::Replace | Verb::Get | Verb::Delete, _) => None,
        }
    }

    /// True if a node under the Push node is there, since its value was reported.
    fn speaks_of_push(&self) -> bool {
        let channel = self.channel != ChannelFinding::NotReported;
        channel || self.push_status.is_some() || self.pfn.is_some()
    }
}

/// What an answer about `node` comes to.
fn advice(answer: &Answer, node: PushNode) -> Option<SetPfn> {
    match (answer.verb, answer.code) {
        (_, 200..=299) => None,
        // "Push doesn't support replace, so we have to delete old and add new" (field observation, for 500; 405 is the
        // code that OMA DM has for it).
        (Verb::Replace, COMMAND_FAILED | NOT_ALLOWED) => Some(SetPfn::Recovery),
        (Verb::Replace | Verb::Get, NOT_FOUND) => Some(SetPfn::FirstTime),
        // The node may hold another PFN.
        (Verb::Add, ALREADY_EXISTS) => (node == PushNode::Pfn).then_some(SetPfn::Again),
        (Verb::Add, _) => Some(SetPfn::FirstTime),
        (Verb::Replace | Verb::Get | Verb::Delete, _) => None,
    }
}

impl Answer {
    /// What the code says, for the codes that a server meets here. Of an answer that names no node it says no more than it
    /// could mean.
    #[must_use]
    pub const fn meaning(&self) -> &'static str {
        let named = self.node.is_some();
        match (self.verb, self.code) {
            (_, 200..=299) => "done",
            (Verb::Add, ALREADY_EXISTS) => match self.node {
                Some(PushNode::Pfn) => "there is a PFN already: replace it, it may be another one",
                Some(PushNode::Push | PushNode::ChannelUri | PushNode::Status) | None => {
                    "the node is there already, which is fine"
                }
            },
            (Verb::Replace, COMMAND_FAILED | NOT_ALLOWED) if named => {
                "the device does not replace this node: delete the Push node and add it anew"
            }
            (Verb::Replace, COMMAND_FAILED | NOT_ALLOWED) => {
                "the command failed; if it set the PFN, delete the Push node and add it anew"
            }
            (Verb::Replace | Verb::Get, NOT_FOUND) if named => {
                "the Push node has not been made yet: add it first"
            }
            (Verb::Replace | Verb::Get, NOT_FOUND) => {
                "there is no such node; if it was one of push, the Push node has not been made yet: add it first"
            }
            (Verb::Delete, NOT_FOUND) => "the node was not there, which is fine",
            (Verb::Add | Verb::Replace | Verb::Delete | Verb::Get, _) => {
                "the command failed: ask for Push/Status in the next session"
            }
        }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}#{} {:?}: {}",
            self.verb.name(),
            self.cmd_ref,
            self.node,
            self.code
        )
    }
}

/// Finds the node of an answer among the commands that were sent.
fn node_of(answer: &Answer, sent: &[Command]) -> Option<PushNode> {
    sent.iter()
        .find(|command| command.cmd_id == answer.cmd_ref && command.verb == answer.verb)
        .map(|command| command.node)
}

#[cfg(test)]
mod tests;
