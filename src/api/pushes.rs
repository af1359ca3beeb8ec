//! Pushes: waking devices, looking at what became of it, taking it back.

use actix_web::{
    HttpResponse,
    http::{Method, StatusCode},
    web::Payload,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    body::{self, Format, Longer, Pieces},
    bulk::{self, Refusal, Report, Run, Work},
    call::{self, Call, CallTrace, ok},
    devices::{DeviceLine, unknown},
    json,
    problem::{Kind, Problem, ProblemBody},
    report::{EntryError, Naming},
    route::{Endpoint, Entry},
    view::{PushView, Viewer},
};
use crate::{
    domain::{
        api_key::Scope,
        ask::{Class, Goal},
        id::{DeviceId, TenantId},
        trace_context::TraceContext,
        transition::{Cancel, Opened},
    },
    ports::error::StoreError,
    service::{
        self,
        command::{
            Wrong,
            push::{Lifetimes, PushesBody, WishFields, WrongDevices},
        },
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
        Endpoint::new(Entry::Settle, Method::DELETE, one, delete),
    ]
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
    let query: WishFields = call.query()?;
    let report = match format {
        Format::Json => whole(&call, tenant.id, query, payload).await?,
        Format::Ndjson => {
            let work = Open {
                desk: &call.state.desk,
                tenant: tenant.id,
                wish: wish(&call, query)
                    .map_err(|wrong| Problem::parameter(wrong.field, wrong.detail))?,
                trace: call.trace(),
            };
            let pieces = Pieces::begin(&call, payload)?;
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
    query: WishFields,
    payload: Payload,
) -> Result<Report<Sum>, Problem> {
    let state = &call.state;
    let max = state.settings.body_bytes_max;
    let whole = body::whole(call, payload, max, Longer::Stream).await?;
    let body: PushesBody<'_> = json::parse(&whole.bytes)?;
    let devices = body.devices().map_err(wrong_devices)?;
    let only_unknown = WishFields {
        register_unknown: query.register_unknown,
        ..WishFields::default()
    };
    if query != only_unknown {
        let detail = "with a JSON body only register_unknown may stand in the query";
        return Err(Problem::new(Kind::Malformed, detail));
    }
    let mut wanted = body.wish();
    wanted.register_unknown |= query.register_unknown;
    let work = Open {
        desk: &state.desk,
        tenant,
        wish: wish(call, wanted).map_err(json::wrong)?,
        trace: call.trace(),
    };
    let mut run = Run::new(&work, Naming::Pointer("/devices"));
    for (i, device) in devices.into_iter().enumerate() {
        run.add(i as u64, device, work.trace.take()).await;
    }
    run.finish().await.map_err(failed)
}

fn wrong_devices(wrong: WrongDevices) -> Problem {
    let detail = match wrong.as_slice() {
        [(pointer, why)] if pointer == "/devices" => why.clone(),
        _ => "the list holds texts that are no device ids".to_owned(),
    };
    let problem = Problem::new(Kind::Invalid, detail);
    wrong
        .into_iter()
        .fold(problem, |problem, (pointer, why)| problem.at(pointer, why))
}

fn wish(call: &Call, wanted: WishFields) -> Result<Wish, Wrong> {
    let settings = &call.state.settings;
    let lifetimes = Lifetimes {
        default: settings.push_deadline,
        max: settings.deadline_max,
    };
    wanted.prove(call.state.desk.clock.now(), lifetimes)
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
        match &answer {
            Wished::Open { opened, reachable } => {
                match opened {
                    Opened::Opened => sum.opened += 1,
                    Opened::Merged => sum.merged += 1,
                }
                sum.without_channel += u64::from(!reachable);
            }
            Wished::Unknown => sum.unknown += 1,
            Wished::Refused(_) => sum.full += 1,
        }
        answer.complaint()
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
