//! Traces: how a few pushes are followed from the API to WNS in a tracing system.

use std::time::Duration;

use super::{
    kind::{duration, parsed, url},
    private_url::PrivateUrl,
    schema::settings,
};

/// What a collector may be reached by.
const SCHEMES: [&str; 2] = ["http", "https"];

/// The part of calls that is traced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample(f64);

// It is never NaN.
impl Eq for Sample {}

impl Sample {
    /// The part, from 0 to 1.
    #[must_use]
    pub fn ratio(self) -> f64 {
        self.0
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        let percent = text
            .strip_suffix('%')
            .and_then(|number| number.parse().ok());
        percent
            .filter(|percent| (0.0..=100.0).contains(percent))
            .map(|percent: f64| Self(percent / 100.0))
            .ok_or("is not from \"0%\" to \"100%\"")
    }
}

settings! {
    /// Traces: a few calls are followed from the API to the attempts that they cause, and told to a collector over OTLP
    /// (protobuf over HTTP). Off unless `endpoint` is there. Headers that the collector asks for come from the variable
    /// `OTEL_EXPORTER_OTLP_HEADERS`, attributes of the broker from `OTEL_RESOURCE_ATTRIBUTES`.
    pub struct Traces at "traces" {
        /// Where the collector takes traces.
        endpoint: Option<PrivateUrl> = url("a URL such as `http://127.0.0.1:4318/v1/traces`", &SCHEMES).optional();
        /// Part of the calls without a `traceparent` header that is traced. A caller's header decides for its call: it is
        /// traced if the caller records it.
        sample: Sample = parsed("a part such as `1%` or `0.1%`", Sample::parse).default("1%");
        /// Longest time for one request to the collector.
        timeout: Duration = duration("100ms", "1m").default("10s");
    }
}
