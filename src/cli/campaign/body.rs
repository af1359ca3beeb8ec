//! A campaign from flags, from a file, or from a file that flags change.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};

use super::wave::{GateFlag, WaveFlag};
use crate::{
    cli::push::{Priority, Until, word},
    domain::{campaign::TargetStatus, id::CampaignId},
};

/// States that name what a campaign has left behind.
const LEFT: [TargetStatus; 3] = [
    TargetStatus::Expired,
    TargetStatus::Cancelled,
    TargetStatus::Rejected,
];

/// What the campaign is to do.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct DefinitionArgs {
    /// What people call it
    #[arg(long, required_unless_present = "file")]
    name: Option<String>,
    /// Why, for people
    #[arg(long)]
    reason: Option<String>,
    /// How urgent; normal without it
    #[arg(long, value_enum, visible_alias = "class")]
    priority: Option<Priority>,
    /// When a target is done: WNS took its push, or the device checked in; accepted without it
    #[arg(long, value_enum)]
    goal: Option<Until>,
    /// How long after its start it ends, such as 12h; 7d without it, at most 30d
    #[arg(long, value_name = "DURATION", conflicts_with = "deadline")]
    expires_in: Option<String>,
    /// Until when, such as 2026-11-23T18:00:00Z
    #[arg(long, value_name = "TIME")]
    deadline: Option<String>,
    /// Targets released a second; without it as fast as the app sends
    #[arg(long, value_name = "N")]
    pace: Option<f64>,
    /// Most devices woken within the last minute that have not checked in; protects the console
    #[arg(long, value_name = "N")]
    open_sessions_max: Option<u64>,
    /// How far to go before each gate, from the first target on: 1000, 1%, or with a gate of its own
    /// 1%:hold=10m,checked-in-min=50%,errors-max=5%; may be repeated
    #[arg(long = "wave", value_name = "WAVE")]
    waves: Vec<WaveFlag>,
    /// The gate of waves that have none of their own, such as hold=10m,errors-max=5%
    #[arg(long)]
    gate: Option<GateFlag>,
}

/// Whom it is for.
#[derive(Args, Clone, Debug, Default)]
#[group(multiple = false)]
pub(super) struct TargetArgs {
    /// Every device of the tenant, at the start
    #[arg(long)]
    all: bool,
    /// Devices that have not checked in for so long, at the start
    #[arg(long, value_name = "DURATION")]
    not_checked_in_for: Option<String>,
    /// The devices in this file, or - for standard input: one id, or one JSON object with a device, a line
    #[arg(long, value_name = "FILE")]
    pub(super) devices: Option<PathBuf>,
    /// What another campaign has left behind; --left-state says more
    #[arg(long, value_name = "ID")]
    left_of: Option<CampaignId>,
}

/// More about whom it is for.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct MoreTargetArgs {
    /// With --left-of, targets in these states; expired, cancelled and rejected without it
    #[arg(
        long,
        value_name = "STATE",
        value_delimiter = ',',
        requires = "left_of"
    )]
    left_state: Vec<TargetStatus>,
    /// Take devices too that the broker does not know; their push waits for a channel
    #[arg(long)]
    pub(super) register_unknown: bool,
}

/// What the API takes: `file`, with what the flags say in its place.
pub(super) fn body(
    file: Map<String, Value>,
    args: &DefinitionArgs,
    targets: &TargetArgs,
    more: &MoreTargetArgs,
) -> Value {
    let mut body = Value::Object(file);
    let texts = [
        ("name", &args.name),
        ("reason", &args.reason),
        ("expires_in", &args.expires_in),
        ("deadline", &args.deadline),
    ];
    for (key, text) in texts {
        if let Some(text) = text {
            body[key] = json!(text);
        }
    }
    set_time(&mut body, args);
    if let Some(priority) = args.priority {
        body["priority"] = json!(word(priority));
    }
    if let Some(goal) = args.goal {
        body["goal"] = json!(word(goal));
    }
    set_pace(&mut body, args);
    if !args.waves.is_empty() {
        body["waves"] = args.waves.iter().map(WaveFlag::to_json).collect();
    }
    if let Some(gate) = &args.gate {
        body["gate"] = gate.to_json();
    }
    set_targets(&mut body, targets, more);
    body
}

/// A flag's end takes the place of the other kind of end in the file.
fn set_time(body: &mut Value, args: &DefinitionArgs) {
    let Some(body) = body.as_object_mut() else {
        return;
    };
    if args.expires_in.is_some() {
        body.remove("deadline");
    }
    if args.deadline.is_some() {
        body.remove("expires_in");
    }
}

/// A pace in the file that is no object gives way to the flags, and is the broker's to refuse without them.
fn set_pace(body: &mut Value, args: &DefinitionArgs) {
    let most = args.open_sessions_max.map(Value::from);
    let flags = [
        ("per_second", args.pace.map(Value::from)),
        ("open_sessions_max", most),
    ];
    for (key, value) in flags {
        let Some(value) = value else { continue };
        if !body["pace"].is_object() {
            body["pace"] = json!({});
        }
        body["pace"][key] = value;
    }
}

fn set_targets(body: &mut Value, targets: &TargetArgs, more: &MoreTargetArgs) {
    if more.register_unknown {
        body["register_unknown"] = json!(true);
    }
    let chosen = if targets.all {
        Some(("targets", json!("all")))
    } else if let Some(time) = &targets.not_checked_in_for {
        Some(("targets", json!({ "not_checked_in_for": time })))
    } else {
        targets.left_of.as_ref().map(|id| {
            let states = if more.left_state.is_empty() {
                &LEFT[..]
            } else {
                &more.left_state[..]
            };
            ("targets_from", json!({ "campaign": id, "state": states }))
        })
    };
    let Some(body) = body.as_object_mut() else {
        return;
    };
    if chosen.is_some() || targets.devices.is_some() {
        body.remove("targets");
        body.remove("targets_from");
    }
    body.extend(chosen.map(|(key, value)| (key.to_owned(), value)));
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Flags {
        #[arg(long)]
        file: Option<String>,
        #[command(flatten)]
        definition: DefinitionArgs,
        #[command(flatten)]
        targets: TargetArgs,
        #[command(flatten)]
        more: MoreTargetArgs,
    }

    fn of(file: Value, flags: &str) -> Value {
        let flags = Flags::try_parse_from(format!("x {flags}").split(' ')).unwrap();
        let file = file.as_object().unwrap().clone();
        body(file, &flags.definition, &flags.targets, &flags.more)
    }

    #[test]
    fn flags_alone_make_a_campaign() {
        let made = of(
            json!({}),
            "--name x --goal check_in --class urgent --pace 500 --open-sessions-max 2000 --expires-in 12h \
             --wave 1%:hold=10m,checked-in-min=50% --wave 1000 --gate errors-max=5% --all",
        );
        assert_eq!(
            made,
            json!({
                "name": "x", "goal": "check_in", "priority": "urgent", "expires_in": "12h",
                "pace": {"per_second": 500.0, "open_sessions_max": 2000},
                "waves": [{"size": "1%", "hold": "10m", "checked_in_min": "50%"}, 1000],
                "gate": {"errors_max": "5%"}, "targets": "all",
            })
        );
    }

    #[test]
    fn flags_take_the_place_of_what_the_file_says() {
        let file = json!({
            "name": "from a file", "reason": "kept", "deadline": "2026-11-23T18:00:00Z",
            "pace": {"per_second": 5, "open_sessions_max": 7}, "targets": ["d1"],
        });
        let made = of(
            file,
            "--file f --name x --expires-in 1h --pace 9 --left-of c1",
        );
        assert_eq!(
            made,
            json!({
                "name": "x", "reason": "kept", "expires_in": "1h",
                "pace": {"per_second": 9.0, "open_sessions_max": 7},
                "targets_from": {"campaign": "c1", "state": ["expired", "cancelled", "rejected"]},
            })
        );
    }

    #[test]
    fn what_no_flag_says_is_left_to_the_file_and_the_broker() {
        assert_eq!(of(json!({}), "--name x"), json!({"name": "x"}));
        let file = json!({"name": "x", "pace": "fast", "colour": "red"});
        assert_eq!(of(file.clone(), "--file f"), file);
        let made = of(file, "--file f --open-sessions-max 7");
        assert_eq!(made["pace"], json!({"open_sessions_max": 7}));
    }

    #[test]
    fn whom_it_is_for_is_said_once() {
        let left = of(
            json!({}),
            "--name x --left-of c1 --left-state blocked,waiting",
        );
        assert_eq!(left["targets_from"]["state"], json!(["blocked", "waiting"]));
        let silent = of(
            json!({}),
            "--name x --not-checked-in-for 24h --register-unknown",
        );
        assert_eq!(silent["targets"], json!({"not_checked_in_for": "24h"}));
        assert_eq!(silent["register_unknown"], true);
        for wrong in [
            "x --name x --all --left-of c1",
            "x --name x --all --devices f",
            "x --name x --left-state expired",
            "x --name x --deadline a --expires-in b",
            "x --all",
        ] {
            assert!(Flags::try_parse_from(wrong.split(' ')).is_err(), "{wrong}");
        }
    }
}
