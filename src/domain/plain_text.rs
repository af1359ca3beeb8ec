//! Texts of people that are shown again, in tables and logs: no character in them may steer what shows them.

use std::borrow::Cow;

/// A text holds a character that is not shown but changes what is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("has a control character at byte {at}")]
pub struct ControlCharacter {
    /// Where the first one is.
    pub at: usize,
}

/// Proves that a text holds no control character.
///
/// # Errors
/// [`ControlCharacter`] with the place of the first one.
pub fn prove_plain(text: &str) -> Result<(), ControlCharacter> {
    match text.find(is_control) {
        Some(at) => Err(ControlCharacter { at }),
        None => Ok(()),
    }
}

/// Whether a character moves the cursor, begins an escape sequence, ends a line or turns the direction of a text.
#[must_use]
pub fn is_control(c: char) -> bool {
    let turns = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns || matches!(c, '\u{2028}' | '\u{2029}')
}

/// The text of one or more lines with its control characters written out, such as `\u{1b}`; ends of lines and tabs stay.
#[must_use]
pub fn shown(text: &str) -> Cow<'_, str> {
    let hidden = |c: char| is_control(c) && !matches!(c, '\n' | '\t');
    if !text.contains(hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if hidden(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_refused_and_what_people_write_is_not() {
        for plain in [
            "",
            "revoke CA 7",
            "Größe – 証明書 ✔",
            "a\u{a0}b",
            "👩‍💻",
            "שלום",
        ] {
            assert_eq!(prove_plain(plain), Ok(()), "{plain:?}");
        }
        for control in [
            "\u{1b}[2J",
            "\n",
            "\r",
            "\t",
            "\0",
            "\u{7f}",
            "\u{9b}31m",
            "\u{202e}",
            "\u{2066}",
            "\u{2028}",
        ] {
            let text = format!("ab{control}");
            assert_eq!(
                prove_plain(&text),
                Err(ControlCharacter { at: 2 }),
                "{text:?}"
            );
        }
    }

    #[test]
    fn what_is_shown_keeps_its_lines_and_writes_the_rest_out() {
        assert!(matches!(shown("a\n\tb"), Cow::Borrowed("a\n\tb")));
        let text = "\u{1b}[31mred\u{9b}0m\u{202e}x\r";
        assert_eq!(shown(text), "\\u{1b}[31mred\\u{9b}0m\\u{202e}x\\u{d}");
    }
}
