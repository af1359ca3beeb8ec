//! One notification on its way to WNS.

use std::time::Duration;

use jiff::Timestamp;
use opentelemetry::{KeyValue, trace::SpanKind};
use prometheus::IntGauge;
use tokio::time::Instant;

use crate::{
    domain::{
        ask::Class,
        id::DeviceKey,
        trace_context::TraceContext,
        wns::{
            channel_uri::UriHash,
            ms_cv::MsCv,
            reply::{Outcome, OutcomeKind, Trace, UnavailableKind},
            text::Text,
        },
    },
    telemetry::{AppMetrics, RecentFailure, ResultClass, Telemetry, traces::Ended},
};

/// A notification on the wire; counted until dropped, however the attempt ends.
#[derive(Debug)]
pub struct InFlight(IntGauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// An attempt that has ended.
#[derive(Clone, Copy, Debug)]
pub struct AttemptFinished<'a> {
    /// The device; logged, never a label.
    pub device: &'a DeviceKey,
    /// How urgent the push was.
    pub class: Class,
    /// The channel's host.
    pub host: &'a str,
    /// The channel's keyed hash.
    pub channel: UriHash,
    /// What WNS's answer means.
    pub outcome: &'a Outcome,
    /// What support needs to know of it.
    pub trace: &'a Trace,
    /// The correlation vector that was sent; WNS may answer with another one, or not at all.
    pub ms_cv: &'a MsCv,
    /// The recorded traces that it belongs to.
    pub traces: &'a [TraceContext],
    /// When it began, by the time of day.
    pub began_at: Timestamp,
    /// From sending to the end of the answer.
    pub took: Duration,
}

impl Telemetry {
    /// A notification goes on the wire. Keep the answer until it has ended.
    #[must_use]
    pub fn attempt_started(&self, app: &AppMetrics) -> InFlight {
        app.in_flight.inc();
        InFlight(app.in_flight.clone())
    }

    /// A notification was answered, or not. `at` is the time of day, `now` the same moment for intervals.
    pub fn attempt_finished(
        &self,
        app: &AppMetrics,
        attempt: &AttemptFinished<'_>,
        at: Timestamp,
        now: Instant,
    ) {
        let kind = attempt.outcome.kind();
        let result = result_class(kind);
        app.attempts[kind as usize].inc();
        app.results[attempt.class as usize][result as usize].inc();
        app.duration.observe(attempt.took.as_secs_f64());
        self.attempt_traced(app, attempt);
        if result == ResultClass::Success {
            tracing::trace!(
                app = %app.app,
                tenant = %attempt.device.tenant,
                device = %attempt.device.device,
                trace_id = trace_id(attempt),
                ms_cv = ms_cv(attempt),
                "woke a device"
            );
            return;
        }
        let recent = || recent(attempt, at);
        self.0.recent.keep(&app.app, (kind.label(), at), recent);
        self.failure(kind.label(), app.app.as_str(), now, |suppressed| {
            write_line(app, attempt, suppressed);
        });
    }

    /// Tells the tracing system of an attempt that belongs to a recorded trace.
    fn attempt_traced(&self, app: &AppMetrics, attempt: &AttemptFinished<'_>) {
        let Some(traces) = self.0.traces.get().filter(|_| !attempt.traces.is_empty()) else {
            return;
        };
        let ended = Ended {
            name: "push to WNS",
            kind: SpanKind::Client,
            began: attempt.began_at.into(),
            took: attempt.took,
            attributes: attributes(app, attempt),
            error: match result_class(attempt.outcome.kind()) {
                ResultClass::Success => None,
                ResultClass::Transient | ResultClass::Refused => Some(attempt.outcome.label()),
            },
        };
        traces.ended(attempt.traces, ended);
    }
}

/// What a span tells of an attempt: what the line in the log does.
fn attributes(app: &AppMetrics, attempt: &AttemptFinished<'_>) -> Vec<KeyValue> {
    let all = [
        ("http.request.method", "POST"),
        ("server.address", attempt.host),
        ("reveille.app", app.app.as_str()),
        ("reveille.tenant", attempt.device.tenant.as_str()),
        ("reveille.device", attempt.device.device.as_str()),
        ("reveille.priority", attempt.class.as_str()),
        ("reveille.outcome", attempt.outcome.label()),
        ("reveille.cause", &cause(attempt.outcome)),
        ("wns.ms_cv", ms_cv(attempt)),
        ("wns.msg_id", text(&attempt.trace.msg_id)),
        ("wns.debug_trace", text(&attempt.trace.debug_trace)),
    ];
    all.into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| KeyValue::new(name, value.to_owned()))
        .collect()
}

const fn result_class(kind: OutcomeKind) -> ResultClass {
    match kind {
        OutcomeKind::Accepted => ResultClass::Success,
        OutcomeKind::Dropped
        | OutcomeKind::ChannelThrottled
        | OutcomeKind::TokenRefused
        | OutcomeKind::AppThrottled
        | OutcomeKind::Unavailable => ResultClass::Transient,
        OutcomeKind::ChannelRefused
        | OutcomeKind::DomainBlocked
        | OutcomeKind::OurFault
        | OutcomeKind::Redirected => ResultClass::Refused,
    }
}

/// Whether failures of this class happen to single devices every day: many of them are no warning either.
pub(super) fn is_routine(class: &str) -> bool {
    [
        OutcomeKind::Dropped,
        OutcomeKind::ChannelThrottled,
        OutcomeKind::ChannelRefused,
    ]
    .iter()
    .any(|kind| kind.label() == class)
}

/// What happens to single devices every day is no warning; what needs somebody is an error.
fn write_line(app: &AppMetrics, attempt: &AttemptFinished<'_>, suppressed: u64) {
    let (write, message): (WriteLine, &str) = match attempt.outcome.kind() {
        OutcomeKind::Accepted => (debug_line, "WNS took a notification"),
        OutcomeKind::Dropped => (debug_line, "WNS dropped a notification"),
        OutcomeKind::ChannelThrottled => (info_line, "WNS throttles a channel"),
        OutcomeKind::ChannelRefused => (info_line, "WNS refuses a channel"),
        OutcomeKind::TokenRefused => (warn_line, "WNS refuses the access token"),
        OutcomeKind::AppThrottled => (warn_line, "WNS throttles the app"),
        OutcomeKind::Unavailable => (warn_line, "WNS is unavailable"),
        OutcomeKind::DomainBlocked => (error_line, "WNS blocks this sender"),
        OutcomeKind::OurFault => (error_line, "WNS calls the request wrong"),
        OutcomeKind::Redirected => (error_line, "WNS redirects, which is not followed"),
    };
    write(app, attempt, suppressed, message);
}

type WriteLine = fn(&AppMetrics, &AttemptFinished<'_>, u64, &str);

/// A level must be known when the program is built, so each has a function.
macro_rules! line {
    ($name:ident, $level:ident) => {
        fn $name(app: &AppMetrics, attempt: &AttemptFinished<'_>, suppressed: u64, message: &str) {
            tracing::$level!(
                app = %app.app,
                tenant = %attempt.device.tenant,
                device = %attempt.device.device,
                outcome = attempt.outcome.label(),
                cause = cause(attempt.outcome),
                host = attempt.host,
                channel = %attempt.channel,
                trace_id = trace_id(attempt),
                ms_cv = ms_cv(attempt),
                msg_id = text(&attempt.trace.msg_id),
                debug_trace = text(&attempt.trace.debug_trace),
                description = text(&attempt.trace.description),
                took_seconds = attempt.took.as_secs_f64(),
                suppressed,
                "{message}"
            );
        }
    };
}
line!(debug_line, debug);
line!(info_line, info);
line!(warn_line, warn);
line!(error_line, error);

/// The outcome's own detail in a word or number.
fn cause(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Unavailable {
            kind: UnavailableKind::Http { status },
            ..
        }
        | Outcome::DomainBlocked { status }
        | Outcome::OurFault { status, .. }
        | Outcome::Redirected { status } => status.to_string(),
        Outcome::Unavailable { kind, .. } => kind.label().to_owned(),
        Outcome::ChannelRefused { cause } => cause.label().to_owned(),
        Outcome::AppThrottled { retry_after } => format!("for {}s", retry_after.as_secs()),
        Outcome::ChannelThrottled { .. }
        | Outcome::Accepted { .. }
        | Outcome::Dropped
        | Outcome::TokenRefused => String::new(),
    }
}

/// The trace that the attempt belongs to, if one is recorded.
fn trace_id(attempt: &AttemptFinished<'_>) -> Option<String> {
    attempt.traces.first().map(|trace| trace.trace_text())
}

/// WNS's correlation vector if it answered with one, otherwise the one that was sent.
fn ms_cv<'a>(attempt: &AttemptFinished<'a>) -> &'a str {
    let told = attempt.trace.ms_cv.as_ref().map(Text::as_str);
    told.unwrap_or_else(|| attempt.ms_cv.as_str())
}

fn text(value: &Option<Text>) -> &str {
    value.as_ref().map_or("", Text::as_str)
}

fn recent(attempt: &AttemptFinished<'_>, at: Timestamp) -> RecentFailure {
    let owned = |value: &Option<Text>| value.as_ref().map(|text| text.as_str().to_owned());
    RecentFailure {
        at,
        outcome: attempt.outcome.label(),
        host: attempt.host.to_owned(),
        channel: attempt.channel.to_string(),
        ms_cv: Some(ms_cv(attempt).to_owned()),
        msg_id: owned(&attempt.trace.msg_id),
        debug_trace: owned(&attempt.trace.debug_trace),
        description: owned(&attempt.trace.description),
    }
}
