//! Refuses keys that do not exist, and guesses which one was meant.

use std::collections::BTreeSet;

use super::{
    error::Origin,
    reader::Problems,
    schema,
    tree::{Table, Value},
};

/// Least likeness, from 0 to 1, at which a name nearby is certainly what was meant.
const LIKENESS_SURE: f64 = 0.92;
/// Least likeness at which it is offered for want of a better guess.
const LIKENESS_MIN: f64 = 0.8;

/// Keys that somebody will try, and why they do not exist.
const REFUSED: [(&str, &str); 2] = [
    ("apps[].secret", SECRET_REFUSED),
    ("apps[].client_secret", SECRET_REFUSED),
];
const SECRET_REFUSED: &str = "a secret does not stand in this file, which ends up in backups and version control; put it \
     into an environment variable and name that with secret_env, or into a file of its own and name that with secret_file";

/// The known names.
pub(super) struct Known {
    keys: Vec<String>,
    tables: BTreeSet<String>,
}

impl Known {
    pub(super) fn new() -> Self {
        let keys = schema::key_paths();
        let ancestors = keys
            .iter()
            .flat_map(|key| key.match_indices('.').map(|(at, _)| key[..at].to_owned()));
        let tables = ancestors
            .flat_map(|path| [path.trim_end_matches("[]").to_owned(), path])
            .collect();
        Self { keys, tables }
    }

    /// Notes each key of `table`, which stands at the path `pattern`, that does not exist.
    pub(super) fn check(&self, table: &Table, pattern: &str, problems: &mut Problems) {
        for (name, node) in table {
            let path = join(pattern, name);
            if self.keys.contains(&path) {
                continue;
            }
            if !self.tables.contains(&path) {
                problems.add(
                    node.origin.clone(),
                    path.replace("[]", ""),
                    self.refusal(pattern, name),
                );
                continue;
            }
            match &node.value {
                Value::Table(inner) => self.check(inner, &path, problems),
                Value::List(items) => self.check_items(items, &format!("{path}[]"), problems),
                // A table that is written as something else is told of by the reader.
                Value::Text(_)
                | Value::Integer(_)
                | Value::Boolean(_)
                | Value::Date(_)
                | Value::Raw(_)
                | Value::Other(_) => {}
            }
        }
    }

    fn check_items(&self, items: &[super::tree::Node], pattern: &str, problems: &mut Problems) {
        for item in items {
            if let Value::Table(inner) = &item.value {
                self.check(inner, pattern, problems);
            }
        }
    }

    /// Notes an environment variable that is no key's twin.
    pub(super) fn refuse_variable(&self, name: &str, problems: &mut Problems) {
        let twins: Vec<String> = self.keys.iter().map(|key| schema::env_twin(key)).collect();
        let guess = nearest(name, twins.iter().map(String::as_str));
        let hint = guess.map_or_else(
            || "names that begin with REVEILLE_ are reserved for configuration keys".to_owned(),
            |(_, twin)| format!("did you mean {twin}?"),
        );
        problems.add(
            Origin::Env(name.to_owned()),
            "",
            format!("no key has this environment twin; {hint}"),
        );
    }

    fn refusal(&self, pattern: &str, name: &str) -> String {
        let path = join(pattern, name);
        if let Some((_, reason)) = REFUSED.iter().find(|(refused, _)| *refused == path) {
            return (*reason).to_owned();
        }
        let siblings = self.children(pattern);
        let guess = nearest(name, siblings.iter().copied());
        if let Some((_, sure)) = guess.filter(|(likeness, _)| *likeness >= LIKENESS_SURE) {
            return format!("unknown key; did you mean {sure}?");
        }
        let mut places = self.keys.iter().filter_map(|key| key.rsplit_once('.'));
        if let Some((table, _)) = places.find(|(_, last)| *last == name) {
            return format!("unknown key here; it belongs to {}", header(table));
        }
        if let Some((_, perhaps)) = guess {
            return format!("unknown key; did you mean {perhaps}?");
        }
        let known = siblings.into_iter().collect::<Vec<_>>().join(", ");
        format!("unknown key; known here: {known}")
    }

    fn children(&self, pattern: &str) -> BTreeSet<&str> {
        let inside = self.keys.iter().filter_map(|key| match pattern {
            "" => Some(key.as_str()),
            _ => key.strip_prefix(pattern)?.strip_prefix('.'),
        });
        inside
            .filter_map(|rest| rest.split(['.', '[']).next())
            .collect()
    }
}

fn join(pattern: &str, name: &str) -> String {
    if pattern.is_empty() {
        name.to_owned()
    } else {
        format!("{pattern}.{name}")
    }
}

fn header(table: &str) -> String {
    match table.strip_suffix("[]") {
        Some(list) => format!("[[{list}]]"),
        None => format!("[{}]", table.replace("[]", "")),
    }
}

/// The likest candidate with its likeness, if any is like enough.
fn nearest<'n>(name: &str, candidates: impl Iterator<Item = &'n str>) -> Option<(f64, &'n str)> {
    let scored = candidates.map(|candidate| (strsim::jaro_winkler(name, candidate), candidate));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
}
