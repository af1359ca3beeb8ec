//! Shares, periods and delays as people write them: `10%`, `15m`, `200ms..2s`.

use std::{fmt, str::FromStr, time::Duration};

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

/// Why a text is not a share, a period or a delay.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct UnitError {
    text: String,
    expected: &'static str,
}

impl UnitError {
    fn new(text: &str, expected: &'static str) -> Self {
        Self {
            text: text.to_owned(),
            expected,
        }
    }
}

/// A part of a whole, from 0 to 1; written as `10%` or `0.1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Share(f64);

impl Share {
    /// Nothing of the whole.
    pub const NONE: Self = Self(0.0);
    /// The whole.
    pub const ALL: Self = Self(1.0);

    /// Takes a ratio, cut to the range from 0 to 1.
    #[must_use]
    pub fn ratio(ratio: f64) -> Self {
        Self(if ratio.is_nan() {
            0.0
        } else {
            ratio.clamp(0.0, 1.0)
        })
    }

    /// The ratio, from 0 to 1.
    #[must_use]
    pub fn as_ratio(self) -> f64 {
        self.0
    }

    /// Whether a number drawn evenly from all of `u64` falls into the share.
    pub(crate) fn hits(self, draw: u64) -> bool {
        unit(draw) < self.0
    }
}

/// Maps a number drawn evenly from all of `u64` to the range from 0 (included) to 1 (excluded).
pub(crate) fn unit(draw: u64) -> f64 {
    const STEP: f64 = 1.0 / (1_u64 << 53) as f64;
    (draw >> 11) as f64 * STEP
}

impl FromStr for Share {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let refused = || UnitError::new(text, "a share such as 10% or 0.1");
        let (number, whole) = match text.strip_suffix('%') {
            Some(number) => (number, 100.0),
            None => (text, 1.0),
        };
        let ratio = number.trim().parse::<f64>().map_err(|_| refused())? / whole;
        if !(0.0..=1.0).contains(&ratio) {
            return Err(refused());
        }
        Ok(Self(ratio))
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Rounded to a billionth, so that 0.07 does not print as 7.000000000000001%.
        write!(f, "{}%", (self.0 * 1e11).round() / 1e9)
    }
}

/// A length of time; written as `15m`, `200ms` or `1h30m`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Period(pub Duration);

impl FromStr for Period {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let refused = || UnitError::new(text, "a length of time such as 200ms, 15m or 1h30m");
        let signed = text.parse::<SignedDuration>().map_err(|_| refused())?;
        Duration::try_from(signed).map(Self).map_err(|_| refused())
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SignedDuration::try_from(self.0) {
            Ok(signed) => write!(f, "{signed:#}"),
            Err(_) => write!(f, "{}s", self.0.as_secs()),
        }
    }
}

/// A fixed length of time, or one drawn evenly from a range; written as `20ms` or `200ms..2s`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Delay {
    min: Duration,
    max: Duration,
}

impl Delay {
    /// No delay at all.
    pub const NONE: Self = Self::fixed(Duration::ZERO);

    /// Always the same delay.
    #[must_use]
    pub const fn fixed(delay: Duration) -> Self {
        Self {
            min: delay,
            max: delay,
        }
    }

    /// A delay between two lengths, which may be given in either order.
    #[must_use]
    pub fn between(one: Duration, other: Duration) -> Self {
        Self {
            min: one.min(other),
            max: one.max(other),
        }
    }

    /// The delay for a number drawn evenly from all of `u64`.
    pub(crate) fn pick(self, draw: u64) -> Duration {
        if self.min == self.max {
            return self.min;
        }
        self.min + (self.max - self.min).mul_f64(unit(draw))
    }
}

impl FromStr for Delay {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let Some((min, max)) = text.split_once("..") else {
            return Ok(Self::fixed(text.parse::<Period>()?.0));
        };
        let (min, max) = (min.parse::<Period>()?.0, max.parse::<Period>()?.0);
        if min > max {
            return Err(UnitError::new(
                text,
                "a range from the shorter to the longer time",
            ));
        }
        Ok(Self { min, max })
    }
}

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max {
            return Period(self.min).fmt(f);
        }
        write!(f, "{}..{}", Period(self.min), Period(self.max))
    }
}

macro_rules! text_form {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = UnitError;
            fn try_from(text: String) -> Result<Self, UnitError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.to_string()
            }
        }
    };
}

text_form!(Share);
text_form!(Period);
text_form!(Delay);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_written_as_percent_or_ratio() {
        for (text, ratio, printed) in [
            ("10%", 0.1, "10%"),
            ("0.07", 0.07, "7%"),
            ("0.5%", 0.005, "0.5%"),
            ("1", 1.0, "100%"),
        ] {
            let share: Share = text.parse().unwrap();
            assert!((share.as_ratio() - ratio).abs() < 1e-12, "{text}");
            assert_eq!(share.to_string(), printed);
        }
        for text in ["", "101%", "-1%", "1.1", "NaN", "ten"] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_share_hits_at_its_bounds() {
        assert!(!Share::NONE.hits(0));
        assert!(Share::ALL.hits(u64::MAX));
        assert!(Share::ratio(0.5).hits(u64::MAX / 2 - 4096));
        assert!(!Share::ratio(0.5).hits(u64::MAX / 2 + 4096));
    }

    #[test]
    fn delays_are_fixed_or_ranges() {
        let range: Delay = "200ms..2s".parse().unwrap();
        assert_eq!(
            range,
            Delay::between(Duration::from_secs(2), Duration::from_millis(200))
        );
        assert_eq!(range.to_string(), "200ms..2s");
        assert_eq!(range.pick(0), Duration::from_millis(200));
        assert!(range.pick(u64::MAX) <= Duration::from_secs(2));
        assert_eq!(
            "20ms".parse::<Delay>().unwrap().pick(7),
            Duration::from_millis(20)
        );
        assert!("2s..1s".parse::<Delay>().is_err());
        assert!("soon".parse::<Delay>().is_err());
        assert!("-3s".parse::<Period>().is_err());
        assert_eq!(
            "1h30m".parse::<Period>().unwrap().0,
            Duration::from_secs(5400)
        );
    }
}
