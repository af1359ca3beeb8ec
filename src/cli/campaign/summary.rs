//! What the API says of a campaign, for people.

use std::fmt::Write;

use serde_json::Value;

use crate::{cli::output::grouped, domain::campaign::TargetStatus};

/// States in which a target has ended.
const ENDED: [TargetStatus; 5] = [
    TargetStatus::Accepted,
    TargetStatus::CheckedIn,
    TargetStatus::Expired,
    TargetStatus::Cancelled,
    TargetStatus::Rejected,
];

/// Targets of `campaign` that are counted under `name`.
pub(super) fn counted(campaign: &Value, name: &str) -> u64 {
    campaign["counts"][name].as_u64().unwrap_or(0)
}

/// Targets that have ended.
pub(super) fn ended(campaign: &Value) -> u64 {
    let states = ENDED.iter();
    states.map(|state| counted(campaign, state.as_str())).sum()
}

/// How far a campaign has come, in one line: its counts without those that are zero, and the median until check-in.
pub(super) fn progress(campaign: &Value) -> String {
    let mut line = campaign["state"].as_str().unwrap_or_default().to_owned();
    let waves = campaign["waves"].as_array().map_or(0, Vec::len);
    if let Some(wave) = campaign["wave"].as_u64() {
        push(&mut line, format_args!("  wave {wave} of {waves}"));
    }
    for state in TargetStatus::ALL {
        let count = counted(campaign, state.as_str());
        if count > 0 {
            push(
                &mut line,
                format_args!("  {} {}", grouped(count), state.as_str().replace('_', " ")),
            );
        }
    }
    if let Some(median) = campaign["check_in_delay_seconds"]["p50"].as_f64() {
        push(&mut line, format_args!("  p50 {median:.1} s"));
    }
    line
}

/// The whole campaign as a table.
pub(super) fn table(campaign: &Value) -> String {
    let text = |name: &str| campaign[name].as_str().unwrap_or_default();
    let mut table = format!("{} ({}), {}", text("name"), text("id"), text("state"));
    if let Some(detail) = campaign["pause"]["detail"].as_str() {
        push(&mut table, format_args!(": {detail}"));
    }
    for (name, key) in [
        ("started", "started_at"),
        ("deadline", "deadline"),
        ("ended", "ended_at"),
        ("all released by", "estimated_end"),
    ] {
        if let Some(time) = campaign[key].as_str() {
            push(&mut table, format_args!("\n{name:<16}{time}"));
        }
    }
    let targets = counted(campaign, "targets");
    push(
        &mut table,
        format_args!("\n{:<16}{:>12}", "targets", grouped(targets)),
    );
    for state in TargetStatus::ALL {
        let count = counted(campaign, state.as_str());
        if count > 0 {
            let share = 100.0 * count as f64 / targets.max(1) as f64;
            push(
                &mut table,
                format_args!(
                    "\n  {:<14}{:>12}{share:>8.2} %",
                    state.as_str(),
                    grouped(count)
                ),
            );
        }
    }
    let attempts = grouped(campaign["attempts"].as_u64().unwrap_or(0));
    push(
        &mut table,
        format_args!("\n{:<16}{attempts:>12}", "attempts"),
    );
    delays(&mut table, &campaign["check_in_delay_seconds"]);
    for gate in campaign["gates"].as_array().into_iter().flatten() {
        push(&mut table, format_args!("\n{}", gate_line(gate)));
    }
    table
}

fn delays(table: &mut String, delays: &Value) {
    let at = |name: &str| delays[name].as_f64();
    if let (Some(half), Some(most), Some(nearly_all)) = (at("p50"), at("p90"), at("p99")) {
        push(
            table,
            format_args!(
                "\n{:<16}p50 {half:.1} s, p90 {most:.1} s, p99 {nearly_all:.1} s",
                "until check-in"
            ),
        );
    }
}

fn gate_line(gate: &Value) -> String {
    let count = |name: &str| grouped(gate[name].as_u64().unwrap_or(0));
    let verdict = match gate["reason"].as_str() {
        Some(reason) => format!("failed: {reason}"),
        None => "passed".to_owned(),
    };
    format!(
        "{:<16}{verdict}; {} reachable, {} checked in, {} sent, {} errors",
        format!("gate {}", gate["wave"]),
        count("reachable"),
        count("checked_in"),
        count("sent"),
        count("errors")
    )
}

fn push(text: &mut String, more: std::fmt::Arguments<'_>) {
    text.write_fmt(more).expect("a string takes any text");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn campaign() -> Value {
        json!({
            "id": "c1", "name": "revoke CA 7", "state": "paused", "wave": 2, "waves": ["1%", 1000, "100%"],
            "pause": {"since": "2026-03-01T12:00:00Z", "cause": "gate", "detail": "12% of 10 errors, at most 5%"},
            "started_at": "2026-03-01T11:00:00Z", "deadline": "2026-03-02T00:00:00Z", "ended_at": null, "estimated_end": null,
            "counts": {"targets": 12_431, "waiting": 11_431, "checked_in": 880, "rejected": 120},
            "attempts": 1_120,
            "check_in_delay_seconds": {"p50": 12.25, "p90": 40.0, "p99": 63.0},
            "gates": [
                {"wave": 1, "passed": true, "reason": null, "reachable": 124, "checked_in": 120, "sent": 124, "errors": 0},
                {"wave": 2, "passed": false, "reason": "12% errors", "reachable": 1000, "checked_in": 880, "sent": 1000, "errors": 120},
            ],
        })
    }

    #[test]
    fn a_line_has_what_is_not_zero() {
        insta::assert_snapshot!(
            progress(&campaign()),
            @"paused  wave 2 of 3  11,431 waiting  880 checked in  120 rejected  p50 12.2 s"
        );
    }

    #[test]
    fn a_table_has_counts_shares_percentiles_and_gates() {
        insta::assert_snapshot!(table(&campaign()));
    }

    #[test]
    fn what_has_ended_is_the_sum_of_its_states() {
        assert_eq!(ended(&campaign()), 1_000);
    }
}
