//! Pushes: waking devices, looking at what became of it, taking it back.

use std::time::Duration;

use actix_web::{
    HttpResponse,
    http::{Method, StatusCode},
    web::Payload,
};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    body::{self, Format, Pieces},
    bulk::{self, Refusal, Report, Run, Work},
    call::{self, Call, CallTrace, ok},
    devices::{DeviceLine, unknown},
    json::{self, Text, Time},
    problem::{Kind, Problem, ProblemBody},
    report::{ERRORS_MAX, EntryError, Naming},
    route::{Endpoint, Entry},
    view::{PushView, Viewer},
};
use crate::{
    domain::{
        api_key::Scope,
        ask::{Class, Goal, REASON_BYTES_MAX},
        duration_text::{format_duration, parse_duration},
        id::{DeviceId, TenantId},
        schedule::later,
        trace_context::TraceContext,
        transition::{Cancel, Opened},
    },
    ports::error::StoreError,
    service::{
        self,
        desk::Desk,
        pushes::{Wish, Wished},
    },
};

pub(super) fn endpoints() -> Vec<Endpoint> {
    let all = "/v1/tenants/{tenant}/pushes";
    let one = "/v1/tenants/{tenant}/pushes/{device}";
    vec![
        Endpoint::new(Entry::Write, Method::POST, all, post),
        Endpoint::new(Entry::Bounded, Method::GET, one, get),
        Endpoint::new(Entry::Write, Method::DELETE, one, delete),
    ]
}

/// What is wanted of the devices; in a query or in a body.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct WishQuery {
    reason: Option<String>,
    priority: Option<Class>,
    goal: Option<Goal>,
    deadline: Option<Time>,
    expires_in: Option<String>,
    #[serde(default)]
    register_unknown: bool,
}

/// Devices to wake, and how.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PushesBody<'a> {
    /// The devices.
    #[serde(borrow)]
    #[schema(value_type = Vec<String>)]
    devices: Vec<Text<'a>>,
    /// Why, at most 128 bytes; shown again with the push.
    reason: Option<String>,
    /// `urgent`, `normal` (default) or `bulk`.
    priority: Option<Class>,
    /// `accepted` (default): done when WNS took a notification; `check_in`: done when the device checked in.
    goal: Option<Goal>,
    /// Until when it is tried; at most 30 days ahead. Not together with `expires_in`.
    #[schema(value_type = Option<String>, format = DateTime)]
    deadline: Option<Time>,
    /// For how long it is tried, such as `24h` (default).
    expires_in: Option<String>,
    /// Whether devices that nobody has named are made, to be woken when they report a channel.
    #[serde(default)]
    register_unknown: bool,
}

/// What became of the devices.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PushesAnswer {
    /// Pushes that were opened.
    opened: u64,
    /// Devices whose push was open: one notification serves both wishes.
    merged: u64,
    /// Of these, devices without a usable channel: their pushes go out when a new channel is registered.
    without_channel: u64,
    /// Devices that nobody has named; nothing was opened for them.
    unknown: u64,
    /// Entries that could not be taken.
    refused: u64,
    /// The first 1,000 unknown and refused ones.
    errors: Vec<EntryError>,
}

/// Wakes devices: opens a push for each, or joins the open one. 202 means that it is durable.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant}/pushes", tag = "pushes", operation_id = "post_pushes",
    params(
        ("tenant" = String, Path), ("Idempotency-Key" = Option<String>, Header),
        ("reason" = Option<String>, Query, description = "with a streamed body"),
        ("priority" = Option<Class>, Query, description = "with a streamed body"),
        ("goal" = Option<Goal>, Query, description = "with a streamed body"),
        ("deadline" = Option<String>, Query, description = "with a streamed body"),
        ("expires_in" = Option<String>, Query, description = "with a streamed body"),
        ("register_unknown" = Option<bool>, Query),
    ),
    request_body(content((PushesBody = "application/json"), (DeviceLine = "application/x-ndjson"))),
    responses((status = 202, body = PushesAnswer), (status = "default", body = ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn post(call: Call, payload: Payload) -> Result<HttpResponse, Problem> {
    let tenant = call.tenant(Scope::Push).await?;
    let format = body::format(&call.request, &[Format::Json, Format::Ndjson])?;
    let query: WishQuery = call.query()?;
    let report = match format {
        Format::Json => whole(&call, tenant.id, query, payload).await?,
        Format::Ndjson => {
            let work = Open {
                desk: &call.state.desk,
                tenant: tenant.id,
                wish: wish(&call, query, Place::Query)?,
                trace: call.trace(),
            };
            let pieces = Pieces::begin(&call.request, payload, &call.state.gate)?;
            let report = bulk::stream(&work, pieces, call.state.settings.line_bytes_max).await;
            report.map_err(failed)?
        }
    };
    let answer = PushesAnswer {
        opened: report.sum.opened,
        merged: report.sum.merged,
        without_channel: report.sum.without_channel,
        unknown: report.sum.unknown,
        refused: report.refused + report.sum.full,
        errors: report.errors,
    };
    Ok(call::json(StatusCode::ACCEPTED, &answer))
}

async fn whole(
    call: &Call,
    tenant: TenantId,
    query: WishQuery,
    payload: Payload,
) -> Result<Report<Sum>, Problem> {
    let state = &call.state;
    let max = state.settings.body_bytes_max;
    let whole = body::whole(&call.request, payload, &state.gate, max).await?;
    let body: PushesBody<'_> = json::parse(&whole.bytes)?;
    let devices = prove_devices(&body.devices)?;
    let only_unknown = WishQuery {
        register_unknown: query.register_unknown,
        ..WishQuery::default()
    };
    if query != only_unknown {
        let detail = "with a JSON body only register_unknown may stand in the query";
        return Err(Problem::new(Kind::Malformed, detail));
    }
    let wanted = WishQuery {
        reason: body.reason,
        priority: body.priority,
        goal: body.goal,
        deadline: body.deadline,
        expires_in: body.expires_in,
        register_unknown: body.register_unknown || query.register_unknown,
    };
    let work = Open {
        desk: &state.desk,
        tenant,
        wish: wish(call, wanted, Place::Body)?,
        trace: call.trace(),
    };
    let mut run = Run::new(&work, Naming::Pointer("/devices"));
    for (i, device) in devices.into_iter().enumerate() {
        run.add(i as u64, device, work.trace.take()).await?;
    }
    run.finish().await.map_err(failed)
}

fn prove_devices(texts: &[Text<'_>]) -> Result<Vec<DeviceId>, Problem> {
    if texts.is_empty() {
        return Err(Problem::invalid("/devices", "devices is empty"));
    }
    let mut devices = Vec::with_capacity(texts.len());
    let mut problem: Option<Problem> = None;
    let mut wrong = 0;
    for (i, text) in texts.iter().enumerate() {
        match DeviceId::new(text.as_str()) {
            Ok(device) => devices.push(device),
            Err(error) if wrong < ERRORS_MAX => {
                wrong += 1;
                let detail = "the list holds texts that are no device ids";
                let so_far = problem.unwrap_or_else(|| Problem::new(Kind::Invalid, detail));
                problem = Some(so_far.at(format!("/devices/{i}"), error.to_string()));
            }
            Err(_) => break,
        }
    }
    problem.map_or(Ok(devices), Err)
}

/// Where a wish is written, for errors.
#[derive(Clone, Copy)]
enum Place {
    Query,
    Body,
}

impl Place {
    fn wrong(self, name: &str, detail: impl Into<String>) -> Problem {
        match self {
            Self::Query => Problem::parameter(name, detail),
            Self::Body => Problem::invalid(format!("/{name}"), detail),
        }
    }
}

fn wish(call: &Call, wanted: WishQuery, place: Place) -> Result<Wish, Problem> {
    let now = call.state.desk.clock.now();
    let reason = wanted.reason.filter(|reason| !reason.is_empty());
    if reason.as_ref().is_some_and(|r| r.len() > REASON_BYTES_MAX) {
        let detail = format!("reason is longer than {REASON_BYTES_MAX} bytes");
        return Err(place.wrong("reason", detail));
    }
    let max = call.state.settings.deadline_max;
    let farthest = later(now, signed(max));
    let deadline = match (wanted.deadline, wanted.expires_in) {
        (Some(_), Some(_)) => {
            let detail = "deadline and expires_in exclude each other";
            return Err(place.wrong("expires_in", detail));
        }
        (Some(deadline), None) => deadline.0,
        (None, Some(text)) => {
            let expires_in = parse_duration(&text);
            let expires_in = expires_in.map_err(|e| place.wrong("expires_in", e.to_string()))?;
            if expires_in.is_zero() || expires_in > max {
                let detail = format!(
                    "expires_in is above 0s and at most {}",
                    format_duration(max)
                );
                return Err(place.wrong("expires_in", detail));
            }
            later(now, signed(expires_in))
        }
        (None, None) => later(now, signed(call.state.settings.push_deadline)),
    };
    if deadline <= now || deadline > farthest {
        let detail = format!("deadline lies ahead, by at most {}", format_duration(max));
        return Err(place.wrong("deadline", detail));
    }
    Ok(Wish {
        class: wanted.priority.unwrap_or_default(),
        goal: wanted.goal.unwrap_or_default(),
        deadline,
        reason: reason.map(Into::into),
        register_unknown: wanted.register_unknown,
    })
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

fn failed((problem, done): (Problem, Sum)) -> Problem {
    let done = serde_json::json!({ "opened": done.opened, "merged": done.merged });
    problem.with("done", done)
}

#[derive(Debug, Default)]
struct Sum {
    opened: u64,
    merged: u64,
    without_channel: u64,
    unknown: u64,
    full: u64,
}

struct Open<'a> {
    desk: &'a Desk,
    tenant: TenantId,
    wish: Wish,
    trace: CallTrace,
}

impl Work for Open<'_> {
    type Line<'a> = DeviceLine<'a>;
    type Job = Option<TraceContext>;
    type Answer = Wished;
    type Sum = Sum;

    fn prove(&self, line: DeviceLine<'_>) -> Result<(DeviceId, Self::Job), Refusal> {
        Ok((line.prove()?, self.trace.take()))
    }

    async fn apply(&self, jobs: Vec<(DeviceId, Self::Job)>) -> Result<Vec<Wished>, StoreError> {
        service::pushes::open(self.desk, &self.tenant, &self.wish, jobs).await
    }

    fn count(sum: &mut Sum, answer: Wished) -> Option<String> {
        match answer {
            Wished::Open { opened, reachable } => {
                match opened {
                    Opened::Opened => sum.opened += 1,
                    Opened::Merged => sum.merged += 1,
                }
                sum.without_channel += u64::from(!reachable);
                None
            }
            Wished::Unknown => {
                sum.unknown += 1;
                Some("nobody has named this device; register_unknown=true makes it".to_owned())
            }
            Wished::Refused(error) => {
                sum.full += 1;
                Some(error.to_string())
            }
        }
    }
}

/// Shows the open push of a device, or the last one that closed.
#[utoipa::path(
    get, path = "/v1/tenants/{tenant}/pushes/{device}", tag = "pushes", operation_id = "get_push",
    params(("tenant" = String, Path), ("device" = String, Path)),
    responses((status = 200, body = PushView), (status = "default", body = ProblemBody, content_type = "application/problem+json"))
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
    let never = || Problem::new(Kind::NotFound, format!("device {device} was never pushed"));
    let view = viewer.push(&device, &record).ok_or_else(never)?;
    Ok(ok(&view))
}

/// Which wishes are taken back.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeleteQuery {
    #[serde(default)]
    all: bool,
}

/// What taking back came to.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CancelAnswer {
    /// Asks that were taken back.
    cancelled: usize,
    /// The push as it is then; null if there never was one.
    push: Option<PushView>,
}

/// Takes back the direct wish for a device, or all of them.
#[utoipa::path(
    delete, path = "/v1/tenants/{tenant}/pushes/{device}", tag = "pushes", operation_id = "delete_push",
    params(
        ("tenant" = String, Path), ("device" = String, Path), ("Idempotency-Key" = Option<String>, Header),
        ("all" = Option<bool>, Query, description = "also those of campaigns"),
    ),
    responses((status = 200, body = CancelAnswer), (status = "default", body = ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn delete(call: Call) -> Result<HttpResponse, Problem> {
    let tenant = call.tenant(Scope::Push).await?;
    let device = call.device()?;
    let query: DeleteQuery = call.query()?;
    let which = if query.all {
        Cancel::All
    } else {
        Cancel::Direct
    };
    let desk = &call.state.desk;
    let done = service::pushes::cancel(desk, &tenant.id, device.clone(), which).await?;
    let done = done.ok_or_else(|| unknown(&device))?;
    let viewer = Viewer {
        uri_key: &call.state.uri_key,
        now: desk.clock.now(),
    };
    Ok(ok(&CancelAnswer {
        cancelled: done.asks,
        push: viewer.push(&device, &done.record),
    }))
}
