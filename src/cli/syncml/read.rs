//! What a device's SyncML means for push: the same facts as the API's answer, less what only a broker knows.

use std::{
    io::Read,
    num::NonZeroU16,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::{provider, usage};
use crate::{
    cli::{Exit, Failure, print, print_json},
    domain::{
        identity::Pfn,
        syncml::{
            commands::{Command, PushCommands, SetPfn, numbered},
            node::PushNode,
            report::{Answer, ChannelFinding, SYNCML_BYTES_MAX, SyncMlError, SyncMlReport},
        },
        wns::{channel_uri::HostPolicy, text::Text},
    },
};

/// One byte more than the reader takes, which refuses what is longer.
const READ_BYTES_MAX: u64 = SYNCML_BYTES_MAX as u64 + 1;

/// Read the SyncML that a device sent, and say what it means for push. The channel URI itself is not printed.
#[derive(Args, Clone, Debug)]
pub(super) struct ReadArgs {
    /// File with the message, or - for standard input
    #[arg(default_value = "-", value_name = "FILE")]
    file: PathBuf,
    /// Only the answers about this provider; needed where a message speaks of several, unless one alone reports a channel
    #[arg(long, value_name = "ID")]
    provider: Option<String>,
    /// Also take channel URIs at this host of a sandbox, as wns.sandbox_hosts of the configuration does; may be repeated
    #[arg(long, value_name = "HOST:PORT")]
    sandbox_host: Vec<String>,
    /// Package family name: to compare the device's with, and for the next commands
    #[arg(long)]
    pfn: Option<String>,
    /// The commands that the message answers, for answers that name no node
    #[arg(long, value_enum)]
    sent: Option<Sent>,
    /// Number of the first command, of those sent and of the next
    #[arg(long, default_value = "2", value_name = "N")]
    first_cmd_id: NonZeroU16,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Sent {
    /// set-pfn --how first
    #[value(name = "first_time", alias = "first")]
    First,
    /// set-pfn --how again
    Again,
    /// set-pfn --how recovery
    Recovery,
    /// query
    Query,
}

impl From<Sent> for Option<SetPfn> {
    fn from(sent: Sent) -> Self {
        match sent {
            Sent::First => Some(SetPfn::FirstTime),
            Sent::Again => Some(SetPfn::Again),
            Sent::Recovery => Some(SetPfn::Recovery),
            Sent::Query => None,
        }
    }
}

/// What was read and what was known before.
struct Reading {
    report: SyncMlReport,
    sent: Option<Vec<Command>>,
    pfn: Option<Pfn>,
    first_cmd_id: NonZeroU16,
}

pub(super) fn run(args: &ReadArgs) -> Result<(), Failure> {
    let asked = args.provider.as_deref().map(provider).transpose()?;
    let pfn = args.pfn.as_deref().map(Pfn::parse).transpose();
    let pfn = pfn.map_err(usage)?;
    let hosts = HostPolicy::new(&args.sandbox_host).map_err(usage)?;
    let body = read_body(&args.file)?;
    let mut report = SyncMlReport::read(&body, asked.as_ref(), &hosts).map_err(unreadable)?;
    report.provider = asked.or(report.provider);
    let reading = Reading {
        report,
        sent: args
            .sent
            .map(|sent| numbered(sent.into(), args.first_cmd_id)),
        pfn,
        first_cmd_id: args.first_cmd_id,
    };
    if args.json {
        return print_json(&reading.to_json());
    }
    reading.print()
}

impl Reading {
    fn next(&self) -> Option<SetPfn> {
        self.report.next_step(self.sent.as_deref())
    }

    fn answers(&self) -> Vec<Answer> {
        self.report.answers_to(self.sent.as_deref())
    }

    /// State, host and detail of the channel, in the API's words.
    fn channel(&self) -> (&'static str, Option<&str>, Option<String>) {
        match &self.report.channel {
            ChannelFinding::Uri(uri) => ("reported", Some(uri.host()), None),
            ChannelFinding::Empty => ("empty", None, None),
            ChannelFinding::NotReported => ("not_reported", None, None),
            ChannelFinding::Refused(error) => ("refused", None, Some(error.to_string())),
        }
    }

    /// The PFN that the device has, and whether it is the given one.
    fn device_pfn(&self) -> Option<(&str, Option<bool>)> {
        let value = self.report.pfn.as_ref()?.as_str();
        let same = |pfn: &Pfn| Pfn::parse(value).is_ok_and(|other| other == *pfn);
        Some((value, self.pfn.as_ref().map(same)))
    }

    /// The commands for the next session; `None` if the provider or the PFN is not known.
    fn commands(&self) -> Option<PushCommands> {
        let provider = self.report.provider.as_ref()?;
        let first = self.first_cmd_id;
        Some(match self.next() {
            Some(how) => PushCommands::set(provider, self.pfn.as_ref()?, how, first),
            None => PushCommands::query(provider, first),
        })
    }

    fn to_json(&self) -> Value {
        let (state, host, detail) = self.channel();
        let status = self
            .report
            .push_status
            .map(|s| json!({ "code": s.code(), "meaning": s.meaning(), "cure": s.cure() }));
        let pfn = self
            .device_pfn()
            .map(|(value, matches)| json!({ "value": value, "matches": matches }));
        let answer = |a: &Answer| {
            json!({
                "cmd_ref": a.cmd_ref, "verb": a.verb.name(), "node": a.node.map(PushNode::as_str),
                "code": a.code, "meaning": a.meaning(),
            })
        };
        let next = step(self.next());
        let command = |commands: &PushCommands, c: &Command| json!({ "cmd_id": c.cmd_id, "verb": c.verb.name(), "loc_uri": commands.target(c).to_string() });
        let commands = self.commands().map(|all| {
            let each: Vec<Value> = all.commands().iter().map(|c| command(&all, c)).collect();
            json!({ "step": next, "xml": all.to_string(), "commands": each })
        });
        json!({
            "device": self.report.device.as_ref().map(Text::as_str),
            "provider_id": self.report.provider.as_ref().map(ToString::to_string),
            "channel": { "state": state, "host": host, "detail": detail },
            "push_status": status,
            "pfn": pfn,
            "answers": self.answers().iter().map(answer).collect::<Vec<_>>(),
            "next": next,
            "commands": commands,
        })
    }

    fn print(&self) -> Result<(), Failure> {
        if let Some(device) = &self.report.device {
            print(format_args!("device   {}", device.as_str()))?;
        }
        if let Some(provider) = &self.report.provider {
            print(format_args!("provider {provider}"))?;
        }
        print(format_args!("channel  {}", self.channel_in_words()))?;
        match self.report.push_status {
            Some(status) => print(format_args!(
                "status   {}: {}",
                status.code(),
                status.meaning()
            ))?,
            None => print("status   not reported")?,
        }
        if let Some(cure) = self
            .report
            .push_status
            .map(|s| s.cure())
            .filter(|c| !c.is_empty())
        {
            print(format_args!("cure     {cure}"))?;
        }
        if let Some((value, matches)) = self.device_pfn() {
            let verdict = match matches {
                Some(true) => ", as it should be",
                Some(false) => ", which is another one",
                None => "",
            };
            print(format_args!("pfn      {value}{verdict}"))?;
        }
        for answer in self.answers() {
            let node = answer.node.map_or("", PushNode::as_str);
            let command = [answer.verb.name(), node].join(" ");
            print(format_args!(
                "answer   {} to {} (command {}): {}",
                answer.code,
                command.trim_end(),
                answer.cmd_ref,
                answer.meaning()
            ))?;
        }
        let next = match self.next() {
            Some(SetPfn::FirstTime) => "set-pfn --how first",
            Some(SetPfn::Again) => "set-pfn --how again",
            Some(SetPfn::Recovery) => "set-pfn --how recovery",
            None => "query: ask again in every session",
        };
        print(format_args!("next     {next}"))
    }

    fn channel_in_words(&self) -> String {
        let (_, host, detail) = self.channel();
        match &self.report.channel {
            ChannelFinding::Uri(_) => format!("reported, at {}", host.unwrap_or_default()),
            ChannelFinding::Empty => "none yet: ask again in the next session".to_owned(),
            ChannelFinding::NotReported => "not reported".to_owned(),
            ChannelFinding::Refused(_) => format!("refused: {}", detail.unwrap_or_default()),
        }
    }
}

fn unreadable(error: SyncMlError) -> Failure {
    match error {
        SyncMlError::Ambiguous => usage(
            "the message speaks of more than one DMClient provider (provider_id in the API): say with --provider which one counts",
        ),
        SyncMlError::TooLarge
        | SyncMlError::TooDeep
        | SyncMlError::Wbxml
        | SyncMlError::NotUtf8 { .. }
        | SyncMlError::Dtd
        | SyncMlError::Entity { .. }
        | SyncMlError::Malformed { .. }
        | SyncMlError::NotSyncMl => Failure::new(Exit::Failed, error),
    }
}

/// The step in the API's words.
fn step(how: Option<SetPfn>) -> &'static str {
    match how {
        Some(SetPfn::FirstTime) => "first_time",
        Some(SetPfn::Again) => "again",
        Some(SetPfn::Recovery) => "recovery",
        None => "query",
    }
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
        .take(READ_BYTES_MAX)
        .read_to_end(&mut body)
        .map_err(unreadable)?;
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PFN: &str = "52314publisher.testwns_t6e9vsyjkrw9w";

    /// A device that refuses to replace the PFN it has, and has no channel.
    fn message() -> String {
        let root = "./Vendor/MSFT/DMClient/Provider/MyMDM/Push";
        let result = |node: &str, data: &str| {
            format!(
                "<Results><CmdID>4</CmdID><CmdRef>3</CmdRef><Item><Source><LocURI>{root}/{node}</LocURI></Source>\
                 <Data>{data}</Data></Item></Results>"
            )
        };
        format!(
            "<SyncML><SyncHdr><Source><LocURI>d1</LocURI></Source></SyncHdr><SyncBody>\
             <Status><CmdID>2</CmdID><CmdRef>2</CmdRef><Cmd>Replace</Cmd><Data>500</Data></Status>{}{}{}</SyncBody></SyncML>",
            result("PFN", "52314Publisher.TestWNS_t6e9vsyjkrw9w"),
            result("ChannelURI", ""),
            result("Status", "4"),
        )
    }

    fn reading(sent: Option<Sent>, pfn: Option<&str>) -> Reading {
        let first_cmd_id = NonZeroU16::new(2).unwrap();
        let body = message();
        Reading {
            report: SyncMlReport::read(body.as_bytes(), None, &HostPolicy::default()).unwrap(),
            sent: sent.map(|sent| numbered(sent.into(), first_cmd_id)),
            pfn: pfn.map(|text| Pfn::parse(text).unwrap()),
            first_cmd_id,
        }
    }

    #[test]
    fn the_facts_are_those_of_the_api() {
        let told = reading(Some(Sent::Again), Some(PFN)).to_json();
        assert_eq!(told["device"], "d1");
        assert_eq!(told["provider_id"], "MyMDM");
        assert_eq!(
            told["channel"],
            json!({ "state": "empty", "host": null, "detail": null })
        );
        assert_eq!(told["push_status"]["code"], 4);
        assert_eq!(told["pfn"]["matches"], true);
        assert_eq!(told["answers"][0]["node"], "pfn");
        assert_eq!(told["next"], "recovery");
        assert_eq!(told["commands"]["commands"][0]["verb"], "Delete");
        let xml = told["commands"]["xml"].as_str().unwrap();
        assert!(xml.contains(PFN), "{xml}");
    }

    #[test]
    fn what_was_not_given_is_null_and_not_guessed() {
        let told = reading(None, None).to_json();
        assert_eq!(told["pfn"]["matches"], Value::Null);
        assert_eq!(told["answers"][0]["node"], Value::Null);
        assert_eq!(told["commands"], Value::Null);
    }
}
