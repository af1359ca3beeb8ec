//! Whether the process lives, whether it can do its job, and its metrics.
//!
//! `/healthz` and the status of `/readyz` are for probes and need no key; the parts of `/readyz` and the metrics name apps and
//! tenants, so they are shown to whoever may read everything.

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{Method, StatusCode},
    web::{self, Data},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    apps::word,
    call::{self, Call, Caller, ok},
    problem::{Kind, Problem, ProblemBody},
    route::{Endpoint, Entry},
    state::State,
};
use crate::{domain::counted::counted, service::status::TokenState};

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::new(Entry::Open, Method::GET, "/healthz", healthz),
        Endpoint::new(Entry::Open, Method::GET, "/readyz", readyz),
        Endpoint::new(Entry::Keyed, Method::GET, "/metrics", metrics),
    ]
}

/// That the process answers.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Healthy {
    /// `ok`.
    status: &'static str,
}

/// Says that the process lives. Asks nothing of the store.
#[utoipa::path(
    get, path = "/healthz", tag = "health", operation_id = "healthz",
    responses((status = 200, body = Healthy))
)]
pub(super) async fn healthz() -> HttpResponse {
    ok(&Healthy { status: "ok" })
}

/// Whether the broker can do its job.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Readiness {
    /// `ready` or `not_ready`.
    status: &'static str,
    /// Its parts; only for callers that may read everything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    components: Vec<Component>,
}

/// One part of the broker.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Component {
    /// `store`, `app/<id>`, `tenant/<id>` or `actor/<name>`.
    name: String,
    /// `ok`, `degraded` (somebody should look, the broker goes on) or `failed` (it cannot do its job).
    status: &'static str,
    /// More, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    detail: Vec<String>,
}

/// Says whether the broker can do its job: 503 when its store is away or takes no changes, an actor has given up, or it is
/// closing. An app that cannot send is told as a part, and does not make the broker unready.
#[utoipa::path(
    get, path = "/readyz", tag = "health", operation_id = "readyz",
    responses((status = 200, body = Readiness), (status = 503, body = Readiness))
)]
pub(super) async fn readyz(request: HttpRequest, state: Data<State>) -> HttpResponse {
    let mut components = vec![store(&state).await];
    components.extend(apps(&state));
    components.extend(missing_apps(&state).await);
    components.extend(unserved(&state));
    components.extend(actors(&state));
    if state.closing.is_cancelled() {
        components.push(Component {
            name: "process".to_owned(),
            status: "failed",
            detail: vec!["it is closing".to_owned()],
        });
    }
    let ready = components.iter().all(|c| c.status != "failed");
    let sees_all = Caller::recognise(&request, &state).is_ok_and(|caller| caller.sees_all());
    let body = Readiness {
        status: if ready { "ready" } else { "not_ready" },
        components: if sees_all { components } else { Vec::new() },
    };
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    call::json(status, &body)
}

async fn store(state: &State) -> Component {
    let name = "store".to_owned();
    match state.desk.store.probe().await {
        Ok(health) => {
            let status = match (&health.failing, health.warnings.as_slice()) {
                (Some(_), _) => "failed",
                (None, []) => "ok",
                (None, [..]) => "degraded",
            };
            let mut detail = Vec::from_iter(health.failing);
            detail.extend([health.description, health.durability]);
            detail.extend(health.warnings);
            Component {
                name,
                status,
                detail,
            }
        }
        Err(error) => Component {
            name,
            status: "failed",
            detail: vec![error.to_string()],
        },
    }
}

fn apps(state: &State) -> Vec<Component> {
    let component = |app: &crate::domain::id::AppId| {
        let status = state.status.app(app);
        let mut detail = Vec::new();
        let mut degraded = false;
        match &status {
            None => detail.push("nothing runs for it yet".to_owned()),
            Some(status) => {
                detail.push(format!("token {}", word(status.token.state)));
                detail.extend(status.token.detail.clone());
                detail.extend(
                    status
                        .holds
                        .iter()
                        .map(|hold| format!("held: {}", hold.reason)),
                );
                match status.hosts_avoided.as_slice() {
                    _ if status.outage => detail.push("no host of WNS answers".to_owned()),
                    [] => {}
                    hosts => detail.push(format!("not answering: {}", hosts.join(", "))),
                }
                let trusted = matches!(status.token.state, TokenState::Valid | TokenState::Pending);
                degraded = !trusted || !status.holds.is_empty() || status.outage;
            }
        }
        Component {
            name: format!("app/{app}"),
            status: if degraded { "degraded" } else { "ok" },
            detail,
        }
    };
    state.tenants.apps().iter().map(component).collect()
}

/// Apps that tenants use and this broker has no credentials for. Unknown while the store is away, which is told anyway.
async fn missing_apps(state: &State) -> Vec<Component> {
    let missing = state.tenants.missing_apps().await.unwrap_or_default();
    let component = |app| Component {
        name: format!("app/{app}"),
        status: "degraded",
        detail: vec!["tenants use it, but this broker's configuration does not have it".to_owned()],
    };
    missing.into_iter().map(component).collect()
}

/// Tenants with open pushes that no app of this broker serves: their app was taken out of the configuration, or they were.
fn unserved(state: &State) -> impl Iterator<Item = Component> {
    let component = |(tenant, pushes)| Component {
        name: format!("tenant/{tenant}"),
        status: "degraded",
        detail: vec![format!(
            "{} open, but this broker's configuration has no app for it",
            counted(pushes, "push")
        )],
    };
    state.status.unserved().into_iter().map(component)
}

fn actors(state: &State) -> Vec<Component> {
    let actors = state.status.actors().into_iter();
    actors
        .map(|actor| {
            let restarts = (actor.restarts > 0)
                .then(|| format!("restarted {}", counted(actor.restarts, "time")));
            let (status, why) = match (actor.running, actor.looping) {
                (false, _) => ("failed", Some("its supervisor gave it up")),
                (true, true) => ("degraded", Some("it dies again and again")),
                (true, false) => ("ok", None),
            };
            Component {
                name: format!("actor/{}", actor.name),
                status,
                detail: why.map(str::to_owned).into_iter().chain(restarts).collect(),
            }
        })
        .collect()
}

/// The metrics of this process, for Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "health", operation_id = "metrics",
    responses(
        (status = 200, body = String, content_type = "text/plain"),
        (status = "default", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn metrics(call: Call) -> Result<HttpResponse, Problem> {
    if !call.caller.sees_all() {
        let detail =
            "metrics name all tenants: the key needs the scope read and must reach everything";
        return Err(Problem::new(Kind::Forbidden, detail));
    }
    // Milliseconds with many apps; the other calls of this thread do not wait for them.
    let metrics = Arc::clone(&call.state.metrics);
    let text = web::block(move || metrics.metrics_text()).await;
    let text = text.map_err(|_| Problem::overloaded("the metrics were not written"))?;
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    Ok(HttpResponse::Ok().content_type(kind).body(text))
}
