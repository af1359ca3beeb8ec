//! The campaign as it is kept, and the changes that people and the runner make to it.

use std::{fmt, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    allowance::AHEAD,
    counts::Counts,
    definition::{Definition, Pace, Selection},
    wave::{GateResult, Verdict, Wave},
};
use crate::domain::{
    event::{Event, EventKind},
    id::CampaignId,
    schedule::later,
    trace_context::TraceContext,
};

/// How far a campaign has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Targets may be added.
    Draft,
    /// Its targets are being listed; those listed so far are released.
    Preparing,
    /// Targets are released.
    Running,
    /// Nothing is released or sent.
    Paused,
    /// Every target has ended.
    Finished,
    /// It was called off; what was left ends as `cancelled`.
    Cancelled,
}

impl State {
    /// Stable text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Preparing => "preparing",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Finished => "finished",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who paused it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PauseCause {
    /// The console.
    Request,
    /// A wave's gate.
    Gate,
}

/// A pause that lasts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Pause {
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Who paused it.
    pub cause: PauseCause,
    /// What there is to say.
    pub detail: Option<String>,
}

/// An event that the campaign has to tell, kept with it until it is in the feed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct News {
    kind: String,
    time: Timestamp,
    data: Map<String, Value>,
}

/// The change does not fit the campaign's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not in this state.
    #[error("a {state} campaign cannot {verb}")]
    WrongState {
        /// How far it has come.
        state: State,
        /// What was asked, as an infinitive.
        verb: &'static str,
    },
    /// The deadline has passed before the start.
    #[error("the deadline is over")]
    TooLate,
}

/// A campaign as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Campaign {
    /// Its id within the tenant.
    pub id: CampaignId,
    /// What it is to do.
    pub definition: Definition,
    /// How far it has come.
    pub state: State,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was started.
    pub started_at: Option<Timestamp>,
    /// The trace of the call that started it, if it is recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceContext>,
    /// When its targets were complete.
    pub prepared_at: Option<Timestamp>,
    /// Fixed at the start.
    pub deadline: Option<Timestamp>,
    /// When it was finished or cancelled.
    pub ended_at: Option<Timestamp>,
    /// Why it stands still.
    pub pause: Option<Pause>,
    /// The wave that is being released, from 0.
    pub wave: u8,
    /// When the gate of that wave is judged, once the wave is released.
    pub judge_at: Option<Timestamp>,
    /// Gates so far.
    pub gates: Vec<GateResult>,
    /// Whether nothing of a closed campaign is left in lists and queues.
    pub swept: bool,
    /// Events that are not in the feed yet, oldest first.
    pub news: Vec<News>,
}

impl Campaign {
    /// A draft.
    #[must_use]
    pub fn draft(id: CampaignId, definition: Definition, now: Timestamp) -> Self {
        Self {
            id,
            definition,
            state: State::Draft,
            created_at: now,
            started_at: None,
            trace: None,
            prepared_at: None,
            deadline: None,
            ended_at: None,
            pause: None,
            wave: 0,
            judge_at: None,
            gates: Vec::new(),
            swept: false,
            news: Vec::new(),
        }
    }

    /// Whether the runner has something to do for it.
    #[must_use]
    pub fn active(&self) -> bool {
        match self.state {
            State::Draft => false,
            State::Preparing | State::Running | State::Paused => true,
            State::Finished | State::Cancelled => !self.swept || !self.news.is_empty(),
        }
    }

    /// Whether its queues are out of service.
    #[must_use]
    pub fn parked(&self) -> bool {
        match self.state {
            State::Paused => true,
            State::Cancelled => !self.swept,
            State::Draft | State::Preparing | State::Running | State::Finished => false,
        }
    }

    /// Whether it has ended for good.
    #[must_use]
    pub fn closed(&self) -> bool {
        matches!(self.state, State::Finished | State::Cancelled)
    }

    /// Whether its counts change no more: nothing of it is left to be cleared.
    #[must_use]
    pub fn counted_out(&self) -> bool {
        self.closed() && self.swept
    }

    /// Whether it has had something to tell for longer than `age`.
    #[must_use]
    pub fn news_before(&self, now: Timestamp, age: SignedDuration) -> bool {
        self.news.iter().any(|n| later(n.time, age) <= now)
    }

    fn refuse(&self, verb: &'static str) -> Refusal {
        let state = self.state;
        Refusal::WrongState { state, verb }
    }

    fn tell(&mut self, kind: EventKind, time: Timestamp, more: &[(&str, Value)]) {
        let mut data = Map::new();
        data.insert("campaign".to_owned(), self.id.as_str().into());
        data.insert("name".to_owned(), self.definition.name.as_str().into());
        for (name, value) in more {
            data.insert((*name).to_owned(), value.clone());
        }
        let kind = kind.as_str().to_owned();
        self.news.push(News { kind, time, data });
    }

    // === what people do; repeating it changes nothing ===

    /// Starts a draft; the attempts of its first targets belong to `trace`.
    ///
    /// # Errors
    /// [`Refusal`] for a paused or closed campaign, or when the deadline is over.
    pub fn start(&mut self, now: Timestamp, trace: Option<TraceContext>) -> Result<(), Refusal> {
        match self.state {
            State::Draft => {}
            State::Preparing | State::Running => return Ok(()),
            State::Paused | State::Finished | State::Cancelled => return Err(self.refuse("start")),
        }
        let deadline = self.definition.until.from(now);
        if deadline <= now {
            return Err(Refusal::TooLate);
        }
        self.deadline = Some(deadline);
        self.started_at = Some(now);
        self.trace = trace;
        self.tell(EventKind::CampaignStarted, now, &[]);
        if self.definition.selection == Selection::Listed {
            self.prepared(now);
        } else {
            self.state = State::Preparing;
        }
        Ok(())
    }

    /// Stops releasing and sending.
    ///
    /// # Errors
    /// [`Refusal`] for a draft or a closed campaign.
    pub fn pause(&mut self, now: Timestamp) -> Result<(), Refusal> {
        match self.state {
            State::Paused => Ok(()),
            State::Preparing | State::Running => {
                self.stand_still(now, PauseCause::Request, None);
                self.tell(
                    EventKind::CampaignPaused,
                    now,
                    &[("cause", "request".into())],
                );
                Ok(())
            }
            State::Draft | State::Finished | State::Cancelled => Err(self.refuse("pause")),
        }
    }

    fn stand_still(&mut self, since: Timestamp, cause: PauseCause, detail: Option<String>) {
        self.state = State::Paused;
        self.pause = Some(Pause {
            since,
            cause,
            detail,
        });
    }

    /// Goes on where it stopped; after a failed gate with the next wave. The time it stood still is no part of a gate's hold.
    ///
    /// # Errors
    /// [`Refusal`] for a draft or a closed campaign.
    pub fn resume(&mut self, now: Timestamp) -> Result<(), Refusal> {
        match self.state {
            State::Preparing | State::Running => Ok(()),
            State::Paused => {
                let stood_still = self.pause.take().map_or(now, |p| p.since);
                let time = now.duration_since(stood_still).max(SignedDuration::ZERO);
                self.judge_at = self.judge_at.map(|at| later(at, time));
                self.state = match self.prepared_at {
                    Some(_) => State::Running,
                    None => State::Preparing,
                };
                self.tell(EventKind::CampaignResumed, now, &[]);
                Ok(())
            }
            State::Draft | State::Finished | State::Cancelled => Err(self.refuse("resume")),
        }
    }

    /// Calls it off.
    ///
    /// # Errors
    /// [`Refusal`] for a finished campaign.
    pub fn cancel(&mut self, now: Timestamp) -> Result<(), Refusal> {
        match self.state {
            State::Cancelled => Ok(()),
            State::Finished => Err(self.refuse("be cancelled")),
            State::Draft | State::Preparing | State::Running | State::Paused => {
                self.state = State::Cancelled;
                self.ended_at = Some(now);
                self.pause = None;
                self.judge_at = None;
                self.tell(EventKind::CampaignCancelled, now, &[]);
                Ok(())
            }
        }
    }

    /// Changes the pace.
    ///
    /// # Errors
    /// [`Refusal`] for a closed campaign.
    pub fn set_pace(&mut self, pace: Pace) -> Result<(), Refusal> {
        if self.closed() {
            return Err(self.refuse("change its pace"));
        }
        self.definition.pace = pace;
        Ok(())
    }

    // === what the runner finds ===

    /// All targets are listed: gates may be judged, and the campaign may finish. One that is paused stays so.
    pub fn prepared(&mut self, now: Timestamp) {
        self.prepared_at = Some(now);
        if self.state != State::Paused {
            self.state = State::Running;
        }
    }

    /// Whether its targets are still to be listed.
    #[must_use]
    pub fn preparing(&self) -> bool {
        let at_work = matches!(self.state, State::Preparing | State::Paused);
        at_work && self.prepared_at.is_none()
    }

    /// The wave is released; its gate is judged after the hold.
    pub(super) fn hold_gate(&mut self, now: Timestamp) {
        let Some(wave) = self.definition.waves.get(usize::from(self.wave)) else {
            return;
        };
        let hold = SignedDuration::try_from(hold_of(wave)).unwrap_or(SignedDuration::MAX);
        self.judge_at = Some(later(now, hold));
    }

    /// The campaign with its gate's hold begun anew, if the gate is due while its first pushes have waited for so long to be
    /// sent: an outage must not pass for an answer of the fleet, nor may a hold that is over before they are sent.
    #[must_use]
    pub fn held_up(&self, backlog: Duration, now: Timestamp) -> Option<Self> {
        let due = self.judge_at.is_some_and(|at| at <= now);
        let wave = self.definition.waves.get(usize::from(self.wave))?;
        if self.state != State::Running || !due || backlog <= AHEAD.min(hold_of(wave) / 2) {
            return None;
        }
        let mut campaign = self.clone();
        campaign.hold_gate(now);
        Some(campaign)
    }

    /// Judges the wave's gate, once: the next wave begins, or the campaign pauses and says why.
    pub(super) fn judge(&mut self, counts: &Counts, now: Timestamp) {
        self.judge_at = None;
        let number = self.wave.saturating_add(1);
        let Some(wave) = self.definition.waves.get(usize::from(self.wave)) else {
            return;
        };
        let seen = counts.wave(number);
        let verdict = wave.gate.judge(&seen);
        self.gates.push(GateResult {
            wave: number,
            judged_at: now,
            verdict: verdict.clone(),
            counts: seen,
        });
        self.wave = number;
        // A wave that goes no further than the ones before it has nothing to release and nothing to judge.
        let waves = &self.definition.waves;
        while waves
            .get(usize::from(self.wave))
            .is_some_and(|w| w.size.of(counts.targets) <= counts.released())
        {
            self.wave = self.wave.saturating_add(1);
        }
        if let Verdict::Failed { reason } = verdict {
            let more = [("wave", number.into()), ("reason", reason.as_str().into())];
            self.tell(EventKind::CampaignGateFailed, now, &more);
            self.tell(EventKind::CampaignPaused, now, &[("cause", "gate".into())]);
            self.stand_still(now, PauseCause::Gate, Some(reason));
        }
    }

    /// Every target has ended.
    pub(super) fn finish(&mut self, counts: &Counts, now: Timestamp) {
        self.state = State::Finished;
        self.ended_at = Some(now);
        self.pause = None;
        self.judge_at = None;
        self.swept = true;
        let mut totals = Map::new();
        totals.insert("targets".to_owned(), counts.targets.into());
        for label in crate::domain::ask::CloseReason::LABELS {
            totals.insert(label.to_owned(), counts.closed_as(label).into());
        }
        self.tell(
            EventKind::CampaignFinished,
            now,
            &[("counts", Value::Object(totals))],
        );
    }
}

/// How long a released wave waits for its gate. A shorter hold could be over before anybody has looked at the queues.
fn hold_of(wave: &Wave) -> Duration {
    wave.gate.hold.max(Duration::from_secs(1))
}

impl News {
    /// The event for the feed.
    #[must_use]
    pub fn event(&self) -> Option<Event> {
        let kind = EventKind::ALL
            .into_iter()
            .find(|k| k.as_str() == self.kind)?;
        Some(Event::new(kind, self.time).with_all(&self.data))
    }
}
