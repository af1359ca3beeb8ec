//! An OpenTelemetry collector as far as a test needs one: takes OTLP over HTTP and keeps what it was told.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{
    Request, Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    trace::v1::span::SpanKind,
};
use prost::Message;

use crate::endpoint::Endpoint;

/// A span as it was told, its ids in hexadecimal digits.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) name: String,
    pub(crate) trace: String,
    pub(crate) id: String,
    pub(crate) parent: String,
    pub(crate) server: bool,
    pub(crate) failed: bool,
    pub(crate) nanos: u64,
    pub(crate) attributes: HashMap<String, String>,
}

/// Bodies with the login that they came with.
type Requests = Arc<Mutex<Vec<(Bytes, Option<String>)>>>;

/// Takes spans at an address of its own until dropped.
pub(crate) struct Collector {
    pub(crate) url: String,
    requests: Requests,
    _endpoint: Endpoint,
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let requests = Requests::default();
        let kept = requests.clone();
        let endpoint = Endpoint::start(move |request| take(request, kept.clone())).await;
        Self {
            url: format!("http://{}/v1/traces", endpoint.address),
            requests,
            _endpoint: endpoint,
        }
    }

    /// The bodies of all requests, as they came.
    pub(crate) fn raw(&self) -> Vec<Bytes> {
        let requests = self.requests.lock().unwrap();
        requests.iter().map(|(body, _)| body.clone()).collect()
    }

    /// The logins of all requests.
    pub(crate) fn logins(&self) -> Vec<Option<String>> {
        let requests = self.requests.lock().unwrap();
        requests.iter().map(|(_, login)| login.clone()).collect()
    }

    /// Every span, and that each comes from a service of our name.
    pub(crate) fn spans(&self) -> Vec<Told> {
        let mut all = Vec::new();
        for body in self.raw() {
            let request = ExportTraceServiceRequest::decode(body).expect("an OTLP request");
            for of_service in request.resource_spans {
                let resource = texts(of_service.resource.unwrap().attributes);
                assert_eq!(resource["service.name"], "reveille");
                let spans = of_service.scope_spans.into_iter().flat_map(|s| s.spans);
                all.extend(spans.map(|span| Told {
                    name: span.name,
                    trace: digits(&span.trace_id),
                    id: digits(&span.span_id),
                    parent: digits(&span.parent_span_id),
                    server: span.kind == SpanKind::Server as i32,
                    failed: span.status.is_some_and(|status| status.code == 2),
                    nanos: span.end_time_unix_nano - span.start_time_unix_nano,
                    attributes: texts(span.attributes),
                }));
            }
        }
        all
    }
}

async fn take(request: Request<Incoming>, kept: Requests) -> Response<Full<Bytes>> {
    let right = request.uri().path() == "/v1/traces"
        && request
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|value| value == "application/x-protobuf");
    let login = request.headers().get(AUTHORIZATION);
    let login = login.map(|value| value.to_str().unwrap().to_owned());
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let mut response = Response::new(Full::default());
    if right {
        kept.lock().unwrap().push((body, login));
    } else {
        *response.status_mut() = StatusCode::BAD_REQUEST;
    }
    response
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn texts(attributes: Vec<KeyValue>) -> HashMap<String, String> {
    let text = |value: Value| match value {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    let named = attributes.into_iter().filter_map(|attribute| {
        let value = attribute.value?.value?;
        Some((attribute.key, text(value)))
    });
    named.collect()
}
