//! Devices: looking at them, paging through them, forgetting them.

use actix_web::{HttpResponse, http::Method, web::Payload};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    body::{self, Format, Pieces},
    bulk::{self, Refusal, Work},
    call::{Call, ok},
    json::Text,
    page::{self, PageBody, PageQuery},
    problem::{Kind, Problem, ProblemBody},
    report::EntryError,
    route::{Endpoint, Entry},
    view::{DeviceView, Viewer},
};
use crate::{
    domain::{
        api_key::Scope,
        channel::ChannelKind,
        duration_text::parse_duration,
        id::{DeviceId, TenantId},
    },
    ports::error::StoreError,
    service::{
        self,
        desk::Desk,
        devices::{Filter, Range},
    },
};

/// How soon a channel must expire to be listed as expiring, unless the query says.
const EXPIRING_WITHIN: SignedDuration = SignedDuration::from_hours(3 * 24);

pub(super) fn endpoints() -> Vec<Endpoint> {
    let one = "/v1/tenants/{tenant}/devices/{device}";
    let all = "/v1/tenants/{tenant}/devices";
    let delete_many = "/v1/tenants/{tenant}/devices/delete";
    vec![
        Endpoint::new(Entry::Bounded, Method::GET, one, get),
        Endpoint::new(Entry::Settle, Method::DELETE, one, delete),
        Endpoint::new(Entry::Bounded, Method::GET, all, list),
        Endpoint::new(Entry::Settle, Method::POST, delete_many, post_delete),
    ]
}

pub(super) fn unknown(device: &DeviceId) -> Problem {
    Problem::new(Kind::UnknownDevice, format!("there is no device {device}"))
}

/// Shows a device.
#[utoipa::path(
    get, path = "/v1/tenants/{tenant}/devices/{device}", tag = "devices", operation_id = "get_device",
    params(("tenant" = String, Path), ("device" = String, Path)),
    responses((status = 200, body = DeviceView), (status = "default", body = ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn get(call: Call) -> Result<HttpResponse, Problem> {
    let tenant = call.tenant(Scope::Read).await?;
    let device = call.device()?;
    let desk = &call.state.desk;
    let record = service::devices::get(desk, &tenant.id, &device).await?;
    let record = record.ok_or_else(|| unknown(&device))?;
    let viewer = Viewer {
        uri_key: &call.state.uri_key,
        now: desk.clock.now(),
    };
    Ok(ok(&viewer.device(&device, &record)))
}

/// Forgets a device; an open push closes as `cancelled`.
#[utoipa::path(
    delete, path = "/v1/tenants/{tenant}/devices/{device}", tag = "devices", operation_id = "delete_device",
    params(("tenant" = String, Path), ("device" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 204), (status = "default", body = ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn delete(call: Call) -> Result<HttpResponse, Problem> {
    let tenant = call.tenant(Scope::Register).await?;
    let device = call.device()?;
    let forgotten = vec![device.clone()];
    let known = service::devices::forget(&call.state.desk, &tenant.id, forgotten).await?;
    if known.contains(&true) {
        Ok(HttpResponse::NoContent().finish())
    } else {
        Err(unknown(&device))
    }
}

/// Which devices are listed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    channel: Option<String>,
    within: Option<String>,
    cursor: Option<String>,
    limit: Option<usize>,
}

/// Pages through the devices, by the state of their channel.
#[utoipa::path(
    get, path = "/v1/tenants/{tenant}/devices", tag = "devices", operation_id = "list_devices",
    params(
        ("tenant" = String, Path),
        ("channel" = Option<String>, Query, description = "live, silent, suspect, dead, none or expiring"),
        ("within" = Option<String>, Query, description = "with channel=expiring: how soon, such as 3d"),
        ("cursor" = Option<String>, Query), ("limit" = Option<usize>, Query, description = "1 to 1000, default 100"),
    ),
    responses((status = 200, body = PageBody<DeviceView>), (status = "default", body = ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn list(call: Call) -> Result<HttpResponse, Problem> {
    let tenant = call.tenant(Scope::Read).await?;
    let query: ListQuery = call.query()?;
    let (name, filter) = filter(&query)?;
    let page = PageQuery {
        cursor: query.cursor,
        limit: query.limit,
    };
    let range = Range {
        cursor: page.store_cursor(&name)?,
        limit: page.limit()?,
    };
    let desk = &call.state.desk;
    let found = service::devices::list(desk, &tenant.id, filter, range).await;
    let found = found.map_err(|error| page::failed(error, &page))?;
    let viewer = Viewer {
        uri_key: &call.state.uri_key,
        now: desk.clock.now(),
    };
    let view = |(device, record): (DeviceId, _)| viewer.device(&device, &record);
    Ok(ok(&page::body(&name, found, view)))
}

/// The list that the query names, and the name that its cursors carry.
fn filter(query: &ListQuery) -> Result<(String, Filter), Problem> {
    let name = query.channel.as_deref().unwrap_or("all");
    let within = match &query.within {
        None => EXPIRING_WITHIN,
        Some(text) => {
            let within = parse_duration(text);
            let within = within.map_err(|e| Problem::parameter("within", e.to_string()))?;
            SignedDuration::try_from(within)
                .map_err(|e| Problem::parameter("within", e.to_string()))?
        }
    };
    let kind = ChannelKind::ALL.into_iter().find(|k| k.as_str() == name);
    let filter = match (kind, query.channel.as_deref()) {
        (Some(kind), _) => Filter::Channel(kind),
        (None, None) => Filter::All,
        (None, Some("expiring")) => Filter::Expiring(within),
        (None, Some(_)) => {
            let detail = "channel is live, silent, suspect, dead, none or expiring";
            return Err(Problem::parameter("channel", detail));
        }
    };
    if query.within.is_some() && !matches!(filter, Filter::Expiring(_)) {
        let detail = "within goes with channel=expiring";
        return Err(Problem::parameter("within", detail));
    }
    Ok((format!("devices/{name}"), filter))
}

/// One line: a device.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeviceLine<'a> {
    /// The device.
    #[serde(borrow)]
    #[schema(value_type = String)]
    device: Text<'a>,
}

impl DeviceLine<'_> {
    pub(super) fn prove(&self) -> Result<DeviceId, Refusal> {
        DeviceId::new(self.device.as_str()).map_err(|e| Refusal::new(self.device.as_str(), e))
    }
}

/// What became of the lines.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeleteAnswer {
    /// Devices that were forgotten.
    deleted: u64,
    /// Devices that nobody had named.
    unknown: u64,
    /// Lines that could not be taken.
    refused: u64,
    /// The first 1,000 of them.
    errors: Vec<EntryError>,
}

/// Forgets devices, one a line; open pushes close as `cancelled`.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant}/devices/delete", tag = "devices", operation_id = "delete_devices",
    params(("tenant" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    request_body(content = DeviceLine, content_type = "application/x-ndjson"),
    responses((status = 200, body = DeleteAnswer), (status = "default", body = ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn post_delete(call: Call, payload: Payload) -> Result<HttpResponse, Problem> {
    let tenant = call.tenant(Scope::Register).await?;
    body::format(&call.request, &[Format::Ndjson])?;
    let state = &call.state;
    let pieces = Pieces::begin(&call, payload)?;
    let work = Forget {
        desk: &state.desk,
        tenant: tenant.id,
    };
    let report = bulk::stream(&work, pieces, state.settings.line_bytes_max).await;
    let report = report.map_err(|(problem, done)| {
        let done = serde_json::json!({ "deleted": done.deleted, "unknown": done.unknown });
        problem.with("done", done)
    })?;
    Ok(ok(&DeleteAnswer {
        deleted: report.sum.deleted,
        unknown: report.sum.unknown,
        refused: report.refused,
        errors: report.errors,
    }))
}

#[derive(Debug, Default)]
struct Sum {
    deleted: u64,
    unknown: u64,
}

struct Forget<'a> {
    desk: &'a Desk,
    tenant: TenantId,
}

impl Work for Forget<'_> {
    type Line<'a> = DeviceLine<'a>;
    type Job = ();
    type Answer = bool;
    type Sum = Sum;

    fn prove(&self, line: DeviceLine<'_>) -> Result<(DeviceId, ()), Refusal> {
        Ok((line.prove()?, ()))
    }

    async fn apply(&self, jobs: Vec<(DeviceId, ())>) -> Result<Vec<bool>, StoreError> {
        let devices = jobs.into_iter().map(|(device, ())| device).collect();
        service::devices::forget(self.desk, &self.tenant, devices).await
    }

    fn count(sum: &mut Sum, known: bool) -> Option<String> {
        if known {
            sum.deleted += 1;
        } else {
            sum.unknown += 1;
        }
        None
    }
}
