//! Traces over OTLP: one from the call to the attempts, nothing when off, and a collector that cannot do harm.

use std::time::{Duration, Instant};

use reveille::sandbox::Behaviour;
use serde_json::{Value, json};

use crate::{
    collector::{Collector, Told},
    rig::{Rig, TENANT, until},
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";
/// Devices of one call that are traced.
const TRACED_MAX: usize = 100;

/// A rig whose broker traces to `endpoint`, and exports without much delay.
fn traced(devices: u32, behaviour: Behaviour, endpoint: &str, sample: &str) -> Rig {
    let mut rig = Rig::new(devices, behaviour);
    rig.extra =
        format!("[traces]\nendpoint = \"{endpoint}\"\nsample = \"{sample}\"\ntimeout = \"1s\"\n");
    rig.env.push(("OTEL_BSP_SCHEDULE_DELAY", "100".to_owned()));
    rig
}

/// Pushes `devices` in one call with this header; gives the answer.
async fn push(rig: &Rig, devices: &[String], traceparent: &str) -> Value {
    let url = rig.url(&format!("/v1/tenants/{TENANT}/pushes"));
    let request = rig.http.post(url).header("traceparent", traceparent);
    let answer = request.json(&json!({ "devices": devices })).send().await;
    answer.unwrap().json().await.unwrap()
}

fn devices(rig: &Rig) -> Vec<String> {
    rig.sandbox
        .channels(TENANT)
        .map(|(d, _)| d.to_string())
        .collect()
}

fn attempts(spans: &[Told]) -> Vec<&Told> {
    spans.iter().filter(|s| s.name == "push to WNS").collect()
}

fn calls(spans: &[Told]) -> Vec<&Told> {
    spans.iter().filter(|span| span.server).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_goes_from_the_call_to_attempts_that_another_broker_makes_later() {
    // given devices whose notifications fail, and a call whose caller records its trace
    let collector = Collector::start().await;
    let failing = Behaviour {
        replies: vec!["503=100%".parse().unwrap()],
        ..Behaviour::default()
    };
    let mut rig = traced(3, failing, &collector.url, "0%");
    rig.start().await;
    rig.register_all().await;
    let answer = push(&rig, &devices(&rig), &format!("00-{TRACE}-{CALLER}-01")).await;
    assert_eq!(answer["opened"], 3, "{answer}");
    until("every device was tried", async || {
        attempts(&collector.spans()).len() >= 3
    })
    .await;

    // when the broker dies and another one goes on
    rig.kill();
    let before = collector.spans().len();
    rig.sandbox.set_behaviour(Behaviour::default()).unwrap();
    rig.start().await;
    rig.until_all_closed().await;
    until("the last attempts were told", async || {
        let spans = collector.spans();
        let later = &spans[before..];
        attempts(later).iter().filter(|s| !s.failed).count() >= 3
    })
    .await;

    // then all of it is one trace: the caller's span, below it the call, below that every attempt of both brokers
    let spans = collector.spans();
    assert!(spans.iter().all(|span| span.trace == TRACE), "{spans:#?}");
    let calls = calls(&spans);
    assert_eq!(calls.len(), 1, "{spans:#?}");
    let call = calls[0];
    assert_eq!(call.name, "POST /v1/tenants/{tenant}/pushes");
    assert_eq!(call.parent, CALLER);
    assert_eq!(call.attributes["http.response.status_code"], "202");
    for attempt in attempts(&spans) {
        assert_eq!(attempt.parent, call.id, "{attempt:#?}");
        assert!(attempt.nanos > 0);
        assert_eq!(
            attempt.failed,
            attempt.attributes["reveille.outcome"] != "accepted"
        );
        assert_eq!(attempt.attributes["reveille.app"], TENANT);
        assert_eq!(attempt.attributes["wns.ms_cv"].len(), 24);
    }
    // and a line in the log leads to it
    let line = rig.logged();
    let line = line
        .lines()
        .find(|line| line.contains("WNS is unavailable"));
    assert!(line.unwrap().contains(TRACE), "{line:?}");
    // and neither a token, nor a secret, nor a channel URI was told
    let secret = rig.sandbox.credentials(TENANT).unwrap().secrets.remove(0);
    let mut private = vec!["EwAAAA".to_owned(), "AwYAAA".to_owned(), secret];
    private.extend(rig.sandbox.channels(TENANT).map(|(_, uri)| uri.to_string()));
    for body in collector.raw() {
        let body = String::from_utf8_lossy(&body);
        assert!(!private.iter().any(|text| body.contains(text)), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_call_has_a_trace_that_a_person_can_look_at() {
    let collector = Collector::start().await;
    let with_login = collector.url.replace("http://", "http://ops:pass%2Fword@");
    let mut rig = traced(130, Behaviour::default(), &with_login, "100%");
    rig.start().await;
    rig.register_all().await;

    push(&rig, &devices(&rig), &format!("00-{TRACE}-{CALLER}-01")).await;
    rig.until_all_closed().await;
    rig.signal("-TERM");
    assert_eq!(rig.ended().await, Some(0));

    // Everything that waited was exported at the end.
    assert_eq!(attempts(&collector.spans()).len(), TRACED_MAX);
    let login = Some("Basic b3BzOnBhc3Mvd29yZA==".to_owned());
    assert!(collector.logins().iter().all(|given| *given == login));
    assert!(!rig.logged().contains("pass/word") && !rig.logged().contains("pass%2Fword"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_goes_from_the_start_of_a_campaign_to_the_attempts_of_its_first_targets() {
    // given a caller who records the start of a campaign, and no other call that is sampled
    const TARGETS: u32 = TRACED_MAX as u32 + 30;
    let collector = Collector::start().await;
    let mut rig = traced(TARGETS, Behaviour::default(), &collector.url, "0%");
    rig.start().await;
    rig.register_all().await;

    let url = rig.url(&format!("/v1/tenants/{TENANT}/campaigns"));
    let body = json!({"name": "c", "reason": "r", "goal": "accepted", "targets": "all"});
    let made = rig.http.post(&url).json(&body).send().await.unwrap();
    let made: Value = made.json().await.unwrap();
    let id = made["id"].as_str().unwrap();

    // when every target was reached
    let start = rig.http.post(format!("{url}/{id}/start"));
    let traceparent = format!("00-{TRACE}-{CALLER}-01");
    let started = start.header("traceparent", traceparent).send().await;
    assert!(started.unwrap().status().is_success());
    until("every target was reached", async || {
        rig.reached() == u64::from(TARGETS)
    })
    .await;
    rig.signal("-TERM");
    assert_eq!(rig.ended().await, Some(0));

    // then the first attempts are below the call, in the caller's trace, and the others were not told
    let spans = collector.spans();
    let call = calls(&spans)[0];
    assert_eq!(call.name, "POST /v1/tenants/{tenant}/campaigns/{id}/start");
    assert_eq!((call.trace.as_str(), call.parent.as_str()), (TRACE, CALLER));
    assert_eq!(attempts(&spans).len(), TRACED_MAX);
    for attempt in attempts(&spans) {
        assert_eq!((&attempt.trace, &attempt.parent), (&call.trace, &call.id));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_told_when_traces_are_off_or_not_sampled() {
    let collector = Collector::start().await;
    let unsampled = format!("00-{TRACE}-{CALLER}-00");
    let sampled = format!("00-{TRACE}-{CALLER}-01");
    let broken = format!("00-{TRACE}-{CALLER}-01-more");
    // Variables alone do not switch tracing on.
    let mut off = Rig::new(3, Behaviour::default());
    off.env
        .push(("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.clone()));
    let none = traced(3, Behaviour::default(), &collector.url, "0%");
    let all = traced(3, Behaviour::default(), &collector.url, "100%");
    for (mut rig, header) in [(off, sampled), (none, broken), (all, unsampled)] {
        rig.start().await;
        rig.register_all().await;
        let before = collector.spans().len();

        push(&rig, &devices(&rig), &header).await;
        rig.until_all_closed().await;
        rig.signal("-TERM");
        assert_eq!(rig.ended().await, Some(0));

        let spans = collector.spans();
        let told = spans[before..]
            .iter()
            .any(|s| s.name == "push to WNS" || s.name == "POST /v1/tenants/{tenant}/pushes");
        assert!(!told, "{header}: {spans:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_never_answers_neither_slows_nor_stops_pushes() {
    // given a collector that takes connections and says nothing, and more devices than spans may wait
    const DEVICES: u32 = 4_000;
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1/traces", silent.local_addr().unwrap());
    let mut rig = traced(DEVICES, Behaviour::default(), &url, "100%");
    rig.start().await;
    rig.register_all().await;

    // when all are pushed, a hundred a call so that each attempt is traced
    let began = Instant::now();
    for devices in devices(&rig).chunks(TRACED_MAX) {
        push(&rig, devices, "").await;
    }
    rig.until_all_closed().await;
    let took = began.elapsed();
    until("the failure shows", async || {
        let metrics = rig.http.get(rig.url("/metrics")).send().await.unwrap();
        let metrics = metrics.text().await.unwrap();
        !metrics.contains("reveille_trace_exports_total{result=\"failed\"} 0")
    })
    .await;
    rig.signal("-TERM");
    let stopped = Instant::now();
    assert_eq!(rig.ended().await, Some(0));

    // then each was reached once, in the time that it takes without a collector, and the end is not held up
    assert_eq!(rig.sandbox.ledger().devices.accepted, u64::from(DEVICES));
    assert_eq!(rig.sandbox.ledger().devices.repeats, 0);
    assert!(took < Duration::from_secs(30), "{took:?}");
    assert!(
        stopped.elapsed() < Duration::from_secs(10),
        "{:?}",
        stopped.elapsed()
    );
    let log = rig.logged();
    let lines = log
        .lines()
        .filter(|line| line.contains("did not take traces"));
    assert!((1..=4).contains(&lines.count()), "{log}");
}
