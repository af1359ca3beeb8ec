//! Collects a [`SyncMlReport`] while the XML goes by.

use super::{Answer, ChannelFinding, SyncMlReport};
use crate::domain::{
    syncml::{
        commands::Verb,
        node::{ProviderId, PushNode, PushTarget},
        status::PushStatus,
        xml::{SyncMlError, Visitor, walk},
    },
    wns::{
        channel_uri::{CHANNEL_URI_BYTES_MAX, ChannelUri, HostPolicy},
        text::Text,
    },
};

/// Providers of one message that are told apart; a device has one or two.
const PROVIDERS_MAX: usize = 16;

/// Text kept of one element. A channel URI may be as long as this; other results, certificates for one, are cut.
const LEAF_BYTES_MAX: usize = CHANNEL_URI_BYTES_MAX + 1;

/// The elements that mean something here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tag {
    SyncHdr,
    Status,
    Results,
    Item,
    Source,
    LocUri,
    Data,
    CmdRef,
    Cmd,
    TargetRef,
    Other,
}

/// The state while reading.
struct Collector<'a> {
    wanted: Option<&'a ProviderId>,
    policy: &'a HostPolicy,
    open: Vec<Tag>,
    /// Text of the innermost open element, if it is one that is read.
    leaf: String,
    status: StatusDraft,
    /// `Source/LocURI` and `Data` of the item that is open.
    item: (Option<PushTarget>, String),
    device: Option<Text>,
    /// What was found of each provider that may count, in the order in which they are named.
    found: Vec<Findings>,
    /// With the provider, if the answer names it.
    answers: Vec<(Option<ProviderId>, Answer)>,
    /// Set by a provider for which there was no room.
    crowded: bool,
}

/// What a message says of one provider's settings.
struct Findings {
    provider: ProviderId,
    channel: ChannelFinding,
    push_status: Option<PushStatus>,
    pfn: Option<Text>,
}

#[derive(Default)]
struct StatusDraft {
    cmd_ref: Option<u32>,
    verb: Option<Verb>,
    /// Set by the first `TargetRef` that names a node of the push settings.
    target: Option<PushTarget>,
    /// True if there is a `TargetRef` that names something else.
    elsewhere: bool,
    code: Option<u16>,
}

pub(super) fn read(
    body: &[u8],
    provider: Option<&ProviderId>,
    policy: &HostPolicy,
) -> Result<SyncMlReport, SyncMlError> {
    let mut collector = Collector {
        wanted: provider,
        policy,
        open: Vec::new(),
        leaf: String::new(),
        status: StatusDraft::default(),
        item: (None, String::new()),
        device: None,
        found: Vec::new(),
        answers: Vec::new(),
        crowded: false,
    };
    walk(body, &mut collector)?;
    collector.finish()
}

impl Visitor for Collector<'_> {
    fn start(&mut self, name: &str) {
        let tag = Tag::of(name);
        match tag {
            Tag::Status => self.status = StatusDraft::default(),
            Tag::Item => self.item = (None, String::new()),
            Tag::SyncHdr
            | Tag::Results
            | Tag::Source
            | Tag::LocUri
            | Tag::Data
            | Tag::CmdRef
            | Tag::Cmd
            | Tag::TargetRef
            | Tag::Other => {}
        }
        self.open.push(tag);
        self.leaf.clear();
    }

    fn text(&mut self, text: &str) {
        if !self.open.last().is_some_and(|tag| tag.is_leaf()) {
            return;
        }
        let room = LEAF_BYTES_MAX - self.leaf.len();
        let end = (0..=room.min(text.len()))
            .rev()
            .find(|at| text.is_char_boundary(*at));
        self.leaf.push_str(&text[..end.unwrap_or(0)]);
    }

    fn end(&mut self) {
        let Some(tag) = self.open.pop() else { return };
        let leaf = std::mem::take(&mut self.leaf);
        let text = leaf.trim();
        match (tag, self.open.as_slice()) {
            (Tag::LocUri, [.., Tag::SyncHdr, Tag::Source]) => {
                self.device = (!text.is_empty()).then(|| Text::lossy(text.as_bytes()));
            }
            (Tag::LocUri, [.., Tag::Results, Tag::Item, Tag::Source]) => {
                self.item.0 = PushTarget::parse(text)
            }
            (Tag::Data, [.., Tag::Results, Tag::Item]) => text.clone_into(&mut self.item.1),
            (Tag::Item, [.., Tag::Results]) => self.settle_item(),
            (Tag::CmdRef, [.., Tag::Status]) => self.status.cmd_ref = text.parse().ok(),
            (Tag::Cmd, [.., Tag::Status]) => self.status.verb = Verb::from_name(text),
            (Tag::TargetRef, [.., Tag::Status]) => self.status.name(text),
            (Tag::Data, [.., Tag::Status]) => self.status.code = text.parse().ok(),
            (Tag::Status, _) => self.settle_status(),
            (
                Tag::SyncHdr
                | Tag::Results
                | Tag::Item
                | Tag::Source
                | Tag::LocUri
                | Tag::Data
                | Tag::CmdRef
                | Tag::Cmd
                | Tag::TargetRef
                | Tag::Other,
                _,
            ) => {}
        }
    }
}

impl Collector<'_> {
    fn settle_item(&mut self) {
        let (Some(target), data) = std::mem::take(&mut self.item) else {
            return;
        };
        let policy = self.policy;
        let Some(findings) = self.findings(&target.provider) else {
            return;
        };
        match target.node {
            PushNode::ChannelUri => findings.settle_channel(&data, policy),
            PushNode::Status => {
                findings.push_status = data.parse().ok().map(PushStatus::from_code);
            }
            PushNode::Pfn => findings.pfn = (!data.is_empty()).then(|| Text::from(data)),
            // Its result is the list of its children.
            PushNode::Push => {}
        }
    }

    fn settle_status(&mut self) {
        let draft = std::mem::take(&mut self.status);
        let (Some(cmd_ref), Some(verb), Some(code)) = (draft.cmd_ref, draft.verb, draft.code)
        else {
            return;
        };
        let (provider, node) = match draft.target {
            Some(target) if self.findings(&target.provider).is_some() => {
                (Some(target.provider), Some(target.node))
            }
            Some(_) => return,
            None if draft.elsewhere => return,
            None => (None, None),
        };
        let answer = Answer {
            cmd_ref,
            verb,
            node,
            code,
        };
        self.answers.push((provider, answer));
    }

    /// What has been found of a provider; `None` if another one was asked for.
    fn findings(&mut self, provider: &ProviderId) -> Option<&mut Findings> {
        if self.wanted.is_some_and(|wanted| wanted != provider) {
            return None;
        }
        let known = self.found.iter().position(|f| f.provider == *provider);
        let at = match known {
            Some(at) => at,
            None if self.found.len() == PROVIDERS_MAX => {
                self.crowded = true;
                return None;
            }
            None => {
                self.found.push(Findings::of(provider.clone()));
                self.found.len() - 1
            }
        };
        self.found.get_mut(at)
    }

    /// The report on the only provider, or on the only one whose channel was reported.
    fn finish(self) -> Result<SyncMlReport, SyncMlError> {
        let several = self.found.len() > 1;
        let counts = |f: &Findings| !several || f.channel != ChannelFinding::NotReported;
        let mut counting = self.found.into_iter().filter(counts);
        let chosen = counting.next();
        if self.crowded || counting.next().is_some() || (several && chosen.is_none()) {
            return Err(SyncMlError::Ambiguous);
        }
        let mut report = SyncMlReport {
            device: self.device,
            ..SyncMlReport::default()
        };
        if let Some(chosen) = chosen {
            report.channel = chosen.channel;
            report.push_status = chosen.push_status;
            report.pfn = chosen.pfn;
            report.provider = Some(chosen.provider);
        }
        let ours = |of: &Option<ProviderId>| of.is_none() || *of == report.provider;
        let answers = self.answers.into_iter().filter(|(of, _)| ours(of));
        report.answers = answers.map(|(_, answer)| answer).collect();
        Ok(report)
    }
}

impl Findings {
    fn of(provider: ProviderId) -> Self {
        Self {
            provider,
            channel: ChannelFinding::NotReported,
            push_status: None,
            pfn: None,
        }
    }

    /// "If no valid PFN is currently set, ChannelURI will return null" (DMClient CSP): an empty text in practice. An empty
    /// result does not hide a channel that the same message reports.
    fn settle_channel(&mut self, data: &str, policy: &HostPolicy) {
        if data.is_empty() || data.eq_ignore_ascii_case("null") {
            if self.channel == ChannelFinding::NotReported {
                self.channel = ChannelFinding::Empty;
            }
            return;
        }
        self.channel = match ChannelUri::parse(data, policy) {
            Ok(uri) => ChannelFinding::Uri(uri),
            Err(error) => ChannelFinding::Refused(error),
        };
    }
}

impl StatusDraft {
    fn name(&mut self, target_ref: &str) {
        match PushTarget::parse(target_ref) {
            Some(target) => self.target = self.target.take().or(Some(target)),
            None => self.elsewhere = true,
        }
    }
}

impl Tag {
    fn of(name: &str) -> Self {
        match name {
            "SyncHdr" => Self::SyncHdr,
            "Status" => Self::Status,
            "Results" => Self::Results,
            "Item" => Self::Item,
            "Source" => Self::Source,
            "LocURI" => Self::LocUri,
            "Data" => Self::Data,
            "CmdRef" => Self::CmdRef,
            "Cmd" => Self::Cmd,
            "TargetRef" => Self::TargetRef,
            _ => Self::Other,
        }
    }

    const fn is_leaf(self) -> bool {
        match self {
            Self::LocUri | Self::Data | Self::CmdRef | Self::Cmd | Self::TargetRef => true,
            Self::SyncHdr
            | Self::Status
            | Self::Results
            | Self::Item
            | Self::Source
            | Self::Other => false,
        }
    }
}
