//! Lines about failed attempts, and how few of them there are in a storm.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_failed_attempt_is_logged_with_what_support_asks_for() {
    let telemetry = telemetry();
    let outcome = Outcome::Unavailable {
        kind: UnavailableKind::Http { status: 503 },
        retry_after: None,
    };

    let lines = json("info", || finish(&telemetry, &outcome, Instant::now()));

    let [line] = lines.as_slice() else {
        panic!("{lines:?}")
    };
    for (field, value) in [
        ("level", "WARN"),
        ("app", "contoso"),
        ("tenant", "emea"),
        ("device", "pc-1"),
        ("outcome", "unavailable"),
        ("cause", "503"),
        ("host", "db5p.notify.windows.com"),
        ("channel", "0101010101010101"),
        ("ms_cv", "AAAAAAAAAAAAAAAAAAAAAA.0"),
        ("msg_id", "331FA2FC1F350267"),
        ("debug_trace", "SG2PEPF0005589B"),
    ] {
        assert_eq!(line[field], value, "{line}");
    }
    let kept = telemetry.recent_failures(&AppId::new("contoso").unwrap());
    assert_eq!(kept.len(), 1);
    assert_eq!(
        (kept[0].at, kept[0].msg_id.as_deref()),
        (at(), Some("331FA2FC1F350267"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_failures_writes_two_lines_and_counts_every_attempt() {
    let telemetry = telemetry();
    let outcome = Outcome::ChannelRefused {
        cause: ChannelRefusal::Gone,
    };
    let start = Instant::now();

    let lines = json("info", || {
        (0..5000).for_each(|_| finish(&telemetry, &outcome, start));
        telemetry.summarise_failures(start + Duration::from_secs(10));
    });

    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(
        (&lines[1]["class"], &lines[1]["scope"]),
        (&"channel_refused".into(), &"contoso".into())
    );
    assert_eq!(lines[1]["count"], 4999);
    assert!(shows(
        &telemetry,
        r#"reveille_attempts_total{app="contoso",outcome="channel_refused"} 5000"#
    ));
    assert!(shows(
        &telemetry,
        r#"reveille_log_lines_suppressed_total{class="channel_refused"} 4999"#
    ));
}

#[tokio::test(start_paused = true)]
async fn recent_failures_are_examples_of_each_outcome_and_bounded() {
    let telemetry = telemetry();
    let rare = Outcome::Redirected { status: 302 };
    let common = Outcome::ChannelRefused {
        cause: ChannelRefusal::Gone,
    };

    finish(&telemetry, &rare, Instant::now());
    (0..5000).for_each(|_| finish(&telemetry, &common, Instant::now()));

    let kept = telemetry.recent_failures(&AppId::new("contoso").unwrap());
    let of = |outcome: &str| kept.iter().filter(|kept| kept.outcome == outcome).count();
    assert_eq!(of("redirected"), 1);
    assert_eq!(of("channel_refused"), RECENT_PER_OUTCOME);
    assert_eq!(telemetry.recent_failures(&AppId::new("other").unwrap()), []);
}
