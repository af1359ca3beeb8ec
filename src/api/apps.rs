//! Apps: how the WNS identities are, and what people decide about them.

use actix_web::{HttpResponse, http::Method, web::Payload};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    body,
    call::{Call, ok},
    json::Time,
    page::{self, PageBody, PageQuery},
    problem::{Kind, Problem, ProblemBody},
    route::{Endpoint, Entry},
};
use crate::{
    domain::{api_key::Scope, id::AppId, plain_text::prove_plain},
    service::{
        apps::{AppDecision, PaceChange},
        status::{AppStatus, TokenState},
    },
};

/// Longest reason of a pause in bytes.
const REASON_BYTES_MAX: usize = 256;
/// Highest pace that can be set.
const PACE_MAX: u32 = 1_000_000;

pub(super) fn endpoints() -> Vec<Endpoint> {
    let one = "/v1/apps/{app}";
    vec![
        Endpoint::new(Entry::Bounded, Method::GET, "/v1/apps", list),
        Endpoint::new(Entry::Bounded, Method::GET, one, get),
        Endpoint::new(Entry::Settle, Method::POST, "/v1/apps/{app}/pause", pause),
        Endpoint::new(Entry::Settle, Method::POST, "/v1/apps/{app}/resume", resume),
        Endpoint::new(Entry::Settle, Method::PUT, "/v1/apps/{app}/pace", put_pace),
    ]
}

/// A WNS identity, as this broker sees it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AppView {
    /// Its name.
    app: String,
    /// Its package family name, if the configuration has it.
    pfn: Option<String>,
    /// `sending`, `paused` (by hand), `held` (by what is in `holds`, or because the breaker is open), `throttled`, `stopped` (credential refused, and no token left) or `starting` (no token yet).
    state: &'static str,
    /// The pause by hand; null if there is none.
    paused: Option<PauseView>,
    /// Its access token.
    token: TokenView,
    /// How fast it sends.
    pace: PaceView,
    /// WNS throttles it until then; null if it does not.
    #[schema(value_type = Option<String>, format = DateTime)]
    throttled_until: Option<Timestamp>,
    /// `closed` when WNS can be reached, `open` when it seems to be out.
    breaker: &'static str,
    /// Hosts of WNS that do not answer this broker; pushes to channels there are put off. Empty while the breaker is closed.
    hosts_avoided: Vec<String>,
    /// What keeps it from sending.
    holds: Vec<HoldView>,
}

/// A pause by hand.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PauseView {
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// Why.
    reason: Option<String>,
}

/// An access token.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TokenView {
    /// `pending`, `valid`, `unavailable` (the endpoint cannot be reached) or `refused` (the credential is wrong).
    state: &'static str,
    /// When it expires; null if there is none. Until then it is used, whatever the state.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// What the token endpoint last said.
    detail: Option<String>,
}

/// How fast an app sends.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PaceView {
    /// Requests a second that all brokers together send at most, now.
    per_second: f64,
    /// The part of it that this broker holds.
    share_per_second: f64,
    /// Attempts of this broker on the wire.
    in_flight: u64,
    /// What was set by hand; what is null is the configuration's.
    set: PaceBody,
}

/// Something that keeps an app from sending.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HoldView {
    /// One word.
    reason: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// When it ends or is probed; null when only a person can end it.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
}

/// A pace set by hand.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PaceBody {
    /// Requests a second to begin with, the ceiling at most; null or absent: the configuration's.
    start_per_second: Option<u32>,
    /// Requests a second never exceeded; null or absent: the configuration's.
    #[serde(alias = "per_second")]
    ceiling_per_second: Option<u32>,
}

fn view(call: &Call, app: &AppId, decision: &AppDecision) -> AppView {
    let status = call.state.status.app(app);
    let state = state(status.as_ref(), decision);
    let (mut token, mut pace) = (None, None);
    let (mut throttled_until, mut hosts_avoided, mut holds) = (None, Vec::new(), Vec::new());
    if let Some(status) = status {
        pace = Some((
            status.pace_per_second,
            status.share_per_second,
            status.in_flight,
        ));
        token = Some(status.token);
        throttled_until = status.throttled_until;
        hosts_avoided = status.hosts_avoided;
        holds = status.holds;
    }
    let (per_second, share_per_second, in_flight) = pace.unwrap_or_default();
    AppView {
        app: app.to_string(),
        pfn: call.state.pfns.get(app).cloned(),
        state,
        paused: decision.paused.clone().map(|p| PauseView {
            since: p.since,
            reason: p.reason,
        }),
        token: TokenView {
            state: word(token.as_ref().map_or(TokenState::Pending, |t| t.state)),
            expires_at: token.as_ref().and_then(|t| t.expires_at),
            detail: token.and_then(|t| t.detail),
        },
        pace: PaceView {
            per_second,
            share_per_second,
            in_flight,
            set: PaceBody {
                start_per_second: decision.pace.start_per_second,
                ceiling_per_second: decision.pace.ceiling_per_second,
            },
        },
        throttled_until,
        breaker: if hosts_avoided.is_empty() {
            "closed"
        } else {
            "open"
        },
        hosts_avoided,
        holds: holds
            .into_iter()
            .map(|h| HoldView {
                reason: h.reason,
                since: h.since,
                until: h.until,
            })
            .collect(),
    }
}

/// The one word for an app: what a person must know first.
fn state(status: Option<&AppStatus>, decision: &AppDecision) -> &'static str {
    if decision.paused.is_some() {
        return "paused";
    }
    let Some(status) = status else {
        return "starting";
    };
    let no_token = status.token.expires_at.is_none();
    if no_token && status.token.state == TokenState::Refused {
        "stopped"
    } else if status.throttled_until.is_some() {
        "throttled"
    } else if !status.holds.is_empty() || status.outage {
        "held"
    } else if no_token {
        "starting"
    } else {
        "sending"
    }
}

/// The word for a token's state.
pub(super) fn word(state: TokenState) -> &'static str {
    match state {
        TokenState::Pending => "pending",
        TokenState::Valid => "valid",
        TokenState::Unavailable => "unavailable",
        TokenState::Refused => "refused",
    }
}

/// Lists the apps that the key reaches.
#[utoipa::path(
    get, path = "/v1/apps", tag = "apps", operation_id = "list_apps",
    params(("cursor" = Option<String>, Query), ("limit" = Option<usize>, Query, description = "all without it")),
    responses((status = 200, body = PageBody<AppView>), (status = "default", body = ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn list(call: Call) -> Result<HttpResponse, Problem> {
    call.may(Scope::Read)?;
    let query: PageQuery = call.query()?;
    let mut apps: Vec<&AppId> = call.state.tenants.apps().iter().collect();
    apps.retain(|app| call.caller.reaches_app(app));
    let page = page::of_whole("apps", &query, apps, |app| app.as_str())?;
    let mut items = Vec::with_capacity(page.items.len());
    for app in page.items {
        let decision = call.state.apps.decision(app).await?;
        items.push(view(&call, app, &decision));
    }
    Ok(ok(&PageBody {
        items,
        next_cursor: page.next_cursor,
    }))
}

/// Shows an app: token, pace, throttle, breaker, holds.
#[utoipa::path(
    get, path = "/v1/apps/{app}", tag = "apps", operation_id = "get_app",
    params(("app" = String, Path)),
    responses((status = 200, body = AppView), (status = "default", body = ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn get(call: Call) -> Result<HttpResponse, Problem> {
    let app = call.app(Scope::Read)?;
    let decision = call.state.apps.decision(&app).await?;
    Ok(ok(&view(&call, &app, &decision)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PauseQuery {
    reason: Option<String>,
}

/// Stops sending for an app, urgent pushes too, until it is resumed. Deadlines run on.
#[utoipa::path(
    post, path = "/v1/apps/{app}/pause", tag = "apps", operation_id = "pause_app",
    params(
        ("app" = String, Path), ("Idempotency-Key" = Option<String>, Header),
        ("reason" = Option<String>, Query, description = "at most 256 bytes; shown with the app"),
    ),
    responses((status = 200, body = AppView), (status = "default", body = ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn pause(call: Call) -> Result<HttpResponse, Problem> {
    let app = call.app(Scope::Admin)?;
    let query: PauseQuery = call.query()?;
    if query
        .reason
        .as_ref()
        .is_some_and(|r| r.len() > REASON_BYTES_MAX)
    {
        let detail = format!("reason is longer than {REASON_BYTES_MAX} bytes");
        return Err(Problem::parameter("reason", detail));
    }
    let plain = query.reason.as_deref().map_or(Ok(()), prove_plain);
    plain.map_err(|error| Problem::parameter("reason", format!("reason {error}")))?;
    let decision = call.state.apps.pause(&app, query.reason).await?;
    Ok(ok(&view(&call, &app, &decision)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ResumeQuery {
    revive_since: Option<Time>,
}

/// An app that goes on.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ResumeAnswer {
    /// Channels that are live again.
    revived: u64,
    /// The app.
    #[serde(flatten)]
    app: AppView,
}

/// Lets an app go on: ends a pause and holds. With `revive_since`, channels marked suspect or dead since then are live again.
#[utoipa::path(
    post, path = "/v1/apps/{app}/resume", tag = "apps", operation_id = "resume_app",
    params(
        ("app" = String, Path), ("Idempotency-Key" = Option<String>, Header),
        ("revive_since" = Option<String>, Query, description = "RFC 3339"),
    ),
    responses((status = 200, body = ResumeAnswer), (status = "default", body = ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn resume(call: Call) -> Result<HttpResponse, Problem> {
    let app = call.app(Scope::Admin)?;
    let query: ResumeQuery = call.query()?;
    let (decision, revived) = call
        .state
        .apps
        .resume(&app, query.revive_since.map(|time| time.0))
        .await?;
    Ok(ok(&ResumeAnswer {
        revived,
        app: view(&call, &app, &decision),
    }))
}

/// Sets the pace of an app for all brokers, at once; what is absent goes back to the configuration.
#[utoipa::path(
    put, path = "/v1/apps/{app}/pace", tag = "apps", operation_id = "put_pace",
    params(("app" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    request_body = PaceBody,
    responses((status = 200, body = AppView), (status = "default", body = ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn put_pace(call: Call, payload: Payload) -> Result<HttpResponse, Problem> {
    let app = call.app(Scope::Admin)?;
    let body: PaceBody = body::json(&call, payload).await?;
    let state = &call.state;
    let pace = prove_pace(&body)?;
    let decision = state.apps.set_pace(&app, pace).await?;
    Ok(ok(&view(&call, &app, &decision)))
}

fn prove_pace(body: &PaceBody) -> Result<PaceChange, Problem> {
    let fields = [
        ("start_per_second", body.start_per_second),
        ("ceiling_per_second", body.ceiling_per_second),
    ];
    for (name, value) in fields {
        if value.is_some_and(|v| !(1..=PACE_MAX).contains(&v)) {
            let detail = format!("{name} is a number from 1 to {PACE_MAX}");
            return Err(Problem::invalid(format!("/{name}"), detail));
        }
    }
    if let (Some(start), Some(ceiling)) = (body.start_per_second, body.ceiling_per_second)
        && start > ceiling
    {
        let detail = "start_per_second is above ceiling_per_second";
        return Err(Problem::new(Kind::Invalid, detail).at("/start_per_second", detail));
    }
    Ok(PaceChange {
        start_per_second: body.start_per_second,
        ceiling_per_second: body.ceiling_per_second,
    })
}
