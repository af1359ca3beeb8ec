//! Tenants: the consoles' name spaces, with what is counted of them.

use std::collections::BTreeMap;

use actix_web::{
    HttpResponse,
    http::{Method, StatusCode},
    web::Payload,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    body,
    call::{self, Call, ok},
    page::{self, PageBody, PageQuery},
    problem::{Kind, Problem, ProblemBody},
    route::{Endpoint, Entry},
};
use crate::{
    domain::{
        api_key::Scope,
        id::{AppId, TenantId},
    },
    service::{
        slow_down,
        tenants::{Counts, PutTenantError, SHARE_RANGE, Tenant},
    },
};

pub(super) fn endpoints() -> Vec<Endpoint> {
    let one = "/v1/tenants/{tenant}";
    vec![
        Endpoint::new(Entry::Bounded, Method::GET, "/v1/tenants", list),
        Endpoint::new(Entry::Bounded, Method::GET, one, get),
        Endpoint::new(Entry::Write, Method::PUT, one, put),
    ]
}

/// A console's name space.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TenantView {
    /// Its name.
    tenant: String,
    /// The app through which its devices are woken.
    app: String,
    /// Its weight beside the other tenants of the app.
    share: u32,
    /// Devices by the state of their channel.
    devices: BTreeMap<String, i64>,
    /// Open pushes by priority.
    pushes: BTreeMap<String, i64>,
    /// Asks that have ended, by reason, since the tenant was made.
    closed: BTreeMap<String, i64>,
    /// Until when its campaigns release nothing, because the console asked to slow down.
    #[schema(value_type = Option<String>, format = DateTime)]
    slow_down_until: Option<Timestamp>,
}

async fn view(call: &Call, tenant: &Tenant) -> Result<TenantView, Problem> {
    let desk = &call.state.desk;
    let counts = Counts::read(&*desk.store, &tenant.id).await?;
    let slow = slow_down::until(&*desk.store, &tenant.id, desk.clock.now()).await?;
    Ok(TenantView {
        tenant: tenant.id.to_string(),
        app: tenant.app.to_string(),
        share: tenant.share,
        devices: counts.channels,
        pushes: counts.pushes,
        closed: counts.closed,
        slow_down_until: slow,
    })
}

/// One line of the list of tenants.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TenantItem {
    /// Its name.
    tenant: String,
    /// The app through which its devices are woken.
    app: String,
    /// Its weight beside the other tenants of the app.
    share: u32,
}

/// Lists the tenants that the key reaches.
#[utoipa::path(
    get, path = "/v1/tenants", tag = "tenants", operation_id = "list_tenants",
    params(("cursor" = Option<String>, Query), ("limit" = Option<usize>, Query)),
    responses((status = 200, body = PageBody<TenantItem>), (status = "default", body = ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn list(call: Call) -> Result<HttpResponse, Problem> {
    call.may(Scope::Read)?;
    let query: PageQuery = call.query()?;
    let cursor = query.store_cursor("tenants")?;
    let after = cursor.as_deref().map(TenantId::new).transpose();
    let after = after.map_err(|error| Problem::parameter("cursor", error.to_string()))?;
    let reached = |t: &Tenant| call.caller.reaches(&t.id, &t.app);
    let tenants = &call.state.tenants;
    let found = tenants
        .list(after.as_ref(), query.limit()?, reached)
        .await?;
    let item = |t: Tenant| TenantItem {
        tenant: t.id.to_string(),
        app: t.app.to_string(),
        share: t.share,
    };
    Ok(ok(&page::body("tenants", found, item)))
}

/// Shows a tenant and its counts.
#[utoipa::path(
    get, path = "/v1/tenants/{tenant}", tag = "tenants", operation_id = "get_tenant",
    params(("tenant" = String, Path)),
    responses((status = 200, body = TenantView), (status = "default", body = ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn get(call: Call) -> Result<HttpResponse, Problem> {
    let tenant = call.tenant(Scope::Read).await?;
    Ok(ok(&view(&call, &tenant).await?))
}

/// A tenant to make or to change.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TenantBody {
    /// The app through which its devices are woken. Without it: the one it has, or the only one there is.
    app: Option<String>,
    /// Its weight beside the other tenants of the app, 1 to 1000. Without it: the one it has, or 1.
    share: Option<u32>,
}

/// Makes a tenant, or changes its share; its app only while it has no devices.
#[utoipa::path(
    put, path = "/v1/tenants/{tenant}", tag = "tenants", operation_id = "put_tenant",
    params(("tenant" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    request_body = TenantBody,
    responses(
        (status = 200, body = TenantView), (status = 201, body = TenantView),
        (status = "default", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn put(call: Call, payload: Payload) -> Result<HttpResponse, Problem> {
    call.may(Scope::Admin)?;
    let id: TenantId = call.named("tenant")?;
    let body: TenantBody = body::json(&call, payload).await?;
    let state = &call.state;
    let old = state.tenants.find(&id).await?;
    if old
        .as_ref()
        .is_some_and(|t| !call.caller.reaches(&t.id, &t.app))
    {
        let detail = format!("the key does not reach tenant {id}");
        return Err(Problem::new(Kind::Forbidden, detail));
    }
    let tenant = Tenant {
        app: app(&call, &body, old.as_ref())?,
        share: share(&body, old.as_ref())?,
        id,
    };
    if !call.caller.reaches(&tenant.id, &tenant.app) {
        let detail = format!("the key does not reach app {}", tenant.app);
        return Err(Problem::new(Kind::Forbidden, detail));
    }
    let made = state.tenants.put(&tenant).await.map_err(refused)?;
    state.apps.admit(&tenant.id, &tenant.app).await?;
    let status = if made {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok(call::json(status, &view(&call, &tenant).await?))
}

fn app(call: &Call, body: &TenantBody, old: Option<&Tenant>) -> Result<AppId, Problem> {
    if let Some(text) = &body.app {
        return AppId::new(text).map_err(|e| Problem::invalid("/app", e.to_string()));
    }
    match (old, call.state.tenants.apps()) {
        (Some(tenant), _) => Ok(tenant.app.clone()),
        (None, [only]) => Ok(only.clone()),
        (None, _) => Err(Problem::invalid(
            "/app",
            "there are several apps; name the one whose devices these are",
        )),
    }
}

fn share(body: &TenantBody, old: Option<&Tenant>) -> Result<u32, Problem> {
    let share = body.share.or(old.map(|t| t.share)).unwrap_or(1);
    if SHARE_RANGE.contains(&share) {
        return Ok(share);
    }
    let (least, most) = (SHARE_RANGE.start(), SHARE_RANGE.end());
    Err(Problem::invalid(
        "/share",
        format!("share is a number from {least} to {most}"),
    ))
}

fn refused(error: PutTenantError) -> Problem {
    match error {
        PutTenantError::UnknownApp(_) => Problem::invalid("/app", error.to_string()),
        PutTenantError::HasDevices { .. } => Problem::new(Kind::Conflict, error.to_string()),
        PutTenantError::Store(error) => error.into(),
    }
}
