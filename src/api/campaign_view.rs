//! A campaign and its targets as consoles see them.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::campaign_body::{CampaignPace, WaveView};
use crate::{
    domain::{
        ask::{Class, CloseReason, Goal},
        campaign::{
            Counts, GateResult, Pause, Selection, State, TargetStatus, TargetView, Verdict,
        },
        delay::Delays,
    },
    service::campaign::Report,
};

/// A campaign and how far it has come.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CampaignView {
    /// Its id.
    id: String,
    /// What people call it.
    name: String,
    /// Why.
    reason: Option<String>,
    /// How urgent.
    priority: Class,
    /// When a target is done.
    goal: Goal,
    /// How far it has come.
    state: State,
    /// Why it stands still; null unless it is paused.
    pause: Option<Pause>,
    /// Whom it is for: `listed`, `all`, `not_checked_in_for` or `left_of`.
    selection: &'static str,
    /// How fast it goes.
    pace: CampaignPace,
    /// Its waves.
    waves: Vec<WaveView>,
    /// The wave that is being released, from 1; null without waves and after the last.
    wave: Option<u8>,
    /// When that wave's gate is judged; null while it is being released.
    #[schema(value_type = Option<String>, format = DateTime)]
    judged_at: Option<Timestamp>,
    /// Gates that were judged.
    gates: Vec<GateView>,
    /// Targets by state: `targets` is the sum of all others.
    counts: BTreeMap<&'static str, u64>,
    /// POSTs that WNS answered for its targets.
    attempts: u64,
    /// Seconds from push to check-in that half, nine in ten and ninety-nine in a hundred of its targets did not exceed.
    check_in_delay_seconds: DelayView,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was started.
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<Timestamp>,
    /// When its targets were complete; null while they are being listed.
    #[schema(value_type = Option<String>, format = DateTime)]
    prepared_at: Option<Timestamp>,
    /// When what is left expires; null until it is started.
    #[schema(value_type = Option<String>, format = DateTime)]
    deadline: Option<Timestamp>,
    /// When all its targets will have been released, by its pace, its waves and its cap on open sessions, if nothing else gets
    /// in the way; null unless it is running.
    #[schema(value_type = Option<String>, format = DateTime)]
    estimated_end: Option<Timestamp>,
    /// When it was finished or cancelled.
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
    /// Whether it has ended and its counts change no more: those of a cancelled campaign do until what it left is cleared.
    counts_final: bool,
}

/// A gate that was judged.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct GateView {
    /// Which wave, from 1.
    wave: u8,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    judged_at: Timestamp,
    /// Whether the next wave could begin.
    passed: bool,
    /// Why not.
    reason: Option<String>,
    /// The wave's targets that were reachable at their release.
    reachable: u64,
    /// Those of them that had checked in.
    checked_in: u64,
    /// Those of them that were sent.
    sent: u64,
    /// Those of them that failed.
    errors: u64,
}

/// Percentiles, in seconds; null while nothing has checked in.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DelayView {
    /// The median.
    p50: Option<f64>,
    /// Nine in ten.
    p90: Option<f64>,
    /// Ninety-nine in a hundred.
    p99: Option<f64>,
}

impl From<Report> for CampaignView {
    fn from(report: Report) -> Self {
        let campaign = report.campaign;
        let counts_final = campaign.counted_out();
        let definition = campaign.definition;
        let wave = usize::from(campaign.wave) < definition.waves.len();
        Self {
            id: campaign.id.to_string(),
            name: definition.name,
            reason: definition.reason.map(|r| r.to_string()),
            priority: definition.class,
            goal: definition.goal,
            state: campaign.state,
            pause: campaign.pause,
            selection: selection(&definition.selection),
            pace: definition.pace.into(),
            waves: definition.waves.iter().map(WaveView::from).collect(),
            wave: wave.then(|| campaign.wave.saturating_add(1)),
            judged_at: campaign.judge_at,
            gates: campaign.gates.into_iter().map(GateView::from).collect(),
            counts: counts(&report.counts),
            attempts: report.counts.attempts,
            check_in_delay_seconds: DelayView::from(&report.counts.delays),
            created_at: campaign.created_at,
            started_at: campaign.started_at,
            prepared_at: campaign.prepared_at,
            deadline: campaign.deadline,
            estimated_end: report.released_by,
            ended_at: campaign.ended_at,
            counts_final,
        }
    }
}

fn selection(selection: &Selection) -> &'static str {
    match selection {
        Selection::Listed => "listed",
        Selection::All => "all",
        Selection::NotCheckedInFor(_) => "not_checked_in_for",
        Selection::LeftOf { .. } => "left_of",
    }
}

fn counts(counts: &Counts) -> BTreeMap<&'static str, u64> {
    let mut named = BTreeMap::from([
        ("targets", counts.targets),
        ("waiting", counts.waiting),
        ("open", counts.open),
        ("held", counts.held),
        ("awaiting", counts.awaiting),
        ("blocked", counts.blocked),
    ]);
    named.extend(CloseReason::LABELS.map(|label| (label, counts.closed_as(label))));
    named
}

impl From<&Delays> for DelayView {
    fn from(delays: &Delays) -> Self {
        let at = |share| delays.percentile(share).map(|d| d.as_secs_f64());
        Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
        }
    }
}

impl From<GateResult> for GateView {
    fn from(gate: GateResult) -> Self {
        let (passed, reason) = match gate.verdict {
            Verdict::Passed => (true, None),
            Verdict::Failed { reason } => (false, Some(reason)),
        };
        Self {
            wave: gate.wave,
            judged_at: gate.judged_at,
            passed,
            reason,
            reachable: gate.counts.reachable,
            checked_in: gate.counts.checked_in,
            sent: gate.counts.sent,
            errors: gate.counts.errors,
        }
    }
}

/// One target and what became of it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TargetLine {
    /// The device.
    pub(super) device: String,
    /// Where it stands.
    pub(super) state: TargetStatus,
    /// What lies behind the state, where there is more to say: `no_channel`, `no_check_in`, …
    pub(super) reason: Option<String>,
    /// POSTs that WNS answered for it.
    pub(super) attempts: u32,
    /// When it was released; null if it never was.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(super) opened_at: Option<Timestamp>,
    /// When WNS first accepted a notification for it.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(super) accepted_at: Option<Timestamp>,
    /// Begin of the session that ended it.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(super) checked_in_at: Option<Timestamp>,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(super) closed_at: Option<Timestamp>,
    /// From push to check-in.
    pub(super) check_in_delay_seconds: Option<f64>,
    /// What came of the last POST to the device.
    pub(super) last_outcome: Option<String>,
    /// `X-WNS-Msg-ID` of that POST.
    pub(super) msg_id: Option<String>,
    /// `X-WNS-Debug-Trace` of that POST.
    pub(super) debug_trace: Option<String>,
    /// `MS-CV` of that POST.
    pub(super) ms_cv: Option<String>,
}

impl From<TargetView> for TargetLine {
    fn from(view: TargetView) -> Self {
        let delay = view.result.check_in_delay();
        Self {
            device: view.device.to_string(),
            state: view.status,
            reason: view.result.cause,
            attempts: view.result.attempts,
            opened_at: view.result.opened_at,
            accepted_at: view.result.accepted_at,
            checked_in_at: view.result.checked_in_at,
            closed_at: view.result.closed_at,
            check_in_delay_seconds: delay.map(|d: SignedDuration| d.as_secs_f64()),
            last_outcome: view.result.last_outcome,
            msg_id: view.result.msg_id,
            debug_trace: view.result.debug_trace,
            ms_cv: view.result.ms_cv,
        }
    }
}

impl TargetLine {
    /// The columns of a CSV report.
    pub(super) const COLUMNS: &'static str = "device,state,reason,attempts,opened_at,accepted_at,checked_in_at,closed_at,check_in_delay_seconds,last_outcome,msg_id,debug_trace,ms_cv\r\n";

    /// The target as a line of CSV (RFC 4180).
    pub(super) fn csv(&self) -> String {
        let time = |at: &Option<Timestamp>| at.map_or(String::new(), |t| t.to_string());
        let text = |text: &Option<String>| field(text.as_deref().unwrap_or_default());
        let delay = self.check_in_delay_seconds;
        let fields = [
            self.device.clone(),
            self.state.as_str().to_owned(),
            text(&self.reason),
            self.attempts.to_string(),
            time(&self.opened_at),
            time(&self.accepted_at),
            time(&self.checked_in_at),
            time(&self.closed_at),
            delay.map_or(String::new(), |d| d.to_string()),
            text(&self.last_outcome),
            text(&self.msg_id),
            text(&self.debug_trace),
            text(&self.ms_cv),
        ];
        fields.join(",") + "\r\n"
    }
}

/// Quotes what would break the line, and what a spreadsheet would take for a formula.
fn field(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let quoted = text.contains(['"', ',', '\n', '\r']) || formula;
    if !quoted {
        return text.to_owned();
    }
    let guard = if formula { "'" } else { "" };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn csv_fields_break_no_line_and_run_no_formula() {
        for (text, written) in [
            ("d1", "d1"),
            ("a,b", "\"a,b\""),
            ("say \"x\"", "\"say \"\"x\"\"\""),
            ("=1+1", "\"'=1+1\""),
            ("@cmd", "\"'@cmd\""),
        ] {
            assert_eq!(field(text), written);
        }
    }
}
