//! One notification on its way to WNS.

use std::time::Duration;

use jiff::Timestamp;
use prometheus::IntGauge;
use tokio::time::Instant;

use crate::{
    domain::{
        ask::Class,
        id::DeviceKey,
        wns::{
            channel_uri::UriHash,
            reply::{Outcome, OutcomeKind, Trace, UnavailableKind},
            text::Text,
        },
    },
    telemetry::{AppMetrics, RecentFailure, ResultClass, Telemetry},
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
        if result == ResultClass::Success {
            tracing::trace!(app = %app.app, device = %attempt.device.device, "woke a device");
            return;
        }
        self.failure(kind.label(), app.app.as_str(), now, |suppressed| {
            write_line(app, attempt, suppressed);
            self.0.recent.keep(&app.app, recent(attempt, at));
        });
    }
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
                ms_cv = text(&attempt.trace.ms_cv),
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
        ms_cv: owned(&attempt.trace.ms_cv),
        msg_id: owned(&attempt.trace.msg_id),
        debug_trace: owned(&attempt.trace.debug_trace),
        description: owned(&attempt.trace.description),
    }
}
