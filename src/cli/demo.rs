//! `reveille demo`: a fleet wakes up on loopback, and the sums must come out even.
//!
//! A sandbox WNS, a broker on a fresh embedded store and a simulated fleet, in this one process, talking over real sockets
//! as they would on three machines. Nothing outside is reached and nothing is left behind.

mod console;
mod progress;
mod stage;
mod summary;

use std::time::Duration;

use clap::Args;

use self::{console::Console, progress::Progress, stage::Stage, summary::Summary};
use super::{Exit, Failure, print, print_json, signals};
use crate::{app::StartError, domain::counted::counted};

/// The one tenant, and app, of the demo.
const TENANT: &str = "demo";
/// How long the console waits for every device to check in.
const DEADLINE: Duration = Duration::from_secs(40);
/// Beyond the deadline, for the last expiries to be settled.
const GRACE: Duration = Duration::from_secs(60);
/// How often the live view is renewed.
const TICK: Duration = Duration::from_millis(200);

/// Wake a simulated fleet on this machine and show what happens.
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// Devices in the fleet.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    devices: u32,
    /// Keep broker and sandbox running afterwards, until interrupted.
    #[arg(long)]
    keep: bool,
    /// Print the summary as JSON on standard output.
    #[arg(long)]
    json: bool,
}

/// Why the demo could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The sandbox did not start.
    #[error("the sandbox does not start: {0}")]
    Sandbox(#[from] crate::sandbox::SandboxError),
    /// The broker did not start.
    #[error("the broker does not start: {0}")]
    Broker(#[from] StartError),
    /// The demo's own configuration was refused.
    #[error("the demo's configuration is refused: {0}")]
    Config(#[from] crate::config::ConfigError),
    /// A temporary folder or file could not be made.
    #[error("no temporary folder: {0}")]
    Folder(#[from] std::io::Error),
    /// The broker's API did not answer as it should.
    #[error("the broker's API: {0}")]
    Api(String),
}

pub(super) fn main(args: &DemoArgs) -> Result<Exit, Failure> {
    let done = actix_rt::System::new().block_on(run(args));
    let summary = done.map_err(|error| Failure::new(Exit::Failed, error))?;
    if args.json {
        print_json(&summary.to_json())?;
    } else {
        print(&summary)?;
    }
    Ok(if summary.adds_up() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

async fn run(args: &DemoArgs) -> Result<Summary, DemoError> {
    let stage = Stage::set(args.devices).await?;
    let console = Console::new(stage.api());
    let mut progress = Progress::new(args.devices);
    progress.say(&format!(
        "a WNS at {}, a broker at {}, {}: {}",
        stage.sandbox.host(),
        stage.api(),
        counted(args.devices.into(), "device"),
        stage::TROUBLES
    ));
    let began = tokio::time::Instant::now();
    let registered = console.register(&stage.sandbox).await?;
    progress.say(&format!(
        "registered {} in {:.1} s; telling every device to check in",
        counted(registered, "channel"),
        began.elapsed().as_secs_f64()
    ));
    let pushed = tokio::time::Instant::now();
    let opened = console.push_all(&stage.sandbox, DEADLINE).await?;
    watch(&stage, &console, &mut progress, pushed).await?;
    progress.finish();
    let summary = Summary::take(&stage, &console, registered, opened, pushed.elapsed()).await?;
    if args.keep {
        progress.say(&summary.to_string());
        progress.say(&format!(
            "broker at {}, sandbox at https://{}; interrupt to stop",
            stage.api(),
            stage.sandbox.host()
        ));
        signals::interrupted().await;
    }
    stage.clear().await;
    Ok(summary)
}

/// Shows the fleet waking up until no push is open.
async fn watch(
    stage: &Stage,
    console: &Console,
    progress: &mut Progress,
    began: tokio::time::Instant,
) -> Result<(), DemoError> {
    loop {
        let state = console.state().await?;
        progress.show(&state, stage.sandbox.ledger().requests, began.elapsed());
        if state.open == 0 {
            return Ok(());
        }
        if began.elapsed() > DEADLINE + GRACE {
            return Err(DemoError::Api(format!(
                "after their deadline there are still {}",
                counted(state.open, "open push")
            )));
        }
        tokio::time::sleep(TICK).await;
    }
}
