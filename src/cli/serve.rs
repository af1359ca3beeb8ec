//! `reveille serve`: the broker.

use std::path::PathBuf;

use clap::Args;

use super::{Exit, Failure, signals::Requests};
use crate::{
    app::{Broker, StartError},
    config::{Config, ConfigError, Environment, Log, LogFormat},
    telemetry::{self, LogOptions},
};

/// Run the broker until it is asked to stop.
///
/// SIGTERM or an interrupt stops it in order: no new requests, what is on the wire is settled, then exit code 0. A second
/// one ends it at once; nothing accepted is lost either way.
#[derive(Args, Clone, Debug)]
pub(super) struct ServeArgs {
    /// Configuration file; without it the environment must say everything
    #[arg(long, short, value_name = "FILE", env = "REVEILLE_CONFIG")]
    config: Option<PathBuf>,
}

pub(super) fn run(args: &ServeArgs) -> Result<Exit, Failure> {
    let config = load(args.config.as_deref())?;
    telemetry::init(&log_options(&config.log)).map_err(|error| Failure::new(Exit::Usage, error))?;
    actix_rt::System::new().block_on(serve(config))
}

/// Reads the configuration, with the environment of this process.
pub(super) fn load(path: Option<&std::path::Path>) -> Result<Config, Failure> {
    Config::load(path, &Environment::of_process())
        .map_err(|error: ConfigError| Failure::new(Exit::Usage, error))
}

async fn serve(config: Config) -> Result<Exit, Failure> {
    let mut asked = Requests::listen();
    let broker = tokio::select! {
        started = Broker::start(config) => started.map_err(refused)?,
        // Nobody was served yet, and what was read stays as it was.
        () = asked.next() => return Ok(Exit::Done),
    };
    tokio::select! {
        () = asked.next() => {}
        why = broker.failed() => {
            let message = format!("{why}. A restart by the service manager may help");
            return Err(Failure::new(Exit::Failed, message));
        }
    }
    tokio::select! {
        _unsettled = broker.drain() => Ok(Exit::Done),
        () = asked.next() => Err(Failure::new(Exit::Failed, "stopped at once; what was on the wire is due again at the next start")),
    }
}

pub(super) fn refused(error: StartError) -> Failure {
    let exit = match &error {
        StartError::Listen { .. }
        | StartError::File { .. }
        | StartError::Config(_)
        | StartError::Client(_)
        | StartError::Courier(_)
        | StartError::Otlp(_) => Exit::Usage,
        StartError::OpenStore(_) | StartError::HalfCopy(_) => Exit::Failed,
        StartError::Store(_) => Exit::Unreachable,
    };
    Failure::new(exit, error)
}

fn log_options(log: &Log) -> LogOptions {
    let directives = log.directives();
    match log.format {
        LogFormat::Text => LogOptions::text(directives),
        LogFormat::Json => LogOptions::json(directives),
    }
}
