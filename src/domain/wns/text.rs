//! A short text that someone outside wrote: bounded, always UTF-8, safe to print on one line.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};

/// Longest text kept, in bytes; what is longer is cut at a character.
pub const TEXT_BYTES_MAX: usize = 256;

/// What the secret part of a channel URI or a login stands behind, should somebody quote one in an error.
const SECRET_MARKS: [&str; 4] = ["token=", "token%3d", "secret=", "bearer "];
/// What stands in place of it.
const HIDDEN: &str = "…";

/// Up to [`TEXT_BYTES_MAX`] bytes of foreign text, control characters replaced by spaces, trimmed. It ends up in logs and
/// reports, so what looks like a channel's token or a login is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String")]
pub struct Text(Cow<'static, str>);

impl Text {
    /// Makes text of any bytes; what is not UTF-8 becomes U+FFFD.
    #[must_use]
    pub fn lossy(bytes: &[u8]) -> Self {
        // Cutting here bounds the work; a character cut in half becomes U+FFFD and is cut off again below.
        let head = bytes.trim_ascii();
        let head = &head[..head.len().min(TEXT_BYTES_MAX + 4)];
        let mut text = String::with_capacity(head.len().min(TEXT_BYTES_MAX));
        for c in String::from_utf8_lossy(head).chars() {
            if text.len() + c.len_utf8() > TEXT_BYTES_MAX {
                break;
            }
            let c = if c.is_control() { ' ' } else { c };
            if !(text.is_empty() && c.is_whitespace()) {
                text.push(c);
            }
        }
        text.truncate(text.trim_end().len());
        // Every mark has one of these.
        if text.contains(['=', '%', ' ']) {
            for mark in SECRET_MARKS {
                hide(&mut text, mark);
            }
        }
        Self(Cow::Owned(text))
    }

    /// A text known when the program was written; costs no allocation.
    #[must_use]
    pub const fn known(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Takes out the words behind each `mark`, whatever its case.
fn hide(text: &mut String, mark: &str) {
    let found = |text: &str, from: usize| {
        let windows = text.as_bytes()[from..].windows(mark.len());
        let at = { windows }.position(|bytes| bytes.eq_ignore_ascii_case(mark.as_bytes()));
        at.map(|at| from + at + mark.len())
    };
    let mut from = 0;
    while let Some(begin) = found(text, from) {
        let ends = |c: char| c.is_whitespace() || "\"'<>,;)".contains(c);
        let end = text[begin..].find(ends).map_or(text.len(), |at| begin + at);
        from = begin;
        // What is no longer than its replacement is no secret, and the text must not grow.
        if end - begin > HIDDEN.len() {
            text.replace_range(begin..end, HIDDEN);
        }
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::lossy(text.as_bytes())
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn foreign_bytes_become_one_short_line() {
        assert_eq!(Text::lossy(b"  received\t").as_str(), "received");
        assert_eq!(Text::lossy(b"a\r\nb\0c").as_str(), "a  b c");
        assert_eq!(Text::lossy(b"\xff\xfe").as_str(), "\u{fffd}\u{fffd}");
        assert_eq!(
            Text::lossy(&[b'x'; 10_000]).as_str(),
            "x".repeat(TEXT_BYTES_MAX)
        );
        assert_eq!(
            Text::lossy("é".repeat(500).as_bytes()).as_str(),
            "é".repeat(TEXT_BYTES_MAX / 2)
        );
    }

    #[test]
    fn what_gives_power_over_devices_is_left_out_of_what_others_say() {
        for (said, kept) in [
            (
                "no channel https://db5p.notify.windows.com/?token=AwYAAAB%2bx, sorry",
                "no channel https://db5p.notify.windows.com/?token=…, sorry",
            ),
            (
                "url=https%3A%2F%2Fx%2F%3FTOKEN%3DAwYAAAB",
                "url=https%3A%2F%2Fx%2F%3FTOKEN%3D…",
            ),
            (
                "client_secret=hunter2 Bearer EgAfAQM",
                "client_secret=… Bearer …",
            ),
            ("token=abc token=abcd", "token=abc token=…"),
            ("the token is expired", "the token is expired"),
        ] {
            assert_eq!(Text::lossy(said.as_bytes()).as_str(), kept);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_bounded_and_printable(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
            let text = Text::lossy(&bytes);
            prop_assert!(text.as_str().len() <= TEXT_BYTES_MAX);
            prop_assert!(!text.as_str().chars().any(char::is_control));
            prop_assert_eq!(Text::from(text.as_str().to_owned()), text);
        }
    }
}
