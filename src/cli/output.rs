//! How a command ends: its result, its exit code, its error line.

use std::{
    fmt::Display,
    io::{self, IsTerminal, Write, stderr, stdout},
    process::ExitCode,
};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::domain::plain_text::{is_control, shown};

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
    /// The campaign was called off.
    Cancelled = 5,
    /// A gate has paused the campaign; somebody must decide.
    Gate = 6,
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

/// Prints a result on standard output, control characters in it written out: others named what it tells of. That the reader has
/// gone away (`| head`) is no failure.
///
/// # Errors
/// A [`Failure`] when standard output cannot be written.
pub fn print(text: impl Display) -> Result<(), Failure> {
    written(writeln!(stdout(), "{}", shown(&text.to_string())))
}

/// Prints a result on standard output as one line of JSON.
///
/// # Errors
/// A [`Failure`] when standard output cannot be written.
pub fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let line = serde_json::to_string(value).map_err(|error| Failure::new(Exit::Failed, error))?;
    print(escaped(line))
}

/// JSON with the control characters escaped that it may hold as they are.
fn escaped(json: String) -> String {
    if !json.contains(is_control) {
        return json;
    }
    let escape = |c: char| match is_control(c) {
        true => format!("\\u{:04x}", u32::from(c)),
        false => c.to_string(),
    };
    json.chars().map(escape).collect()
}

/// Says something on standard error, control characters in it written out. If standard error is gone nobody wants to know.
pub(super) fn say(text: impl Display) {
    drop(writeln!(stderr(), "{}", shown(&text.to_string())));
}

/// A number as people read it: `12,431`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Prints a part of a long result on standard output as it is. Answers whether somebody still reads.
///
/// # Errors
/// A [`Failure`] when standard output cannot be written.
pub(super) fn print_part(bytes: &[u8]) -> Result<bool, Failure> {
    match stdout().write_all(bytes) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        result => written(result).map(|()| true),
    }
}

/// The bar of a file of so many bytes on its way, on a terminal unless `quiet`.
pub(super) fn progress_bar(bytes: Option<u64>, quiet: bool) -> ProgressBar {
    if quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = "{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    match bytes {
        Some(bytes) => ProgressBar::new(bytes).with_style(style),
        None => ProgressBar::new_spinner(),
    }
}

/// Tells how a command ended.
pub(super) fn ended(result: Result<Exit, Failure>) -> ExitCode {
    let exit = match result {
        Ok(exit) => exit,
        Err(failure) => {
            say(format_args!("reveille: {}", failure.message));
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{escaped, grouped};

    #[test]
    fn json_is_the_same_with_nothing_in_it_that_steers_a_terminal() {
        let value = json!({ "name": "\u{1b}[2J\u{9b}1m\u{202e}ü\u{7f}" });
        let line = escaped(value.to_string());
        assert!(
            line.chars().all(|c| c == 'ü' || (' '..='~').contains(&c)),
            "{line:?}"
        );
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), value);
    }

    #[test]
    fn thousands_are_set_apart() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (12_431, "12,431"),
            (1_000_000, "1,000,000"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }
}
