//! What dashboards, scrapers and readers of the log rely on.

mod catalogue;
mod failures;
mod scrape;
mod traces;

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use crate::domain::{
    ask::{Class, CloseReason, ExpiryCause},
    channel::ChannelKind,
    id::{DeviceId, DeviceKey},
    trace_context::TraceContext,
    wns::{
        channel_uri::UriHash,
        ms_cv::MsCv,
        reply::{ChannelRefusal, Outcome, OutcomeKind, Trace, UnavailableKind},
        text::Text,
        token::{TokenFailure, TokenOutage},
    },
};

use super::{logging::tests::logged, *};

fn at() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

fn telemetry() -> Telemetry {
    Telemetry::new(Duration::from_secs(10))
}

fn app(telemetry: &Telemetry) -> Arc<AppMetrics> {
    telemetry.app(&AppId::new("contoso").unwrap())
}

fn tenant(telemetry: &Telemetry) -> Arc<TenantMetrics> {
    telemetry.tenant(&TenantId::new("emea").unwrap())
}

fn device() -> DeviceKey {
    DeviceKey::new(
        TenantId::new("emea").unwrap(),
        DeviceId::new("pc-1").unwrap(),
    )
}

fn trace() -> Trace {
    Trace {
        msg_id: Some(Text::known("331FA2FC1F350267")),
        debug_trace: Some(Text::known("SG2PEPF0005589B")),
        ms_cv: Some(Text::known("AAAAAAAAAAAAAAAAAAAAAA.0")),
        ..Trace::default()
    }
}

fn finish(telemetry: &Telemetry, outcome: &Outcome, now: Instant) {
    finish_traced(telemetry, outcome, (&trace(), &[]), now);
}

/// As [`finish`], with what WNS answered and the traces that the attempt belongs to.
fn finish_traced(
    telemetry: &Telemetry,
    outcome: &Outcome,
    (trace, traces): (&Trace, &[TraceContext]),
    now: Instant,
) {
    let finished = AttemptFinished {
        device: &device(),
        class: Class::Urgent,
        host: "db5p.notify.windows.com",
        channel: UriHash::from_bytes([1; 8]),
        outcome,
        trace,
        ms_cv: &MsCv::from_random([1; 16]),
        traces,
        began_at: at(),
        took: Duration::from_millis(30),
    };
    telemetry.attempt_finished(&app(telemetry), &finished, at(), now);
}

fn json(directives: &str, act: impl FnOnce()) -> Vec<serde_json::Value> {
    let options = LogOptions {
        json: true,
        colours: false,
        directives: directives.into(),
    };
    let text = logged(&options, act);
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn shows(telemetry: &Telemetry, line: &str) -> bool {
    telemetry
        .render(Instant::now())
        .lines()
        .any(|shown| shown == line)
}

#[tokio::test(start_paused = true)]
async fn an_attempt_is_counted_once_under_its_outcome_and_its_result() {
    let telemetry = telemetry();
    let now = Instant::now();

    let on_the_wire = telemetry.attempt_started(&app(&telemetry));
    assert!(shows(
        &telemetry,
        r#"reveille_attempts_in_flight{app="contoso"} 1"#
    ));
    finish(
        &telemetry,
        &Outcome::Accepted {
            cached: false,
            stated: true,
        },
        now,
    );
    drop(on_the_wire);

    for line in [
        r#"reveille_attempts_total{app="contoso",outcome="accepted"} 1"#,
        r#"reveille_attempts_total{app="contoso",outcome="unavailable"} 0"#,
        r#"reveille_attempt_results_total{app="contoso",priority="urgent",result="success"} 1"#,
        r#"reveille_attempt_results_total{app="contoso",priority="bulk",result="success"} 0"#,
        r#"reveille_attempt_duration_seconds_bucket{app="contoso",le="0.025"} 0"#,
        r#"reveille_attempt_duration_seconds_bucket{app="contoso",le="0.05"} 1"#,
        r#"reveille_attempts_in_flight{app="contoso"} 0"#,
    ] {
        assert!(shows(&telemetry, line), "{line}\n{}", telemetry.render(now));
    }
}

#[test]
fn labels_stand_where_their_counters_are_looked_up() {
    assert!(
        OutcomeKind::ALL
            .iter()
            .enumerate()
            .all(|(at, kind)| *kind as usize == at)
    );
    assert!(
        Class::ALL
            .iter()
            .enumerate()
            .all(|(at, class)| *class as usize == at)
    );
    assert!(
        ResultClass::ALL
            .iter()
            .enumerate()
            .all(|(at, result)| *result as usize == at)
    );
}

#[tokio::test(start_paused = true)]
async fn a_token_failure_says_the_cure_and_is_counted_by_kind() {
    let telemetry = telemetry();
    let app = app(&telemetry);
    let refused = TokenFailure::Credential {
        error: Text::known("invalid_client"),
        description: Text::default(),
    };
    let outage = TokenFailure::Unavailable {
        kind: TokenOutage::Unreadable,
        retry_after: None,
    };

    let lines = json("info", || {
        telemetry.token_granted(&app, "2026-11-23T12:00:00Z".parse().unwrap());
        telemetry.token_failed(&app, &refused, Instant::now());
        telemetry.token_failed(&app, &outage, Instant::now());
    });

    assert_eq!(
        (&lines[1]["level"], &lines[1]["cure"]),
        (&"ERROR".into(), &refused.cure().into())
    );
    assert_eq!(lines[2]["level"], "WARN");
    for line in [
        r#"reveille_token_refreshes_total{app="contoso",result="granted"} 1"#,
        r#"reveille_token_refreshes_total{app="contoso",result="refused"} 1"#,
        r#"reveille_token_refreshes_total{app="contoso",result="unavailable"} 1"#,
        r#"reveille_token_expiry_timestamp_seconds{app="contoso"} 1795435200"#,
    ] {
        assert!(shows(&telemetry, line), "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_shows_until_it_is_over() {
    let telemetry = telemetry();
    let app = app(&telemetry);
    let paused =
        |value| format!(r#"reveille_app_paused{{app="contoso",reason="app_throttled"}} {value}"#);

    telemetry.app_paused(&app, PauseReason::AppThrottled, Some(at()));
    assert!(shows(&telemetry, &paused(1)));
    telemetry.app_resumed(&app, PauseReason::AppThrottled);

    assert!(shows(&telemetry, &paused(0)));
    assert!(shows(
        &telemetry,
        r#"reveille_app_pauses_total{app="contoso",reason="app_throttled"} 1"#
    ));
}

#[tokio::test(start_paused = true)]
async fn a_sample_replaces_the_one_before_even_with_zeros() {
    let telemetry = telemetry();
    let tenant = tenant(&telemetry);
    let sample = TenantSample {
        pushes_open: vec![(Class::Bulk, 7)],
        channels: vec![(ChannelKind::Dead, 3)],
        oldest_due: Duration::from_millis(1500),
        ..TenantSample::default()
    };

    telemetry.tenant_sampled(&tenant, &sample);
    assert!(shows(
        &telemetry,
        r#"reveille_pushes_open{tenant="emea",priority="bulk"} 7"#
    ));
    assert!(shows(
        &telemetry,
        r#"reveille_channels{tenant="emea",state="dead"} 3"#
    ));
    assert!(shows(
        &telemetry,
        r#"reveille_push_oldest_due_seconds{tenant="emea"} 1.5"#
    ));

    telemetry.tenant_sampled(&tenant, &TenantSample::default());
    assert!(shows(
        &telemetry,
        r#"reveille_pushes_open{tenant="emea",priority="bulk"} 0"#
    ));
    assert!(shows(
        &telemetry,
        r#"reveille_push_oldest_due_seconds{tenant="emea"} 0"#
    ));
}

#[tokio::test(start_paused = true)]
async fn every_close_reason_has_a_counter() {
    let telemetry = telemetry();
    let tenant = tenant(&telemetry);
    telemetry.asks_closed(&tenant, CloseReason::Expired(ExpiryCause::NoChannel), 2);
    telemetry.asks_closed(&tenant, CloseReason::CheckedIn, 3);
    assert!(shows(
        &telemetry,
        r#"reveille_asks_closed_total{tenant="emea",reason="expired"} 2"#
    ));
    assert!(shows(
        &telemetry,
        r#"reveille_asks_closed_total{tenant="emea",reason="checked_in"} 3"#
    ));
}

#[tokio::test(start_paused = true)]
async fn one_frozen_actor_among_many_shows() {
    let telemetry = telemetry();
    let start = Instant::now();
    let frozen = telemetry.actor(ActorKind::Dispatcher, start);
    let alive = telemetry.actor(ActorKind::Dispatcher, start);
    let later = start + Duration::from_secs(90);
    let age =
        |seconds| format!(r#"reveille_actor_progress_age_seconds{{actor="dispatcher"}} {seconds}"#);
    alive.progressed(later);

    let text = telemetry.render(later);
    assert!(text.contains(&age(90)), "{text}");
    frozen.progressed(later);
    assert!(telemetry.render(later).contains(&age(0)));
    drop((frozen, alive));
    assert!(
        !telemetry
            .render(later)
            .contains("reveille_actor_progress_age_seconds{")
    );
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_counted_and_logged_with_its_place() {
    let telemetry = telemetry();
    let hooked = telemetry.clone();
    // The hook belongs to the whole process, so the test looks at its own panic only and puts the old hook back.
    let before = std::panic::take_hook();
    install_panic_hook(hooked);
    let lines = json("info", || {
        let caught = std::panic::catch_unwind(|| panic!("the floor is missing"));
        assert!(caught.is_err());
    });
    std::panic::set_hook(before);

    let line = lines
        .iter()
        .find(|line| line["message"] == "panicked: the floor is missing")
        .unwrap();
    assert!(
        line["location"]
            .as_str()
            .unwrap()
            .contains("telemetry/tests.rs"),
        "{line}"
    );
    assert!(
        !telemetry
            .render(Instant::now())
            .contains("reveille_panics_total 0")
    );
}

#[test]
fn webhooks_that_are_switched_off_are_counted_until_they_are_on_again() {
    let telemetry = telemetry();
    let counted = |count: u64| {
        let line = format!(r#"reveille_webhooks_disabled{{tenant="emea"}} {count}"#);
        assert!(shows(&telemetry, &line), "{line}");
    };

    telemetry.webhooks_disabled(&[(TenantId::new("emea").unwrap(), 2)].into());
    counted(2);
    telemetry.webhooks_disabled(&BTreeMap::new());
    counted(0);
}
