//! The configuration as written: a tree of values that each know where they stand.
//!
//! The `config` crate and serde over a merged `toml::Value` both lose the line of a value once file and environment are
//! merged, and stop at the first error. This tree keeps the origin of each value, so that every message can say file and
//! line, or the variable, and all problems are told in one go.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::error::{Origin, Problem};

/// Values by key.
pub(super) type Table = BTreeMap<String, Node>;

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) origin: Origin,
    pub(super) value: Value,
}

/// What was written.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Table(Table),
    List(Vec<Node>),
    Text(String),
    Integer(i64),
    Boolean(bool),
    Date(String),
    /// Text of an environment variable or a default: its key decides whether that is a number, a list or a text.
    Raw(String),
    /// Something that no key takes; the word says what.
    Other(&'static str),
}

impl Value {
    /// What this is, for "expects a duration, found …".
    pub(super) fn noun(&self) -> &'static str {
        match self {
            Self::Table(_) => "a table",
            Self::List(_) => "a list",
            Self::Text(_) | Self::Raw(_) => "a text",
            Self::Integer(_) => "a number",
            Self::Boolean(_) => "a boolean",
            Self::Date(_) => "a date",
            Self::Other(noun) => noun,
        }
    }
}

/// Reads TOML `text`; `name` is what messages call the file.
///
/// # Errors
/// The first syntax error, without the text of the line: it may hold a secret.
pub(super) fn parse_toml(text: &str, name: &str) -> Result<Table, Problem> {
    let lines = Lines::new(text, name);
    match DeTable::parse(text) {
        Ok(table) => Ok(lines.table(table.into_inner())),
        Err(error) => Err(Problem {
            origin: lines.origin(&error.span().unwrap_or(0..0)),
            key: String::new(),
            detail: format!("not TOML: {}", error.message().replace('\n', ", ")),
        }),
    }
}

struct Lines {
    name: Arc<str>,
    /// Offset at which each line ends, so that a line is found by bisection.
    ends: Vec<usize>,
}

impl Lines {
    fn new(text: &str, name: &str) -> Self {
        Self {
            name: Arc::from(name),
            ends: text.match_indices('\n').map(|(at, _)| at).collect(),
        }
    }

    fn origin(&self, span: &Range<usize>) -> Origin {
        let line = self.ends.partition_point(|end| *end < span.start) + 1;
        Origin::File {
            name: Arc::clone(&self.name),
            line,
        }
    }

    fn table(&self, table: DeTable<'_>) -> Table {
        let entries = table.into_iter().map(|(key, value)| {
            let origin = self.origin(&key.span());
            (key.into_inner().into_owned(), self.node(value, origin))
        });
        entries.collect()
    }

    /// A table of its own stands where its header is, everything else where its key is.
    fn node(&self, value: Spanned<DeValue<'_>>, origin: Origin) -> Node {
        let value = match value.into_inner() {
            DeValue::Table(table) => Value::Table(self.table(table)),
            DeValue::Array(items) => {
                Value::List(items.into_iter().map(|item| self.item(item)).collect())
            }
            DeValue::String(text) => Value::Text(text.into_owned()),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or(Value::Other("a number beyond 64 bits"), Value::Integer),
            DeValue::Boolean(flag) => Value::Boolean(flag),
            DeValue::Datetime(date) => Value::Date(date.to_string()),
            DeValue::Float(_) => Value::Other("a fraction"),
        };
        Node { origin, value }
    }

    fn item(&self, item: Spanned<DeValue<'_>>) -> Node {
        let origin = self.origin(&item.span());
        self.node(item, origin)
    }
}
