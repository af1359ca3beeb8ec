//! What a console asks of a campaign, and what is refused.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    result::TargetStatus,
    spell,
    wave::{Wave, WaveSize},
};
use crate::domain::{
    ask::{Class, Goal, REASON_BYTES_MAX},
    id::CampaignId,
    plain_text::prove_plain,
};

/// Longest name in bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// Most waves of a campaign.
pub const WAVES_MAX: usize = 20;
/// Longest time from start to deadline.
pub const DEADLINE_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);
/// Time from start to deadline when none is given.
const DEADLINE_DEFAULT: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Fastest pace that can be asked for, targets a second.
const PER_SECOND_MAX: f64 = 100_000.0;

/// What a campaign is to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// What people call it.
    pub name: String,
    /// Why; goes with every ask.
    pub reason: Option<Arc<str>>,
    /// How urgent.
    pub class: Class,
    /// When a target is done.
    pub goal: Goal,
    /// Until when.
    pub until: Until,
    /// How fast.
    pub pace: Pace,
    /// In which steps; empty for all at once.
    pub waves: Vec<Wave>,
    /// Whom.
    pub selection: Selection,
}

/// The end of a campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// A moment.
    Deadline(Timestamp),
    /// A time after the start.
    ExpiresIn(#[serde(with = "spell")] Duration),
}

impl Default for Until {
    /// Seven days after the start.
    fn default() -> Self {
        Self::ExpiresIn(DEADLINE_DEFAULT)
    }
}

/// How fast a campaign goes; beyond that the app's own pace and the fair shares decide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pace {
    /// Targets released a second.
    pub per_second: Option<f64>,
    /// Most sessions that may be open: devices woken within the last minute that have not checked in.
    pub open_sessions_max: Option<u64>,
}

/// Whom a campaign is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selection {
    /// The devices that the console added to the draft.
    Listed,
    /// All devices of the tenant, as they are at the start.
    All,
    /// The devices that have not checked in for this long, at the start.
    NotCheckedInFor(#[serde(with = "spell")] Duration),
    /// What another campaign left behind.
    LeftOf {
        /// The other campaign.
        campaign: CampaignId,
        /// Targets in these states.
        states: Vec<TargetStatus>,
    },
}

/// What is wrong with a definition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct DefinitionError {
    /// JSON pointer to the value in the console's request.
    pub pointer: &'static str,
    /// What is wrong with it.
    pub detail: &'static str,
}

impl Definition {
    /// Checks what the types do not say, at the time `now`. All that is wrong is told at once.
    ///
    /// # Errors
    /// One [`DefinitionError`] for each value that is wrong.
    pub fn check(&self, now: Timestamp) -> Result<(), Vec<DefinitionError>> {
        let mut errors = Vec::new();
        let mut refuse = |wrong: bool, pointer: &'static str, detail: &'static str| {
            if wrong {
                errors.push(DefinitionError { pointer, detail });
            }
        };
        refuse(
            self.name.is_empty() || self.name.len() > NAME_BYTES_MAX,
            "/name",
            "a name has 1 to 128 bytes",
        );
        refuse(
            prove_plain(&self.name).is_err(),
            "/name",
            "a name has no control characters, such as ends of lines",
        );
        refuse(
            self.reason
                .as_ref()
                .is_some_and(|r| r.len() > REASON_BYTES_MAX),
            "/reason",
            "a reason has at most 128 bytes",
        );
        refuse(
            self.reason
                .as_ref()
                .is_some_and(|r| prove_plain(r).is_err()),
            "/reason",
            "a reason has no control characters, such as ends of lines",
        );
        match self.until {
            Until::Deadline(at) => {
                let left = at.duration_since(now);
                let max = DEADLINE_MAX.as_secs_f64();
                refuse(left.is_negative(), "/deadline", "the deadline is over");
                refuse(
                    left.as_secs_f64() > max,
                    "/deadline",
                    "a campaign lasts at most 30 days",
                );
            }
            Until::ExpiresIn(d) => refuse(
                d.is_zero() || d > DEADLINE_MAX,
                "/expires_in",
                "a campaign lasts more than nothing and at most 30 days",
            ),
        }
        self.check_waves(&mut refuse);
        self.pace.check(self.goal, &mut refuse);
        if let Selection::LeftOf { states, .. } = &self.selection {
            refuse(
                states.is_empty(),
                "/targets_from/state",
                "name at least one state",
            );
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }

    fn check_waves(&self, refuse: &mut impl FnMut(bool, &'static str, &'static str)) {
        refuse(
            self.waves.len() > WAVES_MAX,
            "/waves",
            "a campaign has at most 20 waves",
        );
        let grows = |pick: fn(&WaveSize) -> Option<f64>| {
            let sizes: Vec<f64> = self.waves.iter().filter_map(|w| pick(&w.size)).collect();
            sizes.first().is_none_or(|s| *s > 0.0) && sizes.windows(2).all(|w| w[0] < w[1])
        };
        let counts = grows(|size| match size {
            WaveSize::Targets(n) => Some(*n as f64),
            WaveSize::Share(_) => None,
        });
        let shares = grows(|size| match size {
            WaveSize::Targets(_) => None,
            WaveSize::Share(s) => Some(s.fraction()),
        });
        refuse(
            !(counts && shares),
            "/waves",
            "waves are cumulative: each must go further than the one before",
        );
        let needs_check_ins = self.waves.iter().any(|w| w.gate.checked_in_min.is_some());
        refuse(
            needs_check_ins && self.goal == Goal::Accepted,
            "/waves",
            "a least share of check-ins needs goal \"check_in\"",
        );
    }
}

impl Pace {
    /// Tells what is wrong with it for a campaign with `goal`.
    pub fn check(&self, goal: Goal, refuse: &mut impl FnMut(bool, &'static str, &'static str)) {
        let in_range = |rate: f64| rate > 0.0 && rate <= PER_SECOND_MAX;
        refuse(
            self.per_second.is_some_and(|rate| !in_range(rate)),
            "/pace/per_second",
            "a pace is above 0 and at most 100000 a second",
        );
        refuse(
            self.open_sessions_max == Some(0),
            "/pace/open_sessions_max",
            "at least one session must be allowed; pause the campaign to allow none",
        );
        refuse(
            self.open_sessions_max.is_some() && goal == Goal::Accepted,
            "/pace/open_sessions_max",
            "sessions are known by check-ins: this needs goal \"check_in\"",
        );
    }
}

impl Until {
    /// The moment, for a campaign that starts at `start`.
    #[must_use]
    pub fn from(self, start: Timestamp) -> Timestamp {
        match self {
            Self::Deadline(at) => at,
            Self::ExpiresIn(after) => start.saturating_add(after).unwrap_or(Timestamp::MAX),
        }
    }
}
