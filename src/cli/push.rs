//! `reveille push`: tell devices to start a session.

use clap::{Args, ValueEnum};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Exit, Failure,
    client::{Api, ServerArgs},
    print, print_json,
};
use crate::domain::id::DeviceId;

/// Tell devices to start a management session.
#[derive(Args, Clone, Debug)]
pub(super) struct PushArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Devices, by the console's ids
    #[arg(required = true, value_name = "DEVICE")]
    devices: Vec<DeviceId>,
    /// How urgent
    #[arg(long, value_enum, default_value_t = Priority::Normal)]
    priority: Priority,
    /// When a push is done: WNS took it, or the device checked in
    #[arg(long, value_enum, default_value_t = Until::Accepted)]
    goal: Until,
    /// Why, for whoever looks at the device while its push is open
    #[arg(long)]
    reason: Option<String>,
    /// How long to keep trying, such as 15m or 24h
    #[arg(long, value_name = "DURATION")]
    expires_in: Option<String>,
    /// Take devices too that the broker does not know; their push waits for a channel
    #[arg(long)]
    register_unknown: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// How urgent a push is.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Priority {
    Urgent,
    Normal,
    Bulk,
}

/// When a push is done.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(super) enum Until {
    Accepted,
    #[value(alias = "check-in")]
    CheckIn,
}

pub(super) async fn run(args: PushArgs) -> Result<Exit, Failure> {
    let api = Api::new(&args.server)?;
    let mut body = json!({
        "devices": args.devices,
        "priority": word(args.priority),
        "goal": word(args.goal),
    });
    if let Some(reason) = &args.reason {
        body["reason"] = json!(reason);
    }
    if let Some(expires_in) = &args.expires_in {
        body["expires_in"] = json!(expires_in);
    }
    let path = if args.register_unknown {
        "/pushes?register_unknown=true"
    } else {
        "/pushes"
    };
    let answer = api
        .call(api.request(Method::POST, path).json(&body))
        .await?;
    if args.json {
        print_json(&answer)?;
    } else {
        show(&answer)?;
    }
    let refused = answer["errors"].as_array().is_some_and(|e| !e.is_empty());
    Ok(if refused { Exit::Partly } else { Exit::Done })
}

fn show(answer: &Value) -> Result<(), Failure> {
    let count = |name: &str| answer[name].as_u64().unwrap_or(0);
    print(format_args!(
        "opened {}, merged {}, without a channel {}, unknown {}",
        count("opened"),
        count("merged"),
        count("without_channel"),
        count("unknown")
    ))?;
    for error in answer["errors"].as_array().into_iter().flatten() {
        let device = error["device"].as_str().unwrap_or("");
        print(format_args!(
            "  {device}: {}",
            error["detail"].as_str().unwrap_or("")
        ))?;
    }
    Ok(())
}

/// The word that the command line and the API have for `value`.
pub(super) fn word(value: impl ValueEnum) -> String {
    value
        .to_possible_value()
        .map_or_else(String::new, |v| v.get_name().to_owned())
}
