//! Walks the tree of written values and notes every problem on the way.

use super::{
    error::{Origin, Problem},
    kind::Setting,
    tree::{Node, Table, Value},
};

/// Most problems that are kept; a file with more is not a configuration.
const PROBLEMS_MAX: usize = 50;

/// What has been found wrong so far.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<Problem>);

impl Problems {
    pub(super) fn add(
        &mut self,
        origin: Origin,
        key: impl Into<String>,
        detail: impl Into<String>,
    ) {
        self.push(Problem {
            origin,
            key: key.into(),
            detail: detail.into(),
        });
    }

    pub(super) fn push(&mut self, problem: Problem) {
        if self.0.len() < PROBLEMS_MAX && !self.0.contains(&problem) {
            self.0.push(problem);
        }
    }

    /// What was found, in the order of the file, variables last.
    pub(super) fn into_sorted(mut self) -> Vec<Problem> {
        self.0.sort_by_key(|problem| match problem.origin {
            Origin::File { line, .. } => line,
            Origin::Env(_) => usize::MAX - 1,
            Origin::Absent => usize::MAX,
        });
        self.0
    }
}

/// A table in the tree; it may be absent, then every key in it is.
pub(super) struct Place<'t> {
    table: Option<&'t Table>,
    path: String,
    origin: Origin,
}

impl<'t> Place<'t> {
    pub(super) fn root(table: &'t Table) -> Self {
        Self {
            table: Some(table),
            path: String::new(),
            origin: Origin::Absent,
        }
    }

    /// The path of `name` in this table.
    pub(super) fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    /// Where `name` was written, or else the table.
    pub(super) fn origin_of(&self, name: &str) -> Origin {
        self.node(name)
            .map_or_else(|| self.origin.clone(), |node| node.origin.clone())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.node(name).is_some()
    }

    /// Reads a key, or notes what is wrong with it.
    pub(super) fn get<T>(
        &self,
        name: &str,
        setting: &Setting<T>,
        problems: &mut Problems,
    ) -> Option<T> {
        match setting.read(self.node(name)) {
            Ok(value) => Some(value),
            Err(detail) => {
                self.blame(name, detail, problems);
                None
            }
        }
    }

    /// Notes a problem with the key `name`.
    pub(super) fn blame(&self, name: &str, detail: impl Into<String>, problems: &mut Problems) {
        problems.add(self.origin_of(name), self.path_of(name), detail);
    }

    /// The table `name` in this one.
    pub(super) fn sub(&self, name: &str, problems: &mut Problems) -> Self {
        let node = self.node(name);
        let table = match node.map(|node| &node.value) {
            Some(Value::Table(table)) => Some(table),
            Some(Value::List(_)) => {
                let path = self.path_of(name);
                self.blame(
                    name,
                    format!("is one table, not a list; write [{path}]"),
                    problems,
                );
                None
            }
            Some(other) => {
                let path = self.path_of(name);
                self.blame(
                    name,
                    format!("is a table, found {}; write [{path}]", other.noun()),
                    problems,
                );
                None
            }
            None => None,
        };
        Self {
            table,
            path: self.path_of(name),
            origin: self.origin_of(name),
        }
    }

    /// The tables of the list `name` in this one.
    pub(super) fn list(&self, name: &str, problems: &mut Problems) -> Vec<Self> {
        let items = match self.node(name).map(|node| &node.value) {
            None => return Vec::new(),
            Some(Value::List(items)) => items,
            Some(_) => {
                self.blame(
                    name,
                    format!("is a list of tables; write [[{name}]]"),
                    problems,
                );
                return Vec::new();
            }
        };
        let places = items.iter().enumerate().filter_map(|(at, item)| {
            let path = format!("{}[{at}]", self.path_of(name));
            match &item.value {
                Value::Table(table) => Some(Self {
                    table: Some(table),
                    path,
                    origin: item.origin.clone(),
                }),
                other => {
                    let detail = format!("is a table, found {}; write [[{name}]]", other.noun());
                    problems.add(item.origin.clone(), path, detail);
                    None
                }
            }
        });
        places.collect()
    }

    fn node(&self, name: &str) -> Option<&'t Node> {
        self.table.and_then(|table| table.get(name))
    }
}
