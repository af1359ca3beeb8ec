//! The commands that a console puts into a session to give a device its PFN and to ask for its channel.
//!
//! They are plain commands, to be placed in `SyncBody` or in a `Sequence`: `Get` is not allowed in an `Atomic`, nor are `Add`
//! and `Replace` of one node (OMA DM protocol support).

use std::{fmt, num::NonZeroU16};

use super::node::{ProviderId, PushNode, PushTarget};
use crate::domain::identity::Pfn;

/// How to set the PFN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SetPfn {
    /// Adds the node and the PFN. 418 (already exists) is fine: the node may be there from the enrolment.
    FirstTime,
    /// Replaces the PFN; needs the node.
    Again,
    /// Deletes the node and adds it anew: the cure for a `Replace` that the device answers with 500 (field observation).
    Recovery,
}

/// A SyncML command on a device's tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Makes a node.
    Add,
    /// Sets a node's value.
    Replace,
    /// Removes a node and what is under it.
    Delete,
    /// Asks for a node's value.
    Get,
}

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Its number in the message: the device's answer refers to it.
    pub cmd_id: u32,
    /// What to do.
    pub verb: Verb,
    /// With which node.
    pub node: PushNode,
}

/// Commands in their order. Written as XML by `Display`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushCommands {
    provider: ProviderId,
    pfn: Option<Pfn>,
    commands: Vec<Command>,
}

/// The commands that set the PFN, if it is to be set, and ask for channel and status. Numbers count up from `first_cmd_id`.
/// Enough to tell what a device's answers are about, whatever the provider and the PFN.
#[must_use]
pub fn numbered(how: Option<SetPfn>, first_cmd_id: NonZeroU16) -> Vec<Command> {
    let steps: &[(Verb, PushNode)] = match how {
        Some(SetPfn::FirstTime) => &[(Verb::Add, PushNode::Push), (Verb::Add, PushNode::Pfn)],
        Some(SetPfn::Again) => &[(Verb::Replace, PushNode::Pfn)],
        Some(SetPfn::Recovery) => &[
            (Verb::Delete, PushNode::Push),
            (Verb::Add, PushNode::Push),
            (Verb::Add, PushNode::Pfn),
        ],
        None => &[],
    };
    let query = [
        (Verb::Get, PushNode::ChannelUri),
        (Verb::Get, PushNode::Status),
    ];
    let numbers = u32::from(first_cmd_id.get())..;
    numbers
        .zip(steps.iter().copied().chain(query))
        .map(|(cmd_id, (verb, node))| Command { cmd_id, verb, node })
        .collect()
}

impl PushCommands {
    /// Sets the PFN, then asks for channel and status. Numbers count up from `first_cmd_id`.
    #[must_use]
    pub fn set(provider: &ProviderId, pfn: &Pfn, how: SetPfn, first_cmd_id: NonZeroU16) -> Self {
        Self {
            provider: provider.clone(),
            pfn: Some(pfn.clone()),
            commands: numbered(Some(how), first_cmd_id),
        }
    }

    /// Asks for channel and status: for every session, because a device renews its channel when it likes.
    #[must_use]
    pub fn query(provider: &ProviderId, first_cmd_id: NonZeroU16) -> Self {
        Self {
            provider: provider.clone(),
            pfn: None,
            commands: numbered(None, first_cmd_id),
        }
    }

    /// The commands in order.
    #[must_use]
    pub fn commands(&self) -> &[Command] {
        &self.commands
    }

    /// Whose settings they are about.
    #[must_use]
    pub const fn provider(&self) -> &ProviderId {
        &self.provider
    }

    /// The path of a command's node.
    #[must_use]
    pub fn target(&self, command: &Command) -> PushTarget {
        PushTarget {
            provider: self.provider.clone(),
            node: command.node,
        }
    }

    /// The value that a command carries.
    fn value(&self, command: &Command) -> Option<&Pfn> {
        match (command.verb, command.node) {
            (Verb::Add | Verb::Replace, PushNode::Pfn) => self.pfn.as_ref(),
            (
                Verb::Add | Verb::Replace,
                PushNode::Push | PushNode::ChannelUri | PushNode::Status,
            )
            | (Verb::Delete | Verb::Get, _) => None,
        }
    }
}

impl Verb {
    /// The element's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Add => "Add",
            Self::Replace => "Replace",
            Self::Delete => "Delete",
            Self::Get => "Get",
        }
    }

    /// The verb of an element's name.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        [Self::Add, Self::Replace, Self::Delete, Self::Get]
            .into_iter()
            .find(|verb| verb.name() == name)
    }
}

/// One command a line, without a namespace: they inherit that of the message they are put into. Paths and PFNs have no
/// character that XML would escape, and the client takes no CDATA (OMA DM protocol support).
impl fmt::Display for PushCommands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for command in &self.commands {
            let (verb, target) = (command.verb.name(), self.target(command));
            write!(f, "<{verb}><CmdID>{}</CmdID><Item>", command.cmd_id)?;
            write!(f, "<Target><LocURI>{target}</LocURI></Target>")?;
            match (command.verb, self.value(command)) {
                (Verb::Add | Verb::Replace, Some(pfn)) => write!(
                    f,
                    r#"<Meta><Format xmlns="syncml:metinf">chr</Format><Type xmlns="syncml:metinf">text/plain</Type></Meta><Data>{pfn}</Data>"#
                )?,
                (Verb::Add | Verb::Replace, None) => {
                    f.write_str(r#"<Meta><Format xmlns="syncml:metinf">node</Format></Meta>"#)?;
                }
                (Verb::Delete | Verb::Get, _) => {}
            }
            writeln!(f, "</Item></{verb}>")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "./Device/Vendor/MSFT/DMClient/Provider/My%20MDM/Push";
    const PFN: &str = "52314publisher.testwns_t6e9vsyjkrw9w";

    fn provider() -> ProviderId {
        ProviderId::new("My MDM").unwrap()
    }

    fn set(how: SetPfn) -> PushCommands {
        PushCommands::set(
            &provider(),
            &Pfn::parse(PFN).unwrap(),
            how,
            NonZeroU16::new(2).unwrap(),
        )
    }

    fn get(cmd_id: u32, leaf: &str) -> String {
        format!(
            "<Get><CmdID>{cmd_id}</CmdID><Item><Target><LocURI>{ROOT}/{leaf}</LocURI></Target></Item></Get>\n"
        )
    }

    fn pfn(verb: &str, cmd_id: u32) -> String {
        format!(
            "<{verb}><CmdID>{cmd_id}</CmdID><Item><Target><LocURI>{ROOT}/PFN</LocURI></Target>\
             <Meta><Format xmlns=\"syncml:metinf\">chr</Format><Type xmlns=\"syncml:metinf\">text/plain</Type></Meta>\
             <Data>{PFN}</Data></Item></{verb}>\n"
        )
    }

    fn add_node(cmd_id: u32) -> String {
        format!(
            "<Add><CmdID>{cmd_id}</CmdID><Item><Target><LocURI>{ROOT}</LocURI></Target>\
             <Meta><Format xmlns=\"syncml:metinf\">node</Format></Meta></Item></Add>\n"
        )
    }

    #[test]
    fn the_first_time_adds_the_node_and_the_pfn() {
        let expected = add_node(2) + &pfn("Add", 3) + &get(4, "ChannelURI") + &get(5, "Status");
        assert_eq!(set(SetPfn::FirstTime).to_string(), expected);
    }

    #[test]
    fn afterwards_the_pfn_is_replaced() {
        let expected = pfn("Replace", 2) + &get(3, "ChannelURI") + &get(4, "Status");
        assert_eq!(set(SetPfn::Again).to_string(), expected);
    }

    #[test]
    fn recovery_deletes_the_node_and_adds_it_anew() {
        let delete = format!(
            "<Delete><CmdID>2</CmdID><Item><Target><LocURI>{ROOT}</LocURI></Target></Item></Delete>\n"
        );
        let expected =
            delete + &add_node(3) + &pfn("Add", 4) + &get(5, "ChannelURI") + &get(6, "Status");
        assert_eq!(set(SetPfn::Recovery).to_string(), expected);
    }

    #[test]
    fn a_query_asks_for_channel_and_status_alone() {
        let query = PushCommands::query(&provider(), NonZeroU16::MAX);

        assert_eq!(
            query.to_string(),
            get(65535, "ChannelURI") + &get(65536, "Status")
        );
        assert_eq!(query.provider(), &provider());
    }
}
