//! What is wrong with a configuration: where it stands, which key it is, and the cure.

use std::{fmt, io, path::PathBuf, sync::Arc};

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A line of the configuration file.
    File {
        /// The file as it was named.
        name: Arc<str>,
        /// Line, counted from 1.
        line: usize,
    },
    /// An environment variable.
    Env(String),
    /// Nowhere: the value is missing, or is the default.
    Absent,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it was written.
    pub origin: Origin,
    /// Path of the key, such as `apps[0].pace.ceiling_per_second`; empty if the file as a whole is meant.
    pub key: String,
    /// What is wrong, and what to write instead. Never holds a secret.
    pub detail: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::File { name, line } => write!(f, "{name}:{line}: ")?,
            Origin::Env(name) => write!(f, "{name}: ")?,
            Origin::Absent => {}
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.detail)
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read at all: mend the path or its permissions.
    #[error("cannot read the configuration file {}: {source}", path.display())]
    Unreadable {
        /// The file as it was named.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The file is read but cannot be used: mend these lines. All problems are told at once.
    #[error("{}", listed(problems))]
    Invalid {
        /// At least one problem, in the order of the file.
        problems: Vec<Problem>,
    },
}

fn listed(problems: &[Problem]) -> String {
    match problems {
        [only] => only.to_string(),
        many => {
            let lines: String = many
                .iter()
                .map(|problem| format!("\n  {problem}"))
                .collect();
            format!("{} problems in the configuration:{lines}", many.len())
        }
    }
}
