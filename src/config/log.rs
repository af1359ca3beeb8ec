//! What is logged, and how.

use std::time::Duration;

use super::{
    kind::{Kind, duration, list, one_of, quoted, text},
    schema::settings,
};

/// Most entries of `targets`.
const TARGETS_MAX: usize = 100;

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for machines.
    Json,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// What somebody has to mend.
    Error,
    /// What may need mending.
    Warn,
    /// What an operator follows.
    Info,
    /// What a developer follows.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// The word for the level.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

const LEVELS: &[(&str, LogLevel)] = &[
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];

settings! {
    /// What is logged, and how. Tokens, secrets and whole channel URIs are never logged.
    pub struct Log at "log" {
        /// `text` for people, `json` for machines: one object a line.
        format: LogFormat = one_of(&[("text", LogFormat::Text), ("json", LogFormat::Json)]).default("text");
        /// Least severe level that is logged.
        level: LogLevel = one_of(LEVELS).default("info");
        /// Levels of single parts, such as `reveille::actors=debug`.
        targets: Vec<String> = list(target(), TARGETS_MAX).default("");
        /// Shortest time between two lines about failures of one kind; the ones between are counted, not written.
        failure_interval: Duration = duration("1s", "1h").default("10s");
    }
}

impl Log {
    /// Level and targets as one filter, such as `warn,reveille=info`. What is finer than `warn` holds for our own parts
    /// only: libraries write a line for every packet there.
    #[must_use]
    pub fn directives(&self) -> String {
        let general = match self.level {
            LogLevel::Error | LogLevel::Warn => self.level.as_str().to_owned(),
            // What libraries tell about themselves helps nobody who operates a broker.
            LogLevel::Info | LogLevel::Debug | LogLevel::Trace => {
                format!("warn,reveille={}", self.level.as_str())
            }
        };
        let all: Vec<&str> = [general.as_str()]
            .into_iter()
            .chain(self.targets.iter().map(String::as_str))
            .collect();
        all.join(",")
    }
}

fn target() -> Kind<String> {
    text(
        "a part and its level, such as `reveille::actors=debug`",
        256,
    )
    .checked(|text| {
        let parts = text.split_once('=');
        let good = parts.is_some_and(|(part, level)| {
            let part_ok = part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':');
            let level_ok = level == "off" || LEVELS.iter().any(|(word, _)| *word == level);
            part_ok && level_ok && !part.is_empty()
        });
        if good {
            Ok(())
        } else {
            Err(format!(
                "{} is not a part and its level, such as \"reveille::actors=debug\"",
                quoted(text)
            ))
        }
    })
}
