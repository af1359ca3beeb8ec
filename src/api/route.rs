//! The table of endpoints as an actix-web application: methods, 404 and 405, and what every request passes through.

use std::{collections::BTreeMap, sync::Arc};

use actix_web::{
    HttpMessage, HttpRequest, Route,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    guard,
    http::{Method, header},
    middleware::{Next, from_fn},
    web::{self, ServiceConfig},
};

use tokio::time::Instant;

use super::{
    call::Caller,
    idempotent,
    problem::{Kind, Problem},
    state::State,
};
use crate::telemetry::{RequestSpan, Telemetry};

/// What stands for paths and methods that there are not.
const OTHER: &str = "other";
/// The header by which a caller says to which trace its call belongs.
const TRACEPARENT: &str = "traceparent";

/// What an endpoint passes through before it is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// For probes: served whatever the load, without a key.
    Open,
    /// Served with a key, whatever the load.
    Keyed,
    /// Served with a key, as part of the work that is bounded.
    Bounded,
    /// As [`Entry::Bounded`]; takes an `Idempotency-Key`.
    Write,
    /// As [`Entry::Write`], of what a full store still takes and what is the same done twice: there the key is let go.
    Settle,
}

/// One method on one path.
pub struct Endpoint {
    /// The method.
    pub method: Method,
    /// The path, with names in braces.
    pub path: &'static str,
    /// What it passes through.
    pub entry: Entry,
    pub(super) route: Route,
}

impl Endpoint {
    pub(super) fn new<F, Args>(entry: Entry, method: Method, path: &'static str, handler: F) -> Self
    where
        F: actix_web::Handler<Args>,
        Args: actix_web::FromRequest + 'static,
        F::Output: actix_web::Responder + 'static,
    {
        let route = match method {
            // HTTP asks every server for HEAD where there is GET (RFC 9110, 9.1); the body is left out on the wire.
            Method::GET => Route::new().guard(guard::Any(guard::Get()).or(guard::Head())),
            ref other => web::method(other.clone()),
        };
        Self {
            route: route.to(handler),
            method,
            path,
            entry,
        }
    }
}

/// Puts the whole API into an application.
pub fn configure(config: &mut ServiceConfig, state: Arc<State>) {
    let mut paths: BTreeMap<&'static str, Vec<Endpoint>> = BTreeMap::new();
    for endpoint in super::endpoints() {
        paths.entry(endpoint.path).or_default().push(endpoint);
    }
    let names: Vec<&'static str> = paths.keys().copied().collect();
    // Fixed names come before names in braces.
    let mut paths: Vec<_> = paths.into_iter().collect();
    paths.sort_by_key(|(path, _)| path.matches('{').count());
    config.app_data(web::Data::from(state));
    for (path, endpoints) in paths {
        let methods: Vec<Method> = endpoints.iter().map(|e| e.method.clone()).collect();
        let allow: Vec<&str> = methods.iter().map(allowed).collect();
        let allow = allow.join(", ");
        let mut resource = web::resource(path);
        if names.iter().any(|other| covers(other, path)) {
            // The last word may also be an id, as of a device that is called `delete`: other methods are about that one.
            resource = resource.guard(guard::fn_guard(move |context| {
                methods.contains(&context.head().method)
            }));
        }
        for endpoint in endpoints {
            let method = word(&endpoint.method);
            let measure = move |request, next| measured((method, path), request, next);
            resource = resource.route(with_entry(endpoint).wrap(from_fn(measure)));
        }
        let refuse =
            web::to(move |request: HttpRequest| std::future::ready(not_allowed(&request, &allow)));
        config.service(resource.default_service(refused(path, refuse)));
    }
    config.default_service(refused(OTHER, web::to(no_such_path)));
}

/// Whether `path` is also matched by `other`, which has a name in braces where `path` has a word.
fn covers(other: &str, path: &str) -> bool {
    let (mut others, mut words) = (other.split('/'), path.split('/'));
    loop {
        match (others.next(), words.next()) {
            (None, None) => return other != path,
            (Some(other), Some(word)) if other == word || other.starts_with('{') => {}
            (Some(_) | None, _) => return false,
        }
    }
}

/// What answers a request that nobody serves, and counts it.
fn refused(path: &'static str, answer: Route) -> Route {
    let measure = move |request: ServiceRequest, next| {
        let method = word(request.method());
        measured((method, path), request, next)
    };
    answer.wrap(from_fn(measure))
}

fn with_entry(endpoint: Endpoint) -> Route {
    let route = endpoint.route;
    match endpoint.entry {
        Entry::Open => route,
        Entry::Keyed => route.wrap(from_fn(keyed)),
        Entry::Bounded => route.wrap(from_fn(bounded)),
        Entry::Write => route.wrap(from_fn(idempotent::once)).wrap(from_fn(bounded)),
        Entry::Settle => route
            .wrap(from_fn(idempotent::once_if_kept))
            .wrap(from_fn(bounded)),
    }
}

/// The method and the pattern of the path, for measurements and traces.
#[derive(Clone, Copy)]
struct Name(&'static str, &'static str);

/// Counts the request and how long its answer took to begin.
async fn measured(
    (method, path): (&'static str, &'static str),
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let telemetry = state_of(&request)?.desk.telemetry.clone();
    let begun = Instant::now();
    let _in_flight = telemetry.request_started();
    request.extensions_mut().insert(Name(method, path));
    let served = next.call(request).await;
    let code = match &served {
        Ok(response) => response.status(),
        Err(error) => error.as_response_error().status_code(),
    };
    let span = served.as_ref().ok().and_then(span_of);
    let trace = span.as_ref().map(RequestSpan::context);
    telemetry.request_answered((method, path), code.as_u16(), begun.elapsed(), trace);
    if let Some(span) = span {
        telemetry.request_traced(span, code.as_u16());
    }
    Ok(served?.map_into_boxed_body())
}

/// The span that was begun when the caller was let in.
fn span_of<B>(response: &ServiceResponse<B>) -> Option<RequestSpan> {
    response.request().extensions_mut().remove()
}

/// The method as the `Allow` header names it.
fn allowed(method: &Method) -> &str {
    match *method {
        Method::GET => "GET, HEAD",
        ref other => other.as_str(),
    }
}

/// The method as a label.
fn word(method: &Method) -> &'static str {
    let known = [Method::GET, Method::PUT, Method::POST, Method::DELETE];
    let words = ["GET", "PUT", "POST", "DELETE"];
    let at = known.iter().position(|known| known == method);
    at.map_or(OTHER, |at| words[at])
}

/// Recognises the caller.
async fn keyed(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    admit(&request)?;
    Ok(next.call(request).await?.map_into_boxed_body())
}

/// Recognises the caller, then takes a place among the requests in work. The place is kept until the answer is ready.
async fn bounded(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let caller = admit(&request)?;
    let _permit = state_of(&request)?.gate.request(caller.name())?;
    Ok(next.call(request).await?.map_into_boxed_body())
}

fn admit(request: &ServiceRequest) -> Result<Caller, Problem> {
    let state = state_of(request)?;
    let caller = Caller::recognise(request.request(), &state)?;
    let span = trace(request, &state.desk.telemetry);
    let mut extensions = request.extensions_mut();
    extensions.insert(caller.clone());
    if let Some(span) = span {
        extensions.insert(span);
    }
    Ok(caller)
}

/// Begins the span of a call whose caller is known: strangers cannot have anything traced. More than one `traceparent` is as
/// good as none (Trace Context, 4.3).
fn trace(request: &ServiceRequest, telemetry: &Telemetry) -> Option<RequestSpan> {
    let Name(method, path) = *request.extensions().get()?;
    let mut headers = request.headers().get_all(TRACEPARENT);
    let parent = headers.next().filter(|_| headers.next().is_none());
    let parent = parent.and_then(|value| value.to_str().ok());
    telemetry.request_span(parent, method, path)
}

pub(super) fn state_of(request: &ServiceRequest) -> Result<web::Data<State>, Problem> {
    let state = request.app_data::<web::Data<State>>().cloned();
    state.ok_or_else(|| Problem::new(Kind::Internal, "the API has no state"))
}

fn not_allowed(request: &HttpRequest, allow: &str) -> Result<actix_web::HttpResponse, Problem> {
    let detail = format!("{} is not taken here; send {allow}", request.method());
    Err(Problem::new(Kind::MethodNotAllowed, detail).header(header::ALLOW, allow))
}

async fn no_such_path() -> Result<actix_web::HttpResponse, Problem> {
    let detail = "the paths are listed in /openapi.json";
    Err(Problem::new(Kind::NoSuchPath, detail))
}
