//! A campaign as consoles write it, proven into a definition.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::problem::{Kind, Problem};
use crate::domain::{
    ask::{Class, Goal},
    campaign::{
        Definition, DefinitionError, Gate, Pace, Selection, Share, TargetStatus, Until, Wave,
        WaveSize,
    },
    duration_text::{format_duration, parse_duration},
    id::{CampaignId, DeviceId},
};

/// A campaign to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CampaignBody {
    /// What people call it, 1 to 128 bytes.
    name: String,
    /// Why, for people; at most 128 bytes.
    reason: Option<String>,
    /// How urgent; `normal` without it.
    priority: Option<Class>,
    /// When a target is done; `accepted` without it.
    goal: Option<Goal>,
    /// Until when; without it and `expires_in`: seven days after the start.
    #[schema(value_type = Option<String>, format = DateTime)]
    deadline: Option<Timestamp>,
    /// How long after its start it ends, such as `24h`; at most `30d`.
    expires_in: Option<String>,
    /// How fast.
    #[serde(default)]
    pace: CampaignPace,
    /// How far to go before each gate: cumulative, `"1%"`, `1000` or an object with a gate of its own.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    waves: Vec<WaveBody>,
    /// The gate of waves that have none of their own.
    gate: Option<GateBody>,
    /// Whom: `"all"`, a list of device ids or `{"not_checked_in_for": "24h"}`; without it targets are added to the draft.
    #[schema(value_type = Option<Object>)]
    targets: Option<TargetsBody>,
    /// Whom: what another campaign left behind.
    targets_from: Option<FromBody>,
    /// Whether listed devices that nobody has named are targets all the same.
    #[serde(default)]
    pub(super) register_unknown: bool,
}

/// How fast a campaign goes.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CampaignPace {
    /// Targets released a second; without it as fast as the app sends.
    per_second: Option<f64>,
    /// Most devices woken within the last minute that have not checked in.
    open_sessions_max: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "a wave is \"1%\", 1000 or {\"size\": \"1%\", \"hold\": \"10m\", …}"
)]
enum WaveBody {
    Size(WaveSize),
    Gated(GatedWave),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GatedWave {
    size: WaveSize,
    hold: Option<String>,
    checked_in_min: Option<String>,
    errors_max: Option<String>,
}

/// What must hold before the next wave begins.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GateBody {
    /// How long after the wave's last release it is judged; `10m` without it.
    hold: Option<String>,
    /// Least share of the wave's reachable targets that must have checked in, such as `"60%"`.
    checked_in_min: Option<String>,
    /// Greatest share of errors among those that were sent; `"10%"` without it.
    errors_max: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "targets are \"all\", a list of device ids or {\"not_checked_in_for\": \"24h\"}"
)]
enum TargetsBody {
    Word(String),
    List(Vec<String>),
    Silent(SilentBody),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SilentBody {
    not_checked_in_for: String,
}

/// What another campaign left behind.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FromBody {
    /// The other campaign.
    campaign: String,
    /// Its targets in these states: one, or a list.
    #[schema(value_type = Vec<TargetStatus>)]
    state: OneOrMore,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a state, or a list of states")]
enum OneOrMore {
    One(TargetStatus),
    More(Vec<TargetStatus>),
}

/// A campaign that may be made, and the targets to list at once.
pub(super) struct Proven {
    pub(super) definition: Definition,
    pub(super) devices: Vec<DeviceId>,
}

/// What is wrong, and where.
struct Wrong(String, String);

fn wrong(pointer: impl Into<String>, detail: impl ToString) -> Wrong {
    Wrong(pointer.into(), detail.to_string())
}

impl From<Wrong> for Problem {
    fn from(Wrong(pointer, detail): Wrong) -> Self {
        Self::invalid(pointer, detail)
    }
}

/// The problem of a definition that breaks rules.
pub(super) fn invalid(errors: Vec<DefinitionError>) -> Problem {
    let detail = errors.first().map_or("", |e| e.detail);
    let problem = Problem::new(Kind::Invalid, detail);
    errors
        .into_iter()
        .fold(problem, |problem, e| problem.at(e.pointer, e.detail))
}

impl CampaignBody {
    /// Proves what the types do not say; what the definition itself says is checked when the campaign is made.
    ///
    /// # Errors
    /// [`Kind::Invalid`], naming the value.
    pub(super) fn prove(self) -> Result<Proven, Problem> {
        let gate = self.gate.as_ref();
        let gate = gate.map_or_else(
            || Ok(Gate::default()),
            |g| gate_of("/gate", (&g.hold, &g.checked_in_min, &g.errors_max)),
        )?;
        if self.gate.is_some() && self.waves.is_empty() {
            let detail =
                "a gate stands between waves: name `waves`, for example [\"1%\", \"100%\"]";
            return Err(Problem::new(Kind::Invalid, detail).at("/gate", detail));
        }
        let mut waves = Vec::with_capacity(self.waves.len());
        for (at, wave) in self.waves.iter().enumerate() {
            waves.push(wave.prove(&format!("/waves/{at}"), gate)?);
        }
        let (selection, devices) = self.selection()?;
        let definition = Definition {
            until: self.until()?,
            name: self.name,
            reason: self.reason.map(Arc::from),
            class: self.priority.unwrap_or_default(),
            goal: self.goal.unwrap_or_default(),
            pace: self.pace.into(),
            waves,
            selection,
        };
        Ok(Proven {
            definition,
            devices,
        })
    }

    fn until(&self) -> Result<Until, Wrong> {
        match (self.deadline, &self.expires_in) {
            (None, None) => Ok(Until::default()),
            (Some(at), None) => Ok(Until::Deadline(at)),
            (None, Some(text)) => duration("/expires_in", text).map(Until::ExpiresIn),
            (Some(_), Some(_)) => Err(wrong("/expires_in", "deadline or expires_in, not both")),
        }
    }

    fn selection(&self) -> Result<(Selection, Vec<DeviceId>), Wrong> {
        let selection = match (&self.targets, &self.targets_from) {
            (None, None) => Selection::Listed,
            (None, Some(from)) => from.prove()?,
            (Some(TargetsBody::Word(word)), None) if word == "all" => Selection::All,
            (Some(TargetsBody::Word(_)), None) => {
                return Err(wrong("/targets", "the only word for targets is \"all\""));
            }
            (Some(TargetsBody::Silent(silent)), None) => {
                let time = &silent.not_checked_in_for;
                Selection::NotCheckedInFor(duration("/targets/not_checked_in_for", time)?)
            }
            (Some(TargetsBody::List(devices)), None) => {
                return Ok((Selection::Listed, listed(devices)?));
            }
            (Some(_), Some(_)) => {
                return Err(wrong("/targets_from", "targets or targets_from, not both"));
            }
        };
        Ok((selection, Vec::new()))
    }
}

fn listed(devices: &[String]) -> Result<Vec<DeviceId>, Wrong> {
    let prove = |(at, id): (usize, &String)| {
        DeviceId::new(id).map_err(|e| wrong(format!("/targets/{at}"), e))
    };
    devices.iter().enumerate().map(prove).collect()
}

impl FromBody {
    fn prove(&self) -> Result<Selection, Wrong> {
        let campaign = CampaignId::new(&self.campaign);
        Ok(Selection::LeftOf {
            campaign: campaign.map_err(|e| wrong("/targets_from/campaign", e))?,
            states: match &self.state {
                OneOrMore::One(state) => vec![*state],
                OneOrMore::More(states) => states.clone(),
            },
        })
    }
}

impl WaveBody {
    fn prove(&self, pointer: &str, gate: Gate) -> Result<Wave, Wrong> {
        match self {
            Self::Size(size) => Ok(Wave { size: *size, gate }),
            Self::Gated(wave) => {
                let texts = (&wave.hold, &wave.checked_in_min, &wave.errors_max);
                let own = gate_of(pointer, texts)?;
                let gate = Gate {
                    hold: wave.hold.as_ref().map_or(gate.hold, |_| own.hold),
                    checked_in_min: own.checked_in_min.or(gate.checked_in_min),
                    errors_max: wave
                        .errors_max
                        .as_ref()
                        .map_or(gate.errors_max, |_| own.errors_max),
                };
                Ok(Wave {
                    size: wave.size,
                    gate,
                })
            }
        }
    }
}

type GateTexts<'a> = (&'a Option<String>, &'a Option<String>, &'a Option<String>);

fn gate_of(
    pointer: &str,
    (hold, checked_in_min, errors_max): GateTexts<'_>,
) -> Result<Gate, Wrong> {
    let defaults = Gate::default();
    let share = |name: &str, text: &Option<String>| -> Result<Option<Share>, Wrong> {
        let text = text.as_ref();
        let share = text.map(|t| t.parse()).transpose();
        share.map_err(|e| wrong(format!("{pointer}/{name}"), e))
    };
    Ok(Gate {
        hold: match hold {
            Some(text) => duration(&format!("{pointer}/hold"), text)?,
            None => defaults.hold,
        },
        checked_in_min: share("checked_in_min", checked_in_min)?,
        errors_max: share("errors_max", errors_max)?.or(defaults.errors_max),
    })
}

fn duration(pointer: &str, text: &str) -> Result<Duration, Wrong> {
    parse_duration(text).map_err(|e| wrong(pointer, e))
}

impl From<CampaignPace> for Pace {
    fn from(body: CampaignPace) -> Self {
        Self {
            per_second: body.per_second,
            open_sessions_max: body.open_sessions_max,
        }
    }
}

impl From<Pace> for CampaignPace {
    fn from(pace: Pace) -> Self {
        Self {
            per_second: pace.per_second,
            open_sessions_max: pace.open_sessions_max,
        }
    }
}

/// A wave as it is shown.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WaveView {
    /// How far it goes.
    #[schema(value_type = Object)]
    size: WaveSize,
    /// How long after its last release it is judged.
    hold: String,
    /// Least share of check-ins.
    checked_in_min: Option<String>,
    /// Greatest share of errors.
    errors_max: Option<String>,
}

impl From<&Wave> for WaveView {
    fn from(wave: &Wave) -> Self {
        Self {
            size: wave.size,
            hold: format_duration(wave.gate.hold),
            checked_in_min: wave.gate.checked_in_min.map(|s| s.to_string()),
            errors_max: wave.gate.errors_max.map(|s| s.to_string()),
        }
    }
}
