//! How a command ends: its result, its exit code, its error line.

use std::{
    fmt::Display,
    io::{self, Write, stderr, stdout},
    process::ExitCode,
};

use serde::Serialize;

/// How a command ended, for scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All was done.
    Done = 0,
    /// It failed, and asking again as it is will fail again.
    Failed = 1,
    /// The command line or the configuration is wrong; clap ends with the same code.
    Usage = 2,
    /// Some of it was done; the result says what was not.
    Partly = 3,
    /// A server or store could not be reached; asking later may help.
    Unreachable = 4,
}

/// Why a command did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What kind of failure, for scripts.
    pub exit: Exit,
    /// What failed and how to mend it, for people.
    pub message: String,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(exit: Exit, message: impl Display) -> Self {
        Self {
            exit,
            message: message.to_string(),
        }
    }
}

/// Prints a result on standard output. That the reader has gone away (`| head`) is no failure.
///
/// # Errors
/// A [`Failure`] when standard output cannot be written.
pub fn print(text: impl Display) -> Result<(), Failure> {
    written(writeln!(stdout(), "{text}"))
}

/// Prints a result on standard output as one line of JSON.
///
/// # Errors
/// A [`Failure`] when standard output cannot be written.
pub fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let line = serde_json::to_string(value).map_err(|error| Failure::new(Exit::Failed, error))?;
    print(line)
}

/// Tells how a command ended.
pub(super) fn ended(result: Result<Exit, Failure>) -> ExitCode {
    let exit = match result {
        Ok(exit) => exit,
        Err(failure) => {
            // If standard error is gone too, the exit code has to do.
            drop(writeln!(stderr(), "reveille: {}", failure.message));
            failure.exit
        }
    };
    ExitCode::from(exit as u8)
}

fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(
            Exit::Failed,
            format!("cannot write the result: {error}"),
        )),
        Ok(()) | Err(_) => Ok(()),
    }
}
