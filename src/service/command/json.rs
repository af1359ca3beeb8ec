//! Reads JSON that others wrote: borrowed texts, and errors that name the place but never repeat a value.

use std::{borrow::Cow, fmt};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, de};

/// Longest part of a field name or word that an error repeats: too short for the secret part of a channel URI.
const QUOTED_BYTES_MAX: usize = 32;

/// A text of the body, borrowed unless it holds an escape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text<'a>(Cow<'a, str>);

impl Text<'_> {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(Visitor)
    }
}

/// A moment, written as RFC 3339 says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub Timestamp);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Time;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an RFC 3339 time such as 2026-03-01T12:00:00Z")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Time, E> {
                let read = text.parse().map(Time);
                read.map_err(|_| E::invalid_value(de::Unexpected::Other("text"), &self))
            }
        }

        deserializer.deserialize_str(Visitor)
    }
}

/// Why a JSON text cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// JSON pointer to the place, where it is known.
    pub pointer: Option<String>,
    /// What is wrong; repeats no value.
    pub detail: String,
}

/// Reads a whole JSON text.
///
/// # Errors
/// [`Unreadable`] with a pointer to the place.
pub fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Unreadable> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let read = serde_path_to_error::deserialize(&mut deserializer);
    let value = read.map_err(|error| {
        let detail = explain(error.inner());
        Unreadable {
            pointer: pointer(error.path(), of_the_whole(&detail)),
            detail,
        }
    })?;
    let end = deserializer.end();
    end.map_err(|error| Unreadable {
        pointer: None,
        detail: explain(&error),
    })?;
    Ok(value)
}

/// The field that an error about an object, or a query, as a whole names: one that it lacks, or has twice.
#[must_use]
pub fn of_the_whole(said: &str) -> Option<&str> {
    let missing = said.strip_prefix("missing field `");
    let named = missing.or_else(|| said.strip_prefix("duplicate field `"))?;
    named.split_once('`').map(|(name, _)| name)
}

fn pointer(path: &serde_path_to_error::Path, field: Option<&str>) -> Option<String> {
    use serde_path_to_error::Segment;
    let mut pointer = String::new();
    for segment in path {
        let name = match segment {
            Segment::Seq { index } => index.to_string(),
            Segment::Map { key } => cut(key).replace('~', "~0").replace('/', "~1"),
            Segment::Enum { variant } => cut(variant).to_owned(),
            Segment::Unknown => return None,
        };
        pointer.push('/');
        pointer.push_str(&name);
    }
    if let Some(field) = field {
        pointer.push('/');
        pointer.push_str(field);
    }
    (!pointer.is_empty()).then_some(pointer)
}

/// Says what is wrong with a JSON text without repeating its values: they may be channel URIs.
#[must_use]
pub fn explain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let message = text.strip_suffix(&place).unwrap_or(&text);
    let at = if error.line() == 1 {
        format!(" at column {}", error.column())
    } else {
        place
    };
    match error.classify() {
        serde_json::error::Category::Data => without_values(message),
        serde_json::error::Category::Syntax
        | serde_json::error::Category::Eof
        | serde_json::error::Category::Io => format!("not JSON: {message}{at}"),
    }
}

fn without_values(message: &str) -> String {
    for (beginning, said) in [
        ("invalid type: ", "a value of another type, expected "),
        ("invalid value: ", "another value, expected "),
        ("invalid length ", "another length, expected "),
    ] {
        if message.starts_with(beginning) {
            let expected = message.rsplit_once(", expected ").map_or("", |(_, e)| e);
            return format!("{said}{}", in_json(cut_to(expected, 200)));
        }
    }
    if message.starts_with("data did not match any variant of untagged enum") {
        return "none of the forms that are taken here".to_owned();
    }
    shorten_quoted(message)
}

/// What the library expects, in words of JSON: it names the types of this program, which nobody outside knows.
fn in_json(expected: &str) -> &str {
    let kinds = [
        ("struct ", "an object"),
        ("map", "an object"),
        ("a map", "an object"),
        ("internally tagged enum ", "an object"),
        ("adjacently tagged enum ", "an object"),
        ("enum ", "a word that is taken here"),
        ("variant ", "a word that is taken here"),
        ("tuple ", "a list"),
        ("a tuple ", "a list"),
        ("sequence", "a list"),
        ("a sequence", "a list"),
        ("unit", "null"),
        ("option", "a value or null"),
    ];
    let known = kinds.iter().find(|(kind, _)| expected.starts_with(kind));
    known.map_or(expected, |(_, words)| words)
}

/// Shortens what stands in the first pair of backticks: a name that the caller chose.
fn shorten_quoted(message: &str) -> String {
    let parts = message.split_once('`').and_then(|(before, rest)| {
        // The name itself may hold backticks; what the library adds after it never begins with one.
        let end = rest.find("`, expected ").or_else(|| rest.find('`'))?;
        Some((before, &rest[..end], &rest[end + 1..]))
    });
    match parts {
        Some((before, name, after)) => format!("{before}`{}`{}", cut(name), cut_to(after, 200)),
        None => cut_to(message, 200).to_owned(),
    }
}

fn cut(text: &str) -> &str {
    cut_to(text, QUOTED_BYTES_MAX)
}

/// The beginning of a text, at most `max` bytes, ending between characters.
#[must_use]
pub fn cut_to(text: &str, max: usize) -> &str {
    let end = (0..=text.len().min(max))
        .rev()
        .find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Line<'a> {
        #[serde(borrow)]
        device: Text<'a>,
        #[expect(dead_code, reason = "only read")]
        count: Option<u32>,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only read")]
    struct Nested<'a> {
        #[serde(borrow)]
        line: Line<'a>,
        either: Option<Either>,
        word: Option<Word>,
        pair: Option<(u8, u8)>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(untagged)]
    #[expect(dead_code, reason = "only read")]
    enum Either {
        Number(u32),
        Text(String),
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Word {
        One,
    }

    #[test]
    fn no_error_names_a_type_of_this_program() {
        for (text, pointer, words) in [
            ("3", None, "an object"),
            (r#"{"line":[1]}"#, Some("/line/0"), "a string"),
            (r#"{"line":"x"}"#, Some("/line"), "an object"),
            (
                r#"{"line":{"device":"d"},"either":[]}"#,
                Some("/either"),
                "none of the forms",
            ),
            (
                r#"{"line":{"device":"d"},"word":"two"}"#,
                Some("/word"),
                "expected `one`",
            ),
            (
                r#"{"line":{"device":"d"},"pair":{}}"#,
                Some("/pair"),
                "a list",
            ),
        ] {
            let wrong = read::<Nested<'_>>(text.as_bytes()).unwrap_err();
            assert!(wrong.detail.contains(words), "{text}: {}", wrong.detail);
            assert_eq!(
                wrong.pointer.as_deref(),
                pointer,
                "{text}: {}",
                wrong.detail
            );
            for name in ["Nested", "Line", "Either", "Word", "struct", "enum"] {
                assert!(!wrong.detail.contains(name), "{text}: {}", wrong.detail);
            }
        }
    }

    fn refusal(text: &str) -> String {
        explain(&serde_json::from_str::<Line<'_>>(text).unwrap_err())
    }

    #[test]
    fn a_text_without_escapes_is_borrowed_and_one_with_escapes_is_read() {
        let plain: Line<'_> = serde_json::from_str(r#"{"device":"d1"}"#).unwrap();
        assert!(matches!(plain.device.0, Cow::Borrowed("d1")));
        let escaped: Line<'_> = serde_json::from_str(r#"{"device":"\u00641"}"#).unwrap();
        assert_eq!(escaped.device.as_str(), "d1");
    }

    #[test]
    fn errors_name_the_field_and_what_is_expected() {
        let cases = [
            ("{", "not JSON: EOF while parsing an object at column 1"),
            (
                "{\"device\":1}",
                "a value of another type, expected a string",
            ),
            (
                "{\"devise\":1}",
                "unknown field `devise`, expected `device` or `count`",
            ),
            ("{}", "missing field `device`"),
            (
                "{\"device\":\"a\",\"count\":-1}",
                "another value, expected u32",
            ),
            (
                "{\"device\":\"a\",\"device\":\"b\"}",
                "duplicate field `device`",
            ),
        ];
        for (text, wanted) in cases {
            assert_eq!(refusal(text), wanted, "{text}");
        }
    }

    #[test]
    fn errors_never_repeat_a_channel_uri() {
        let uri = "https://db5p.notify.windows.com/?token=AwYAAABsecretsecret";
        for text in [
            format!("\"{uri}\""),
            format!("{{\"{uri}\":1}}"),
            format!("{{\"device\":\"d\",\"count\":\"{uri}\"}}"),
            format!("{{\"device\":[\"{uri}\"]}}"),
            format!("{{\"a`b{uri}\":1}}"),
        ] {
            let said = refusal(&text);
            assert!(!said.contains("token=A"), "{said}");
        }
    }

    #[test]
    fn a_body_is_pointed_into() {
        let wrong = read::<Line<'_>>(br#"{"device":"a","count":"b"}"#).unwrap_err();
        assert_eq!(wrong.pointer.as_deref(), Some("/count"));
        assert!(read::<Line<'_>>(br#"{"device":"a"} x"#).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Err(wrong) = read::<Line<'_>>(&bytes) {
                prop_assert!(!wrong.detail.is_empty());
            }
        }
    }
}
