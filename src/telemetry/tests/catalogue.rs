//! The metrics as they are named, described and documented.

use std::path::Path;

use super::*;

#[tokio::test(start_paused = true)]
async fn the_exposition_names_every_metric_of_the_outer_surface() {
    let telemetry = telemetry();
    let (_, _) = (app(&telemetry), tenant(&telemetry));
    let _actor = telemetry.actor(ActorKind::Janitor, Instant::now());
    let text = telemetry.render(Instant::now());
    for name in [
        "reveille_attempts_total",
        "reveille_attempt_duration_seconds",
        "reveille_pushes_open",
        "reveille_asks_closed_total",
        "reveille_push_oldest_due_seconds",
        "reveille_attempts_in_flight",
        "reveille_checkin_delay_seconds",
        "reveille_pace_per_second",
        "reveille_app_paused",
        "reveille_token_expiry_timestamp_seconds",
        "reveille_channels",
        "reveille_actor_restarts_total",
        "reveille_build_info",
        "process_resident_memory_bytes",
    ] {
        assert!(text.contains(&format!("# HELP {name} ")), "{name}");
    }
}

#[test]
fn the_catalogue_follows_the_conventions() {
    let entries = Families::catalogue();
    for entry in &entries {
        assert_eq!(
            entry.kind == "counter",
            entry.name.ends_with("_total"),
            "{}",
            entry.name
        );
        assert_eq!(
            entry.kind == "histogram",
            entry.buckets.is_some(),
            "{}",
            entry.name
        );
        assert!(
            entry.name.starts_with("reveille_") && !entry.help.is_empty(),
            "{}",
            entry.name
        );
        assert!(
            entry
                .labels
                .iter()
                .all(|label| !["device", "campaign", "uri"].contains(&label.name))
        );
    }
    let mut names: Vec<&str> = entries.iter().map(|entry| entry.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), entries.len());
}

#[test]
fn the_catalogue_changes_only_on_purpose() {
    let lines: Vec<String> = Families::catalogue()
        .iter()
        .map(|entry| {
            let labels: Vec<&str> = entry.labels.iter().map(|label| label.name).collect();
            format!("{} {}{{{}}}", entry.kind, entry.name, labels.join(","))
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn the_reference_page_of_the_metrics_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, reference()).unwrap();
    }
    let page = std::fs::read_to_string(&path).unwrap();
    assert!(
        page == reference(),
        "docs/metrics.md is stale: run UPDATE_DOCS=1 cargo test the_reference_page"
    );
}
