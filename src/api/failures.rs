//! The last failed attempts of an app, with the ids that Microsoft's support asks for.

use actix_web::{HttpResponse, http::Method};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    call::{Call, ok},
    page::PageBody,
    problem::{Problem, ProblemBody},
    route::{Endpoint, Entry},
};
use crate::{domain::api_key::Scope, telemetry::RecentFailure};

const PATH: &str = "/v1/apps/{app}/failures";

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![Endpoint::new(Entry::Bounded, Method::GET, PATH, list)]
}

/// One failed attempt.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FailureView {
    /// When it ended.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// The classified reply.
    outcome: &'static str,
    /// The WNS host.
    host: String,
    /// Short keyed hash of the channel URI, as it appears in logs.
    channel: String,
    /// `MS-CV` of the request.
    ms_cv: Option<String>,
    /// `X-WNS-Msg-ID`.
    msg_id: Option<String>,
    /// `X-WNS-Debug-Trace`.
    debug_trace: Option<String>,
    /// `X-WNS-Error-Description`.
    description: Option<String>,
}

impl From<RecentFailure> for FailureView {
    fn from(failure: RecentFailure) -> Self {
        Self {
            at: failure.at,
            outcome: failure.outcome,
            host: failure.host,
            channel: failure.channel,
            ms_cv: failure.ms_cv,
            msg_id: failure.msg_id,
            debug_trace: failure.debug_trace,
            description: failure.description,
        }
    }
}

/// Lists the last failed attempts of an app on this broker, oldest first: at most ten of each outcome, and none from before
/// its start.
#[utoipa::path(
    get, path = "/v1/apps/{app}/failures", tag = "apps", operation_id = "list_failures",
    params(("app" = String, Path)),
    responses((status = 200, body = PageBody<FailureView>), (status = "default", body = ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn list(call: Call) -> Result<HttpResponse, Problem> {
    let app = call.app(Scope::Read)?;
    let failures = call.state.status.recent_failures(&app);
    let items = failures.into_iter().map(FailureView::from).collect();
    Ok(ok(&PageBody {
        items,
        next_cursor: None,
    }))
}
