//! The control API under `/sandbox/v1`: what the sandbox is told and asked while it runs.

mod devices;
mod lists;
mod settings;

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header::CONTENT_TYPE, request::Parts};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use super::{body::ReplyBody, server::Thread};

/// Longest body of a control request in bytes.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A refused control request.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    detail: String,
}

/// A control request with its body read.
pub(super) struct Call<'a> {
    pub(super) thread: &'a Thread,
    method: Method,
    query: Vec<(String, String)>,
    body: Bytes,
}

pub(super) type Answer = Result<Response<ReplyBody>, Problem>;

/// Answers a control request.
pub(crate) async fn answer(thread: &Thread, parts: Parts, body: Incoming) -> Response<ReplyBody> {
    let answered = match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(body) => {
            let query = parts.uri.query().unwrap_or_default();
            let call = Call {
                thread,
                method: parts.method,
                query: url::form_urlencoded::parse(query.as_bytes())
                    .into_owned()
                    .collect(),
                body: body.to_bytes(),
            };
            route(&call, parts.uri.path())
        }
        Err(_) => Err(Problem::bad(format!(
            "the body could not be read or exceeds {BODY_BYTES_MAX} bytes"
        ))),
    };
    answered.unwrap_or_else(|problem| problem.response())
}

fn route(call: &Call<'_>, path: &str) -> Answer {
    let rest = path.strip_prefix("/sandbox/v1/").unwrap_or_default();
    let parts: Vec<&str> = rest.split('/').collect();
    match (parts.as_slice(), call.method.as_str()) {
        (["ca.pem"], "GET") => Ok(text(&call.thread.world.ca_pem, "application/x-pem-file")),
        (["apps"], "GET") => settings::apps(call),
        (["apps", app, "secrets"], "PUT") => settings::set_secrets(call, app),
        (["apps", app, "penalty"], "PUT") => settings::punish(call, app),
        (["apps", app, "penalty"], "DELETE") => settings::forgive(call, app),
        (["behaviour"], "GET") => settings::behaviour(call),
        (["behaviour"], "PATCH") => settings::change_behaviour(call),
        (["token-endpoint"], "GET") => settings::token_endpoint(call),
        (["token-endpoint"], "PATCH") => settings::change_token_endpoint(call),
        (["tokens", "revoke"], "POST") => settings::revoke_tokens(call),
        (["script"], "GET") => settings::script(call),
        (["script"], "POST") => settings::add_to_script(call),
        (["script"], "DELETE") => settings::clear_script(call),
        (["connections", "close"], "POST") => settings::close_connections(call),
        (["channels"], "GET") => lists::channels(call),
        (["ledger"], "GET") => lists::ledger(call),
        (["ledger", "devices"], "GET") => lists::ledger_devices(call),
        (["ledger", "reset"], "POST") => lists::reset_ledger(call),
        (["devices", "reset"], "POST") => devices::reset_all(call),
        (["devices", device], "GET") => devices::show(call, device),
        (["devices", device], "PATCH") => devices::change(call, device),
        (["devices", device, "script"], "GET") => devices::script(call, device),
        (["devices", device, "script"], "PUT") => devices::set_script(call, device),
        (["devices", device, "script"], "DELETE") => devices::remove_script(call, device),
        (known, method) => Err(Problem::no_such_call(known, method)),
    }
}

impl Call<'_> {
    fn query(&self, key: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }

    fn number(&self, key: &str, default: u64) -> Result<u64, Problem> {
        let Some(text) = self.query(key) else {
            return Ok(default);
        };
        text.parse()
            .map_err(|_| Problem::bad(format!("{key}={text} is not a number")))
    }

    /// The app that the query names, or the first one.
    fn app(&self) -> Result<u16, Problem> {
        self.app_named(self.query("app"))
    }

    fn app_named(&self, id: Option<&str>) -> Result<u16, Problem> {
        let found = self.thread.world.find_app(id);
        found.ok_or_else(|| {
            Problem::missing(format!("there is no app {:?}", id.unwrap_or_default()))
        })
    }

    /// The body as JSON; an empty body counts as `{}`.
    fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let body: &[u8] = if self.body.is_empty() {
            b"{}"
        } else {
            &self.body
        };
        serde_json::from_slice(body)
            .map_err(|error| Problem::bad(format!("the body is not understood: {error}")))
    }
}

impl Problem {
    pub(super) fn bad(detail: String) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            detail,
        }
    }

    pub(super) fn missing(detail: String) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            detail,
        }
    }

    fn no_such_call(path: &[&str], method: &str) -> Self {
        let path = path.join("/");
        Self::missing(format!(
            "there is no call {method} /sandbox/v1/{path}; docs/sandbox.md lists them all"
        ))
    }

    fn response(self) -> Response<ReplyBody> {
        let title = self.status.canonical_reason().unwrap_or("Refused");
        let body = json!({"title": title, "status": self.status.as_u16(), "detail": self.detail});
        let mut response = text(&body.to_string(), "application/problem+json");
        *response.status_mut() = self.status;
        response
    }
}

fn text(body: &str, kind: &'static str) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::Text(Bytes::copy_from_slice(body.as_bytes())));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn json_of(value: &impl Serialize) -> Answer {
    let body = serde_json::to_string(value).map_err(|error| Problem {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        detail: format!("the answer cannot be written: {error}"),
    })?;
    Ok(text(&body, "application/json"))
}

fn lines(chunks: impl Iterator<Item = Bytes> + Send + 'static) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::Stream(Box::new(chunks)));
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-ndjson"),
    );
    response
}
