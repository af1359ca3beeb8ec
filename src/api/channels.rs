//! Channel URIs that devices reported.

use actix_web::{HttpResponse, http::Method, web::Payload};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    body::{self, Format, Longer, Pieces},
    bulk::{self, Refusal, Work},
    call::{Call, ok},
    json::{self, Text},
    problem::{Problem, ProblemBody},
    report::EntryError,
    route::{Endpoint, Entry},
    view::{DeviceView, Viewer},
};
use crate::{
    domain::{
        api_key::Scope,
        id::{DeviceId, TenantId},
        transition::Registered,
        wns::channel_uri::{ChannelUri, HostPolicy},
    },
    ports::error::StoreError,
    service::{self, command::channel::ChannelLine, desk::Desk},
};

pub(super) fn endpoints() -> Vec<Endpoint> {
    let one = "/v1/tenants/{tenant}/devices/{device}/channel";
    let many = "/v1/tenants/{tenant}/channels";
    vec![
        Endpoint::new(Entry::Write, Method::PUT, one, put),
        Endpoint::new(Entry::Write, Method::POST, many, post),
    ]
}

/// The channel that a device reported.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChannelBody<'a> {
    /// The channel URI, byte for byte.
    #[serde(borrow)]
    #[schema(value_type = String)]
    uri: Text<'a>,
}

/// Takes up the channel URI that one device reported.
#[utoipa::path(
    put, path = "/v1/tenants/{tenant}/devices/{device}/channel", tag = "channels", operation_id = "put_channel",
    params(("tenant" = String, Path), ("device" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    request_body = ChannelBody,
    responses((status = 200, body = DeviceView), (status = "default", body = ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn put(call: Call, payload: Payload) -> Result<HttpResponse, Problem> {
    let tenant = call.tenant(Scope::Register).await?;
    let device = call.device()?;
    body::format(&call.request, &[Format::Json])?;
    let state = &call.state;
    let max = state.settings.body_bytes_max;
    let whole = body::whole(&call, payload, max, Longer::Never).await?;
    let body: ChannelBody<'_> = json::parse(&whole.bytes)?;
    let uri = ChannelUri::parse(body.uri.as_str(), &state.hosts);
    let uri = uri.map_err(|error| Problem::invalid("/uri", error.to_string()))?;
    let report = (device.clone(), uri);
    let record = service::channels::register_one(&state.desk, &tenant.id, report).await?;
    let viewer = Viewer {
        uri_key: &state.uri_key,
        now: state.desk.clock.now(),
    };
    Ok(ok(&viewer.device(&device, &record)))
}

/// What became of the lines.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ChannelsAnswer {
    /// Devices that reported a new URI.
    registered: u64,
    /// Devices whose URI was known.
    unchanged: u64,
    /// Lines that could not be taken.
    refused: u64,
    /// The first 1,000 of them.
    errors: Vec<EntryError>,
}

/// Takes up the channel URIs that devices reported, one a line.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant}/channels", tag = "channels", operation_id = "post_channels",
    params(("tenant" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    request_body(content = ChannelLine, content_type = "application/x-ndjson"),
    responses((status = 200, body = ChannelsAnswer), (status = "default", body = ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn post(call: Call, payload: Payload) -> Result<HttpResponse, Problem> {
    let tenant = call.tenant(Scope::Register).await?;
    body::format(&call.request, &[Format::Ndjson])?;
    let state = &call.state;
    let pieces = Pieces::begin(&call, payload)?;
    let work = Register {
        desk: &state.desk,
        tenant: tenant.id,
        hosts: &state.hosts,
    };
    let report = bulk::stream(&work, pieces, state.settings.line_bytes_max).await;
    let report = report.map_err(|(problem, done)| {
        let done =
            serde_json::json!({ "registered": done.registered, "unchanged": done.unchanged });
        problem.with("done", done)
    })?;
    Ok(ok(&ChannelsAnswer {
        registered: report.sum.registered,
        unchanged: report.sum.unchanged,
        refused: report.refused,
        errors: report.errors,
    }))
}

#[derive(Debug, Default)]
struct Sum {
    registered: u64,
    unchanged: u64,
}

struct Register<'a> {
    desk: &'a Desk,
    tenant: TenantId,
    hosts: &'a HostPolicy,
}

impl Work for Register<'_> {
    type Line<'a> = ChannelLine<'a>;
    type Job = ChannelUri;
    type Answer = Registered;
    type Sum = Sum;

    fn prove(&self, line: ChannelLine<'_>) -> Result<(DeviceId, ChannelUri), Refusal> {
        line.prove(self.hosts)
            .map_err(|wrong| Refusal::new(line.device.as_str(), wrong.detail))
    }

    async fn apply(
        &self,
        jobs: Vec<(DeviceId, ChannelUri)>,
    ) -> Result<Vec<Registered>, StoreError> {
        service::channels::register(self.desk, &self.tenant, jobs).await
    }

    fn count(sum: &mut Sum, answer: Registered) -> Option<String> {
        match answer {
            Registered::New => sum.registered += 1,
            Registered::Unchanged => sum.unchanged += 1,
        }
        None
    }
}
