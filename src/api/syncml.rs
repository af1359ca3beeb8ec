//! SyncML for consoles that do not want to learn it: what to ask a device, and what its answer means.

use std::num::NonZeroU16;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{Method, header},
    web::Payload,
};
use serde::Deserialize;

use super::{
    body::{self, Longer},
    call::{Call, ok},
    problem::{Kind, Problem, ProblemBody},
    route::{Endpoint, Entry},
    syncml_view::{
        AnswerView, ChannelAnswer, CheckInNote, CommandsAnswer, Known, PushStatusView, Step,
        SyncMlAnswer, answer, channel_answer, pfn_view,
    },
};
use crate::{
    domain::{
        api_key::Scope,
        channel::ChannelKind,
        id::DeviceId,
        identity::Pfn,
        syncml::{
            commands::numbered,
            node::ProviderId,
            report::{ChannelFinding, SYNCML_BYTES_MAX, SyncMlError, SyncMlReport},
        },
        transition::Registered,
    },
    service::{
        self,
        check_ins::{CheckIn, Session},
        tenants::Tenant,
    },
};

/// What SyncML is sent as.
const SYNCML_XML: &str = "application/vnd.syncml.dm+xml";
/// Other names of the same.
const XML: [&str; 3] = [SYNCML_XML, "application/xml", "text/xml"];

pub(super) fn endpoints() -> Vec<Endpoint> {
    let report_path = "/v1/tenants/{tenant}/syncml";
    let commands_path = "/v1/tenants/{tenant}/syncml/commands";
    vec![
        Endpoint::new(Entry::Settle, Method::POST, report_path, post),
        Endpoint::new(Entry::Bounded, Method::GET, commands_path, commands),
    ]
}

/// The PFN of the tenant's app.
fn pfn(call: &Call, tenant: &Tenant) -> Result<Pfn, Problem> {
    let text = call.state.pfns.get(&tenant.app);
    let pfn = text.and_then(|text| Pfn::parse(text).ok());
    pfn.ok_or_else(|| no_pfn(tenant))
}

fn no_pfn(tenant: &Tenant) -> Problem {
    let detail = format!("the configuration has no PFN of app {}", tenant.app);
    Problem::new(Kind::Conflict, detail)
}

// === commands ===

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CommandsQuery {
    provider_id: String,
    #[serde(default)]
    first_time: bool,
    step: Option<Step>,
    first_cmd_id: Option<NonZeroU16>,
}

/// Gives the commands that set a device's PFN and ask for its channel; with `Accept: application/xml` as XML alone.
#[utoipa::path(
    get, path = "/v1/tenants/{tenant}/syncml/commands", tag = "syncml", operation_id = "syncml_commands",
    params(
        ("tenant" = String, Path),
        ("provider_id" = String, Query, description = "the PROVIDER-ID of the enrolment, not percent-encoded a second time"),
        ("first_time" = Option<bool>, Query, description = "true: Add; else Replace"),
        ("step" = Option<Step>, Query, description = "wins over first_time; what the answer to a report names as next"),
        ("first_cmd_id" = Option<u16>, Query, description = "the first CmdID, 1 to 65535, default 2"),
    ),
    responses(
        (status = 200, content((CommandsAnswer = "application/json"), (String = "application/xml"))),
        (status = "default", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn commands(call: Call) -> Result<HttpResponse, Problem> {
    let tenant = call.tenant(Scope::Read).await?;
    let query: CommandsQuery = call.query()?;
    let provider = provider(&query.provider_id)?;
    let step = query.step.unwrap_or(if query.first_time {
        Step::FirstTime
    } else {
        Step::Again
    });
    let first = query.first_cmd_id.unwrap_or(FIRST_CMD_ID);
    let commands = step.commands(&provider, || pfn(&call, &tenant), first)?;
    let accept = call.request.headers().get(header::ACCEPT);
    let accept = accept.and_then(|v| v.to_str().ok()).unwrap_or_default();
    if XML.iter().any(|name| accept.contains(name)) {
        let mut response = HttpResponse::Ok();
        response.content_type("application/xml; charset=utf-8");
        return Ok(response.body(commands.to_string()));
    }
    Ok(ok(&answer(step, &commands)))
}

/// Number of the first command if nobody says: 1 is usually the `Status` of the header.
const FIRST_CMD_ID: NonZeroU16 = NonZeroU16::new(2).expect("two is not zero");

fn provider(text: &str) -> Result<ProviderId, Problem> {
    ProviderId::new(text).map_err(|e| Problem::parameter("provider_id", e.to_string()))
}

// === what a device said ===

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReportQuery {
    device: Option<String>,
    provider_id: Option<String>,
    #[serde(default)]
    check_in: bool,
    sent: Option<Step>,
    first_cmd_id: Option<NonZeroU16>,
}

/// Takes the SyncML that a device sent: registers the channel in it, explains the rest, and says what to do next.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant}/syncml", tag = "syncml", operation_id = "post_syncml",
    params(
        ("tenant" = String, Path), ("Idempotency-Key" = Option<String>, Header),
        ("device" = Option<String>, Query, description = "the device, if Source/LocURI of the message does not name it"),
        ("provider_id" = Option<String>, Query, description = "only this provider's settings count; needed where a message speaks of several, unless one alone reports a ChannelURI"),
        ("check_in" = Option<bool>, Query, description = "true: the session counts as a check-in that begins now"),
        ("sent" = Option<Step>, Query, description = "the commands that the message answers, for answers that name no node"),
        ("first_cmd_id" = Option<u16>, Query, description = "with sent: the first CmdID, default 2"),
    ),
    request_body(content = String, content_type = "application/vnd.syncml.dm+xml"),
    responses((status = 200, body = SyncMlAnswer), (status = "default", body = ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn post(call: Call, payload: Payload) -> Result<HttpResponse, Problem> {
    let tenant = call.tenant(Scope::Register).await?;
    let query: ReportQuery = call.query()?;
    let asked = query.provider_id.as_deref().map(provider).transpose()?;
    xml_only(&call.request)?;
    let state = &call.state;
    let whole = body::whole(&call, payload, SYNCML_BYTES_MAX, Longer::Never).await?;
    let report = SyncMlReport::read(&whole.bytes, asked.as_ref(), &state.hosts);
    let report = report.map_err(unreadable)?;
    let device = device(&query, &report)?;
    let (channel, noted) = take_up(&call, &tenant, (&device, &report), query.check_in).await?;
    let provider = asked.or_else(|| report.provider.clone());
    let pfn = pfn(&call, &tenant).ok();
    let first = query.first_cmd_id.unwrap_or(FIRST_CMD_ID);
    let sent = query.sent.map(|step| numbered(step.how(), first));
    let next = match Step::from(report.next_step(sent.as_deref())) {
        // It reports what WNS refuses: only a new PFN makes it ask for another channel.
        Step::Query if channel.is_dead() && !report.has_set_pfn(sent.as_deref()) => Step::Again,
        step => step,
    };
    let commands = provider.as_ref().and_then(|provider| {
        let pfn = || pfn.clone().ok_or_else(|| no_pfn(&tenant));
        next.commands(provider, pfn, first).ok()
    });
    Ok(ok(&SyncMlAnswer {
        device: device.to_string(),
        provider_id: provider.as_ref().map(ToString::to_string),
        channel,
        push_status: report.push_status.map(PushStatusView::from),
        pfn: report
            .pfn
            .as_ref()
            .map(|text| pfn_view(text.as_str(), &pfn)),
        answers: report
            .answers_to(sent.as_deref())
            .iter()
            .map(AnswerView::from)
            .collect(),
        check_in: noted.map(|(note, _)| note),
        closed: noted.and_then(|(_, closed)| closed),
        next,
        commands: commands.map(|commands| answer(next, &commands)),
    }))
}

fn xml_only(request: &HttpRequest) -> Result<(), Problem> {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let content_type = content_type
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if XML.iter().any(|name| essence.eq_ignore_ascii_case(name)) {
        return Ok(());
    }
    let detail = format!("send the device's message as {SYNCML_XML}");
    Err(Problem::new(Kind::UnsupportedMediaType, detail).header(header::ACCEPT, SYNCML_XML))
}

fn unreadable(error: SyncMlError) -> Problem {
    let kind = match error {
        SyncMlError::Ambiguous => return Problem::parameter("provider_id", error.to_string()),
        SyncMlError::TooLarge => Kind::TooLarge,
        SyncMlError::Wbxml => Kind::UnsupportedMediaType,
        SyncMlError::TooDeep
        | SyncMlError::NotUtf8 { .. }
        | SyncMlError::Dtd
        | SyncMlError::Entity { .. }
        | SyncMlError::Malformed { .. }
        | SyncMlError::NotSyncMl => Kind::Malformed,
    };
    Problem::new(kind, error.to_string())
}

/// The device that the query names, or else the message.
fn device(query: &ReportQuery, report: &SyncMlReport) -> Result<DeviceId, Problem> {
    if let Some(text) = &query.device {
        return DeviceId::new(text).map_err(|e| Problem::parameter("device", e.to_string()));
    }
    let source = report.device.as_ref();
    let named = source.and_then(|text| DeviceId::new(text.as_str()).ok());
    named.ok_or_else(|| {
        let detail = "Source/LocURI of the message is no device id: name the device in the query";
        Problem::parameter("device", detail)
    })
}

/// Whether a session counts, and how many asks it closed if it does.
type Noted = (CheckInNote, Option<u64>);

/// Registers the channel and notes the session, as far as the message and the console say so.
async fn take_up(
    call: &Call,
    tenant: &Tenant,
    (device, report): (&DeviceId, &SyncMlReport),
    check_in: bool,
) -> Result<(ChannelAnswer, Option<Noted>), Problem> {
    let desk = &call.state.desk;
    let uri = match &report.channel {
        ChannelFinding::Uri(uri) => Some(uri.clone()),
        ChannelFinding::NotReported | ChannelFinding::Empty | ChannelFinding::Refused(_) => None,
    };
    if check_in {
        let session = Session {
            at: None,
            uri: uri.clone(),
        };
        let sessions = vec![(device.clone(), session)];
        let noted = service::check_ins::check_in(desk, &tenant.id, sessions).await?;
        let (noted, updated) = match noted.first() {
            Some(CheckIn::Noted {
                closed,
                channel_updated,
                ..
            }) => ((CheckInNote::Noted, Some(*closed as u64)), *channel_updated),
            Some(CheckIn::Unknown) | None => ((CheckInNote::UnknownDevice, None), false),
        };
        let known = known(call, tenant, device, updated).await?;
        return Ok((channel_answer(report, uri.as_ref(), known), Some(noted)));
    }
    let Some(uri) = uri else {
        return Ok((channel_answer(report, None, Known::Usable), None));
    };
    let reports = vec![(device.clone(), uri.clone())];
    let registered = service::channels::register(desk, &tenant.id, reports).await?;
    let updated = registered.contains(&Registered::New);
    let known = known(call, tenant, device, updated).await?;
    Ok((channel_answer(report, Some(&uri), known), None))
}

/// What is known of a URI that the device reported.
async fn known(
    call: &Call,
    tenant: &Tenant,
    device: &DeviceId,
    updated: bool,
) -> Result<Known, Problem> {
    if updated {
        return Ok(Known::New);
    }
    let record = service::devices::get(&call.state.desk, &tenant.id, device).await?;
    let dead = record.is_some_and(|record| record.channel_kind() == ChannelKind::Dead);
    Ok(if dead { Known::Dead } else { Known::Usable })
}
