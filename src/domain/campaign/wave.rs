//! Waves: how far a campaign may go before its gate is judged, and the verdict.

use std::{fmt, str::FromStr, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{counts::WaveCounts, spell};

/// Fewer samples than this say nothing: the gate passes.
pub const SAMPLES_MIN: u64 = 20;

/// A part of a whole, `0.0..=1.0`; as text `"2.5%"`.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Share(f64);

/// The text is not a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a share is written from \"0%\" to \"100%\"")]
pub struct ShareError;

impl Share {
    /// All of it.
    pub const ALL: Self = Self(1.0);

    /// The part as a fraction, `0.0..=1.0`.
    #[must_use]
    pub fn fraction(self) -> f64 {
        self.0
    }
}

impl FromStr for Share {
    type Err = ShareError;

    fn from_str(text: &str) -> Result<Self, ShareError> {
        let percent: f64 = text
            .strip_suffix('%')
            .and_then(|n| n.trim().parse().ok())
            .ok_or(ShareError)?;
        if !(0.0..=100.0).contains(&percent) {
            return Err(ShareError);
        }
        Ok(Self(percent / 100.0))
    }
}

impl TryFrom<String> for Share {
    type Error = ShareError;
    fn try_from(text: String) -> Result<Self, ShareError> {
        text.parse()
    }
}

impl From<Share> for String {
    fn from(share: Share) -> Self {
        share.to_string()
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Three digits after the point are enough for one in a hundred thousand.
        write!(f, "{}%", (self.0 * 100_000.0).round() / 1_000.0)
    }
}

/// How far a wave goes, counted from the campaign's begin: waves are cumulative.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum WaveSize {
    /// A number of targets.
    Targets(u64),
    /// A share of all targets.
    Share(Share),
}

impl WaveSize {
    /// How many of `total` targets are released when the wave is complete.
    #[must_use]
    pub fn of(self, total: u64) -> u64 {
        match self {
            Self::Targets(count) => count.min(total),
            Self::Share(share) => ((share.0 * total as f64).ceil() as u64).min(total),
        }
    }
}

/// What must hold before the next wave begins.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// How long after the wave's last release it is judged.
    #[serde(with = "spell")]
    pub hold: Duration,
    /// Least share of the wave's reachable targets that must have checked in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked_in_min: Option<Share>,
    /// Greatest share of errors (rejected, or the channel died) among those that were sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors_max: Option<Share>,
}

impl Default for Gate {
    /// Ten minutes, and at most one in ten may fail.
    fn default() -> Self {
        Self {
            hold: Duration::from_secs(600),
            checked_in_min: None,
            errors_max: Some(Share(0.1)),
        }
    }
}

/// A part of a campaign.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Wave {
    /// How far it goes.
    pub size: WaveSize,
    /// What must hold then. The last wave's gate is never judged: nothing follows.
    pub gate: Gate,
}

/// What a gate said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// The next wave may begin.
    Passed,
    /// The campaign is paused.
    Failed {
        /// Why, in words and numbers.
        reason: String,
    },
}

/// A gate that was judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GateResult {
    /// Which wave, from 1.
    pub wave: u8,
    /// When.
    pub judged_at: Timestamp,
    /// What it said.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// What it saw.
    pub counts: WaveCounts,
}

impl Gate {
    /// Judges a wave by its targets that were reachable at their release.
    #[must_use]
    pub fn judge(&self, counts: &WaveCounts) -> Verdict {
        let least = self.checked_in_min.map_or(0.0, Share::fraction);
        if counts.reachable >= SAMPLES_MIN && share(counts.checked_in, counts.reachable) < least {
            let (is, of) = (counts.checked_in, counts.reachable);
            return Verdict::Failed {
                reason: format!(
                    "{is} of {of} reachable targets checked in, below {}",
                    self.checked_in_min.unwrap_or(Share::ALL)
                ),
            };
        }
        let most = self.errors_max.unwrap_or(Share::ALL);
        if counts.sent >= SAMPLES_MIN && share(counts.errors, counts.sent) > most.fraction() {
            let (is, of) = (counts.errors, counts.sent);
            return Verdict::Failed {
                reason: format!("{is} of {of} targets that were sent failed, above {most}"),
            };
        }
        Verdict::Passed
    }
}

fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(checked_in_min: &str, errors_max: &str) -> Gate {
        Gate {
            hold: Duration::from_secs(60),
            checked_in_min: checked_in_min.parse().ok(),
            errors_max: errors_max.parse().ok(),
        }
    }

    fn counts(reachable: u64, checked_in: u64, sent: u64, errors: u64) -> WaveCounts {
        WaveCounts {
            reachable,
            checked_in,
            sent,
            errors,
        }
    }

    #[test]
    fn shares_are_read_and_written_as_percent() {
        for text in ["0%", "1%", "2.5%", "0.001%", "100%"] {
            assert_eq!(text.parse::<Share>().unwrap().to_string(), text);
        }
        for wrong in ["", "%", "1", "-1%", "101%", "NaN%", "one%"] {
            assert_eq!(wrong.parse::<Share>(), Err(ShareError), "{wrong}");
        }
    }

    #[test]
    fn a_wave_ends_within_the_targets() {
        assert_eq!(WaveSize::Targets(1_000).of(400), 400);
        assert_eq!(WaveSize::Share("1%".parse().unwrap()).of(1_001), 11);
        assert_eq!(WaveSize::Share(Share::ALL).of(7), 7);
    }

    #[test]
    fn a_gate_judges_check_ins_over_the_reachable_and_errors_over_the_sent() {
        let gate = gate("50%", "10%");
        assert_eq!(gate.judge(&counts(100, 50, 100, 10)), Verdict::Passed);
        let few = gate.judge(&counts(100, 49, 100, 0));
        assert_eq!(
            few,
            Verdict::Failed {
                reason: "49 of 100 reachable targets checked in, below 50%".to_owned()
            }
        );
        let broken = gate.judge(&counts(100, 80, 90, 10));
        assert_eq!(
            broken,
            Verdict::Failed {
                reason: "10 of 90 targets that were sent failed, above 10%".to_owned()
            }
        );
    }

    #[test]
    fn too_few_samples_pass() {
        let gate = gate("100%", "0%");
        assert_eq!(gate.judge(&counts(19, 0, 19, 19)), Verdict::Passed);
        assert_ne!(gate.judge(&counts(20, 0, 0, 0)), Verdict::Passed);
        assert_ne!(gate.judge(&counts(20, 20, 20, 1)), Verdict::Passed);
    }
}
