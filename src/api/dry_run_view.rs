//! What a dry run answers, with what it takes for granted in words.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    domain::{
        campaign::Wave,
        channel::ChannelKind,
        counter::WakeSlot,
        duration_text::{DURATION_MAX, format_duration},
    },
    service::campaign::DryRun,
};

/// What would happen if the campaign were started now and every gate passed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DryRunView {
    /// Devices that it is for.
    targets: u64,
    /// Devices that have a channel that takes notifications.
    reachable: u64,
    /// Devices by the state of their channel.
    channels: BTreeMap<&'static str, u64>,
    /// Targets released a second, while neither a hold nor open sessions stand in the way: the pace of the campaign, or
    /// of its app where that is slower.
    per_second: f64,
    /// Until all are released, whenever the deadline is: with the gates' holds and the cap on open sessions.
    takes: String,
    /// When the campaign would end.
    #[schema(value_type = String, format = DateTime)]
    deadline: Timestamp,
    /// Targets that are released before the deadline.
    released_in_time: u64,
    /// About how many of them can be reached: targets are released in a random order.
    reachable_in_time: u64,
    /// Targets that are not released before the deadline: they would expire as `not_sent`.
    too_late: u64,
    /// What the figures take for granted, and what stands in the way, for people.
    notes: Vec<String>,
}

impl From<DryRun> for DryRunView {
    fn from(run: DryRun) -> Self {
        let kinds = ChannelKind::ALL.map(ChannelKind::as_str);
        Self {
            targets: run.targets,
            reachable: run.reachable,
            channels: kinds.into_iter().zip(run.channels).collect(),
            per_second: (run.per_second * 1_000.0).round() / 1_000.0,
            takes: in_words(run.takes),
            deadline: run.deadline,
            released_in_time: run.in_time,
            reachable_in_time: run.reachable_in_time(),
            too_late: run.too_late(),
            notes: notes(&run),
        }
    }
}

fn in_words(time: Duration) -> String {
    let whole = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    format_duration(Duration::from_secs(whole).min(DURATION_MAX))
}

fn notes(run: &DryRun) -> Vec<String> {
    let definition = &run.campaign.definition;
    let mut notes = Vec::new();
    if run.too_late() > 0 {
        notes.push(format!(
            "{} of {} targets would not be released before the deadline at {} and expire as not_sent: it needs a later deadline, \
             a faster pace, shorter holds or more open sessions",
            run.too_late(),
            run.targets,
            run.deadline
        ));
    }
    let holds = |wave: &&Wave| wave.size.of(run.targets) < run.targets;
    let held: Vec<&Wave> = definition.waves.iter().take_while(holds).collect();
    if !held.is_empty() {
        let time = held.iter().map(|wave| wave.gate.hold).sum();
        notes.push(format!(
            "{} it up for {} in all, if each passes the first time",
            match held.len() {
                1 => "1 gate holds".to_owned(),
                gates => format!("{gates} gates hold"),
            },
            in_words(time)
        ));
    }
    if let Some(max) = definition.pace.open_sessions_max {
        notes.push(format!(
            "at most {max} targets are released in {} s, as if no device checked in while its session counts as open; if each does \
             at once, all are released in {}",
            WakeSlot::COUNTED.as_secs(),
            in_words(run.takes_at_best)
        ));
    }
    notes
}
