//! Spans and lines about what is traced.

use std::sync::Mutex;

use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{SpanData, SpanExporter},
};

use super::*;

const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Keeps what is exported.
#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Kept {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

fn exporting(ratio: f64) -> (Telemetry, Kept) {
    let (telemetry, kept) = (telemetry(), Kept::default());
    telemetry.export_traces(kept.clone(), ratio);
    (telemetry, kept)
}

/// All that was exported until the end.
fn spans(telemetry: &Telemetry, kept: &Kept) -> Vec<SpanData> {
    telemetry.stop_traces(Duration::from_secs(10));
    kept.0.lock().unwrap().clone()
}

fn context(number: u8) -> TraceContext {
    TraceContext::new([number; 16], [number; 8]).unwrap()
}

fn unanswered() -> Outcome {
    Outcome::Unavailable {
        kind: UnavailableKind::Timeout,
        retry_after: None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_line_about_an_attempt_leads_to_its_trace_and_to_the_request_that_was_sent() {
    let (telemetry, nothing) = (telemetry(), Trace::default());
    let lines = json("info", || {
        let traces = [context(1)];
        finish_traced(
            &telemetry,
            &unanswered(),
            (&nothing, &traces),
            Instant::now(),
        );
    });
    let sent = MsCv::from_random([1; 16]);
    assert_eq!(lines[0]["trace_id"], "01".repeat(16));
    // Nobody answered, but the request had a vector.
    assert_eq!(lines[0]["ms_cv"], sent.as_str());
    let kept = telemetry.recent_failures(&AppId::new("contoso").unwrap());
    assert_eq!(kept[0].ms_cv.as_deref(), Some(sent.as_str()));
}

#[tokio::test(start_paused = true)]
async fn a_line_about_what_is_not_traced_has_no_trace() {
    let telemetry = telemetry();
    let lines = json("info", || {
        finish(&telemetry, &unanswered(), Instant::now());
    });
    assert!(lines[0].get("trace_id").is_none(), "{}", lines[0]);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_for_several_calls_is_in_one_trace_and_linked_to_the_others() {
    let (telemetry, kept) = exporting(0.0);
    let traces = [context(1), context(2), context(3)];
    finish_traced(
        &telemetry,
        &unanswered(),
        (&trace(), &traces),
        Instant::now(),
    );

    let spans = spans(&telemetry, &kept);

    assert_eq!(spans.len(), 1);
    let span = &spans[0];
    assert_eq!(span.span_context.trace_id().to_bytes(), [1; 16]);
    assert_eq!(span.parent_span_id.to_bytes(), [1; 8]);
    let linked: Vec<u8> = span
        .links
        .iter()
        .map(|link| link.span_context.trace_id().to_bytes()[0])
        .collect();
    assert_eq!(linked, [2, 3]);
    let took = span.end_time.duration_since(span.start_time).unwrap();
    assert_eq!(took, Duration::from_millis(30));
}

#[tokio::test(start_paused = true)]
async fn a_callers_header_decides_and_an_invalid_one_is_as_none() {
    let unsampled = CALLER.replace("-01", "-00");
    for (header, ratio, traced) in [
        (Some(CALLER), 0.0, true),
        (Some(unsampled.as_str()), 1.0, false),
        (Some("00-nonsense"), 1.0, true),
        (Some("00-nonsense"), 0.0, false),
        (None, 1.0, true),
        (None, 0.0, false),
    ] {
        let (telemetry, kept) = exporting(ratio);
        let span = telemetry.request_span(header, "POST", "/v1/x");
        assert_eq!(span.is_some(), traced, "{header:?} {ratio}");
        if let Some(span) = span {
            telemetry.request_traced(span, 503);
        }
        let spans = spans(&telemetry, &kept);
        assert_eq!(spans.len(), usize::from(traced), "{header:?} {ratio}");
        for span in spans {
            assert_eq!(span.name, "POST /v1/x");
            assert_eq!(span.status, opentelemetry::trace::Status::error(""));
            let of_caller = span.span_context.trace_id().to_bytes()[0] == 0x4b;
            assert_eq!(of_caller, header == Some(CALLER));
        }
    }
}

#[test]
fn without_an_exporter_nothing_is_traced() {
    let telemetry = telemetry();
    assert!(telemetry.request_span(Some(CALLER), "GET", "/").is_none());
    for result in ["sent", "failed"] {
        let line = format!("reveille_trace_exports_total{{result=\"{result}\"}} 0");
        assert!(shows(&telemetry, &line), "alerts need a beginning at zero");
    }
}
