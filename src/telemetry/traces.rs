//! Traces: the calls that are sampled, and the attempts that they cause, as spans for a tracing system.
//!
//! Without an exporter nothing is made here. With one, only what is sampled costs anything: an attempt belongs to a trace
//! because its ask carries the trace's id, so a broker that is started later joins it. Spans wait in a bounded queue for a
//! thread of their own; when the collector does not keep up they are dropped, never waited for.

use std::time::{Duration, SystemTime};

use opentelemetry::{
    Context, KeyValue, SpanId, TraceFlags, TraceId,
    trace::{
        Link, Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt, TraceState,
        Tracer as _, TracerProvider as _,
    },
};
use opentelemetry_sdk::{
    Resource,
    trace::{Sampler, SdkTracer, SdkTracerProvider, Span, SpanExporter},
};

use crate::domain::trace_context::{TraceContext, TraceParent};

/// The service as tracing systems list it, and the scope of its spans.
const SERVICE: &str = "reveille";
/// Answers from here on are failures of the broker, as OpenTelemetry counts for servers.
const SERVER_ERRORS: u16 = 500;

/// Makes spans and hands them to the exporter.
#[derive(Debug)]
pub(super) struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

/// A call that is being answered, in a trace that is recorded. It ends when dropped.
#[derive(Debug)]
pub struct RequestSpan {
    span: Span,
    context: TraceContext,
}

impl RequestSpan {
    /// Where the spans of what the call causes belong.
    #[must_use]
    pub fn context(&self) -> TraceContext {
        self.context
    }

    /// Notes the answer.
    pub(super) fn answered(&mut self, code: u16) {
        let code_value = KeyValue::new("http.response.status_code", i64::from(code));
        self.span.set_attribute(code_value);
        if code >= SERVER_ERRORS {
            self.span.set_status(Status::error(""));
        }
    }
}

/// A span that is over.
pub(super) struct Ended {
    pub(super) name: &'static str,
    pub(super) kind: SpanKind,
    pub(super) began: SystemTime,
    pub(super) took: Duration,
    pub(super) attributes: Vec<KeyValue>,
    /// What went wrong, if something did.
    pub(super) error: Option<&'static str>,
}

impl Traces {
    /// Hands spans to `exporter`: those of calls whose caller records them, and `ratio` of the others.
    pub(super) fn new(exporter: impl SpanExporter + 'static, ratio: f64) -> Self {
        let resource = Resource::builder()
            .with_service_name(SERVICE)
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio)));
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_sampler(sampler)
            .with_batch_exporter(exporter)
            .build();
        let tracer = provider.tracer(SERVICE);
        Self { provider, tracer }
    }

    /// Begins the span of a call; none if its trace is not recorded.
    pub(super) fn request(
        &self,
        traceparent: Option<&str>,
        method: &'static str,
        route: &'static str,
    ) -> Option<RequestSpan> {
        let parent = traceparent.and_then(TraceParent::parse);
        let parent = parent.map_or_else(Context::new, |parent| {
            remote(parent.context, parent.sampled)
        });
        let builder = SpanBuilder::from_name("").with_kind(SpanKind::Server);
        let mut span = self.tracer.build_with_context(builder, &parent);
        let context = sampled(&span)?;
        span.update_name(format!("{method} {route}"));
        span.set_attributes([
            KeyValue::new("http.request.method", method),
            KeyValue::new("http.route", route),
        ]);
        Some(RequestSpan { span, context })
    }

    /// Tells of a span that is over, in the first of these traces and linked to the others.
    pub(super) fn ended(&self, belongs: &[TraceContext], ended: Ended) {
        let Some((parent, others)) = belongs.split_first() else {
            return;
        };
        let links = others
            .iter()
            .map(|other| Link::with_context(span_context(*other, true)))
            .collect();
        let builder = SpanBuilder::from_name(ended.name)
            .with_kind(ended.kind)
            .with_start_time(ended.began)
            .with_attributes(ended.attributes)
            .with_links(links);
        let mut span = self
            .tracer
            .build_with_context(builder, &remote(*parent, true));
        if let Some(error) = ended.error {
            span.set_status(Status::error(error));
        }
        let end = ended.began.checked_add(ended.took);
        span.end_with_timestamp(end.unwrap_or(ended.began));
    }

    /// Exports what waits, for so long at most. Blocks the thread.
    pub(super) fn stop(&self, longest: Duration) -> Result<(), String> {
        let stopped = self.provider.shutdown_with_timeout(longest);
        stopped.map_err(|error| error.to_string())
    }
}

/// A parent somewhere else: at the caller, or in a call that was answered long ago.
fn remote(context: TraceContext, sampled: bool) -> Context {
    Context::new().with_remote_span_context(span_context(context, sampled))
}

fn span_context(context: TraceContext, sampled: bool) -> SpanContext {
    SpanContext::new(
        TraceId::from_bytes(context.trace_id()),
        SpanId::from_bytes(context.span_id()),
        TraceFlags::default().with_sampled(sampled),
        true,
        TraceState::default(),
    )
}

/// Where a span is, if it is recorded.
fn sampled(span: &Span) -> Option<TraceContext> {
    let context = span.span_context();
    if !context.is_sampled() {
        return None;
    }
    TraceContext::new(context.trace_id().to_bytes(), context.span_id().to_bytes())
}
