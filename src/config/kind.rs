//! The kinds of values that keys take: how each is written, its bounds, and what is said of a wrong one.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use jiff::civil::Date;

use crate::domain::{
    duration_text::{format_duration, parse_duration},
    plain_text::prove_plain,
};

use super::{
    error::Origin,
    private_url::PrivateUrl,
    tree::{Node, Value},
};

/// Longest piece of a wrong value that a message repeats, in characters.
const QUOTED_CHARS_MAX: usize = 60;

/// Reads one value, or says what is wrong with it.
type Parse<T> = Box<dyn Fn(&Node) -> Result<T, String>>;

/// As [`Parse`], and answers for an absent value too.
type Read<T> = Box<dyn Fn(Option<&Node>) -> Result<T, String>>;

/// How a kind is written in TOML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Quoted,
    Bare,
    List,
}

/// A kind of value.
pub(super) struct Kind<T> {
    pub(super) about: String,
    pub(super) style: Style,
    parse: Parse<T>,
}

/// What holds when a key is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    Default(&'static str),
    Optional,
    Required,
}

/// A kind, and what holds when the key is absent.
pub(super) struct Setting<T> {
    pub(super) about: String,
    pub(super) style: Style,
    pub(super) need: Need,
    read: Read<T>,
}

impl<T> Setting<T> {
    /// Reads the value, or what stands for an absent one.
    pub(super) fn read(&self, node: Option<&Node>) -> Result<T, String> {
        (self.read)(node)
    }
}

impl<T: 'static> Kind<T> {
    fn new(
        about: impl Into<String>,
        style: Style,
        parse: impl Fn(&Node) -> Result<T, String> + 'static,
    ) -> Self {
        Self {
            about: about.into(),
            style,
            parse: Box::new(parse),
        }
    }

    pub(super) fn default(self, text: &'static str) -> Setting<T> {
        let absent = Node {
            origin: Origin::Absent,
            value: Value::Raw(text.to_owned()),
        };
        let parse = self.parse;
        let read = Box::new(move |node: Option<&Node>| parse(node.unwrap_or(&absent)));
        Setting {
            about: self.about,
            style: self.style,
            need: Need::Default(text),
            read,
        }
    }

    pub(super) fn optional(self) -> Setting<Option<T>> {
        let parse = self.parse;
        let read = Box::new(move |node: Option<&Node>| node.map(&parse).transpose());
        Setting {
            about: self.about,
            style: self.style,
            need: Need::Optional,
            read,
        }
    }

    pub(super) fn required(self) -> Setting<T> {
        let (parse, about) = (self.parse, self.about.clone());
        let read = Box::new(move |node: Option<&Node>| match node {
            Some(node) => parse(node),
            None => Err(format!("missing; it takes {about}")),
        });
        Setting {
            about: self.about,
            style: self.style,
            need: Need::Required,
            read,
        }
    }

    /// Adds a rule on top of the kind's own.
    pub(super) fn checked(self, check: impl Fn(&T) -> Result<(), String> + 'static) -> Self {
        let parse = self.parse;
        Self::new(self.about, self.style, move |node| {
            let value = parse(node)?;
            check(&value).map(|()| value)
        })
    }
}

/// Any text of 1 to `max` bytes.
pub(super) fn text(about: &str, max: usize) -> Kind<String> {
    let what = about.to_owned();
    Kind::new(about, Style::Quoted, move |node| {
        let text = text_of(node, &what)?;
        match text.len() {
            0 => Err(format!("is empty; write {what}")),
            bytes if bytes > max => Err(format!("has {bytes} bytes, at most {max} are allowed")),
            _ => Ok(text.to_owned()),
        }
    })
}

/// A text with a parser of its own; its errors say what is wrong.
pub(super) fn parsed<T: 'static, E: std::fmt::Display>(
    about: &str,
    parse: impl Fn(&str) -> Result<T, E> + 'static,
) -> Kind<T> {
    let what = about.to_owned();
    Kind::new(about, Style::Quoted, move |node| {
        let text = text_of(node, &what)?;
        parse(text).map_err(|error| format!("{}: {error}", quoted(text)))
    })
}

/// As [`parsed`], for what may be a secret in the wrong place: a message does not repeat it.
pub(super) fn parsed_unseen<T: 'static, E: std::fmt::Display>(
    about: &str,
    parse: impl Fn(&str) -> Result<T, E> + 'static,
) -> Kind<T> {
    let what = about.to_owned();
    Kind::new(about, Style::Quoted, move |node| {
        parse(text_of(node, &what)?).map_err(|error| error.to_string())
    })
}

/// A whole number from `min` to `max`.
pub(super) fn whole(min: u32, max: u32) -> Kind<u32> {
    let about = format!("a whole number from {min} to {max}");
    let what = about.clone();
    Kind::new(about, Style::Bare, move |node| {
        let number = match &node.value {
            Value::Integer(number) => *number,
            Value::Raw(text) => text
                .parse()
                .map_err(|_| format!("{} is not {what}", quoted(text)))?,
            other => return Err(format!("expects {what}, found {}", other.noun())),
        };
        match u32::try_from(number) {
            Ok(number) if (min..=max).contains(&number) => Ok(number),
            _ => Err(format!("{number} is out of range; write {what}")),
        }
    })
}

/// `true` or `false`.
pub(super) fn flag() -> Kind<bool> {
    Kind::new("`true` or `false`", Style::Bare, |node| match &node.value {
        Value::Boolean(flag) => Ok(*flag),
        Value::Raw(text) => text
            .parse()
            .map_err(|_| format!("{} is neither true nor false", quoted(text))),
        other => Err(format!("expects true or false, found {}", other.noun())),
    })
}

/// A duration with its unit, from `min` to `max`, which are written as durations too.
pub(super) fn duration(min: &'static str, max: &'static str) -> Kind<Duration> {
    let about = format!("a duration from `{min}` to `{max}`");
    Kind::new(about, Style::Quoted, move |node| {
        if let Value::Integer(number) = node.value {
            return Err(format!(
                "{number} has no unit; write \"{number}s\", \"{number}m\" or \"{number}h\""
            ));
        }
        let text = text_of(node, "a duration such as \"90s\"")?;
        let found = parse_duration(text).map_err(|error| format!("{}: {error}", quoted(text)))?;
        let bounds = (parse_duration(min), parse_duration(max));
        match bounds {
            (Ok(least), Ok(most)) if (least..=most).contains(&found) => Ok(found),
            _ => Err(format!(
                "{} is out of range; write {min} to {max}",
                format_duration(found)
            )),
        }
    })
}

/// One of a few words.
pub(super) fn one_of<T: Copy + 'static>(choices: &'static [(&'static str, T)]) -> Kind<T> {
    let words = choices
        .iter()
        .map(|(word, _)| format!("`{word}`"))
        .collect::<Vec<_>>()
        .join(", ");
    let about = format!("one of {words}");
    let what = about.clone();
    Kind::new(about, Style::Quoted, move |node| {
        let text = text_of(node, &what)?;
        let found = choices.iter().find(|(word, _)| *word == text);
        found
            .map(|(_, value)| *value)
            .ok_or_else(|| format!("{} is unknown; write {what}", quoted(text)))
    })
}

/// An IP address with a port.
pub(super) fn address() -> Kind<SocketAddr> {
    Kind::new("an IP address and a port", Style::Quoted, |node| {
        let text = text_of(node, "an IP address and a port, such as \"127.0.0.1:8470\"")?;
        text.parse().map_err(|_| {
            format!(
                "{} is not an IP address and a port, such as \"127.0.0.1:8470\" or \"[::1]:8470\"",
                quoted(text)
            )
        })
    })
}

/// A day: `2027-01-31`, in quotes or not.
pub(super) fn date() -> Kind<Date> {
    Kind::new("a date such as `2027-01-31`", Style::Quoted, |node| {
        let text = match &node.value {
            Value::Date(text) | Value::Text(text) | Value::Raw(text) => text,
            other => {
                return Err(format!(
                    "expects a date such as \"2027-01-31\", found {}",
                    other.noun()
                ));
            }
        };
        let day = if text.len() == "2027-01-31".len() {
            text.parse().ok()
        } else {
            None
        };
        day.ok_or_else(|| {
            format!(
                "{} is not a date; write year, month and day: \"2027-01-31\"",
                quoted(text)
            )
        })
    })
}

/// A URL of one of the `schemes`. Messages do not repeat it: it may hold a password.
pub(super) fn url(about: &'static str, schemes: &'static [&'static str]) -> Kind<PrivateUrl> {
    Kind::new(about, Style::Quoted, move |node| {
        match text_of(node, about)?.parse::<PrivateUrl>() {
            Ok(url) if schemes.contains(&url.expose().scheme()) => Ok(url),
            Ok(url) => Err(format!(
                "begins with {}:, but takes {about}",
                quoted(url.expose().scheme())
            )),
            Err(error) => Err(format!("is not {about}: {error}")),
        }
    })
}

/// A file or a folder; a relative one starts in the working directory.
pub(super) fn file_path() -> Kind<PathBuf> {
    Kind::new("a path", Style::Quoted, |node| {
        match text_of(node, "a path")? {
            "" => Err("is empty; write a path".to_owned()),
            text if text.contains('\0') => Err("a path has no NUL character".to_owned()),
            text => Ok(PathBuf::from(text)),
        }
    })
}

/// A list of at most `max` values; in a variable they are parted by commas.
pub(super) fn list<T: 'static>(kind: Kind<T>, max: usize) -> Kind<Vec<T>> {
    let about = format!("a list; each item is {}", kind.about);
    Kind::new(about, Style::List, move |node| {
        let parted: Vec<Node>;
        let items = match &node.value {
            Value::List(items) => items,
            Value::Raw(text) => {
                parted = comma_parted(node, text);
                &parted
            }
            other => {
                return Err(format!(
                    "expects a list such as [\"…\", \"…\"], found {}",
                    other.noun()
                ));
            }
        };
        if items.len() > max {
            return Err(format!(
                "has {} items, at most {max} are allowed",
                items.len()
            ));
        }
        items.iter().map(|item| (kind.parse)(item)).collect()
    })
}

/// A piece of a wrong value, safe to print on one line.
pub(super) fn quoted(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(QUOTED_CHARS_MAX)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().count() > QUOTED_CHARS_MAX {
        shown.push('…');
    }
    format!("\"{shown}\"")
}

fn text_of<'n>(node: &'n Node, what: &str) -> Result<&'n str, String> {
    match &node.value {
        Value::Text(text) | Value::Raw(text) => {
            prove_plain(text).map_err(|error| error.to_string())?;
            Ok(text)
        }
        other => Err(format!("expects {what}, in quotes, found {}", other.noun())),
    }
}

fn comma_parted(node: &Node, text: &str) -> Vec<Node> {
    let items = text
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty());
    items
        .map(|item| Node {
            origin: node.origin.clone(),
            value: Value::Raw(item.to_owned()),
        })
        .collect()
}
