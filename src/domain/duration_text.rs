//! Durations as people write them: `"90s"`, `"15m"`, `"24h"`, `"1h30m"`.
//!
//! A bare number is refused, because half of its readers would take it for milliseconds. Days are 24 hours and weeks are
//! seven such days: a push deadline does not follow daylight saving.

use std::time::Duration;

/// Longest duration that can be written: 100 years of 365 days.
pub const DURATION_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// The units, longest first, in milliseconds.
const UNITS: [(&str, u64); 6] = [
    ("w", 7 * 24 * 60 * 60 * 1000),
    ("d", 24 * 60 * 60 * 1000),
    ("h", 60 * 60 * 1000),
    ("m", 60 * 1000),
    ("s", 1000),
    ("ms", 1),
];

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Nothing but digits.
    #[error("{number} has no unit, write \"{number}s\", \"{number}m\" or \"{number}h\"")]
    NoUnit {
        /// The number found.
        number: u64,
    },
    /// Not a sequence of whole numbers with units.
    #[error(
        "a duration is whole numbers with units, such as \"90s\", \"15m\", \"24h\" or \"1h30m\""
    )]
    Shape,
    /// A unit that comes twice or after a shorter one.
    #[error("units go from long to short and come once each: w d h m s ms")]
    Order,
    /// Longer than [`DURATION_MAX`].
    #[error("a duration is at most 100 years")]
    TooLong,
}

/// Reads a duration such as `"90s"` or `"1h30m"`.
///
/// # Errors
/// [`DurationError`] tells what is wrong and how it is written.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let mut rest = text;
    let mut millis: u64 = 0;
    let mut units_left = &UNITS[..];
    while !rest.is_empty() {
        let (number, after) = split_number(rest)?;
        let (unit, after) = split_unit(after);
        if unit.is_empty() {
            let bare = rest == text && after.is_empty();
            return Err(if bare {
                DurationError::NoUnit { number }
            } else {
                DurationError::Shape
            });
        }
        let Some((_, factor)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(DurationError::Shape);
        };
        let Some(at) = units_left.iter().position(|(name, _)| *name == unit) else {
            return Err(DurationError::Order);
        };
        units_left = &units_left[at + 1..];
        millis = number
            .checked_mul(*factor)
            .and_then(|part| millis.checked_add(part))
            .ok_or(DurationError::TooLong)?;
        rest = after;
    }
    if text.is_empty() {
        return Err(DurationError::Shape);
    }
    let duration = Duration::from_millis(millis);
    if duration > DURATION_MAX {
        Err(DurationError::TooLong)
    } else {
        Ok(duration)
    }
}

/// Writes a duration so that [`parse_duration`] reads the same whole milliseconds: `"1d"`, `"1h30m"`, `"0s"`.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let mut millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, factor) in &UNITS[1..] {
        let count = millis / factor;
        millis %= factor;
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
        }
    }
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text
    }
}

fn split_number(text: &str) -> Result<(u64, &str), DurationError> {
    let end = text
        .bytes()
        .position(|b| !b.is_ascii_digit())
        .unwrap_or(text.len());
    if end == 0 {
        return Err(DurationError::Shape);
    }
    let number = text[..end].parse().map_err(|_| DurationError::TooLong)?;
    Ok((number, &text[end..]))
}

fn split_unit(text: &str) -> (&str, &str) {
    let end = text
        .bytes()
        .position(|b| !b.is_ascii_alphabetic())
        .unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_usual_spellings_are_read() {
        for (text, millis) in [
            ("90s", 90_000),
            ("15m", 900_000),
            ("24h", 86_400_000),
            ("7d", 604_800_000),
            ("1w", 604_800_000),
            ("250ms", 250),
            ("1h30m", 5_400_000),
            ("0s", 0),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(millis)),
                "{text}"
            );
        }
    }

    #[test]
    fn a_bare_number_is_refused_with_the_units_to_choose_from() {
        let error = parse_duration("15").unwrap_err();
        assert_eq!(error, DurationError::NoUnit { number: 15 });
        assert_eq!(
            error.to_string(),
            r#"15 has no unit, write "15s", "15m" or "15h""#
        );
    }

    #[test]
    fn what_is_not_a_duration_is_refused() {
        for text in ["", "s", "1.5h", "-1s", "1 s", "1y", "1h30", "1S", "é", "1é"] {
            assert_eq!(parse_duration(text), Err(DurationError::Shape), "{text}");
        }
        assert_eq!(parse_duration("1m1h"), Err(DurationError::Order));
        assert_eq!(parse_duration("1s1s"), Err(DurationError::Order));
        assert_eq!(parse_duration("36501d"), Err(DurationError::TooLong));
        assert_eq!(
            parse_duration("99999999999999999999s"),
            Err(DurationError::TooLong)
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(millis in 0..=DURATION_MAX.as_millis() as u64) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*") {
            if let Ok(duration) = parse_duration(&text) {
                prop_assert!(duration <= DURATION_MAX);
            }
        }
    }
}
