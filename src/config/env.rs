//! The environment: twins of configuration keys laid over the file, and the variables that secrets come from.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    error::Origin,
    reader::Problems,
    schema::{self, ENV_PREFIX},
    tree::{Node, Table, Value},
};

/// Variables with our prefix that are no keys: those of the command line, and one that Kubernetes sets.
const FOREIGN: [&str; 5] = [
    "REVEILLE_CONFIG",
    "REVEILLE_URL",
    "REVEILLE_API_KEY",
    "REVEILLE_TENANT",
    "REVEILLE_PORT",
];
/// What Kubernetes sets by itself in every pod beside a service named `reveille` begins with one of these.
const KUBERNETES: [&str; 2] = ["REVEILLE_SERVICE_", "REVEILLE_PORT_"];

/// A fixed copy of environment variables, so that loading depends on nothing but its arguments.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The variables of this process that are UTF-8.
    #[must_use]
    pub fn of_process() -> Self {
        let readable = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Self(readable.collect())
    }

    /// The value of `name`, unless it is absent or empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Self(
            variables
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Environment({} variables)", self.0.len())
    }
}

/// Lays every twin in `env` over `tree`. Answers the variables with our prefix that are no twin.
pub(super) fn overlay(
    tree: &mut Table,
    env: &Environment,
    problems: &mut Problems,
) -> BTreeSet<String> {
    let patterns: Vec<Pattern> = schema::key_paths()
        .iter()
        .map(|path| Pattern::of(path))
        .collect();
    let mut found: Vec<(Vec<Step>, &str, &str)> = Vec::new();
    let mut strangers = BTreeSet::new();
    for (name, value) in env
        .0
        .iter()
        .filter(|(name, _)| name.starts_with(ENV_PREFIX))
    {
        match patterns
            .iter()
            .find_map(|pattern| pattern.steps(&name[ENV_PREFIX.len()..]))
        {
            Some(steps) => found.push((steps, name, value)),
            None if is_foreign(name) => {}
            None => {
                strangers.insert(name.clone());
            }
        }
    }
    // By position, so that entry 2 is there before entry 10 is asked for.
    found.sort();
    for (steps, name, value) in found {
        let leaf = Node {
            origin: Origin::Env(name.to_owned()),
            value: Value::Raw(value.to_owned()),
        };
        if let Err(detail) = place(tree, &steps, leaf) {
            problems.add(Origin::Env(name.to_owned()), "", detail);
        }
    }
    strangers
}

fn is_foreign(name: &str) -> bool {
    FOREIGN.contains(&name) || KUBERNETES.iter().any(|prefix| name.starts_with(prefix))
}

/// A step down the tree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Key(String),
    At(usize),
}

/// The twin of a path: its pieces between positions, in upper case.
struct Pattern {
    path: String,
    pieces: Vec<String>,
}

impl Pattern {
    fn of(path: &str) -> Self {
        let upper = path.replace('.', "_").to_ascii_uppercase();
        Self {
            path: path.to_owned(),
            pieces: upper.split("[]").map(str::to_owned).collect(),
        }
    }

    /// The steps to the key, if `name` (without prefix) is its twin.
    fn steps(&self, name: &str) -> Option<Vec<Step>> {
        let mut positions = Vec::new();
        let (first, others) = self.pieces.split_first()?;
        let mut rest = name.strip_prefix(first.as_str())?;
        for piece in others {
            let digits = rest.strip_prefix('_')?;
            let end = digits
                .bytes()
                .position(|b| !b.is_ascii_digit())
                .unwrap_or(digits.len());
            positions.push(digits[..end].parse().ok()?);
            rest = digits[end..].strip_prefix(piece.as_str())?;
        }
        if !rest.is_empty() {
            return None;
        }
        let mut positions = positions.into_iter();
        let mut steps = Vec::new();
        for part in self.path.split('.') {
            steps.push(Step::Key(part.trim_end_matches("[]").to_owned()));
            if part.ends_with("[]") {
                steps.push(Step::At(positions.next()?));
            }
        }
        Some(steps)
    }
}

/// Puts `leaf` at the end of `steps`, making tables and the next list entry on the way.
fn place(table: &mut Table, steps: &[Step], leaf: Node) -> Result<(), String> {
    let Some((Step::Key(key), rest)) = steps.split_first() else {
        return Err("names no key".to_owned());
    };
    let origin = leaf.origin.clone();
    match rest.first() {
        None => {
            table.insert(key.clone(), leaf);
            Ok(())
        }
        Some(Step::Key(_)) => {
            let node = table.entry(key.clone()).or_insert(Node {
                origin,
                value: Value::Table(Table::new()),
            });
            match &mut node.value {
                Value::Table(inner) => place(inner, rest, leaf),
                other => Err(format!(
                    "{key} is {} in the file, but this makes it a table",
                    other.noun()
                )),
            }
        }
        Some(Step::At(at)) => {
            let node = table.entry(key.clone()).or_insert(Node {
                origin,
                value: Value::List(Vec::new()),
            });
            let Value::List(items) = &mut node.value else {
                return Err(format!(
                    "{key} is not a list of tables in the file; write [[{key}]] there"
                ));
            };
            place_in_list(items, key, *at, (&rest[1..], leaf))
        }
    }
}

fn place_in_list(
    items: &mut Vec<Node>,
    key: &str,
    at: usize,
    (rest, leaf): (&[Step], Node),
) -> Result<(), String> {
    if at > items.len() {
        return Err(format!(
            "{key} has {} entries so far, so the next one is number {}",
            items.len(),
            items.len()
        ));
    }
    if at == items.len() {
        items.push(Node {
            origin: leaf.origin.clone(),
            value: Value::Table(Table::new()),
        });
    }
    match &mut items[at].value {
        Value::Table(inner) => place(inner, rest, leaf),
        other => Err(format!(
            "{key}[{at}] is {} in the file, but this makes it a table",
            other.noun()
        )),
    }
}
