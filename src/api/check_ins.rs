//! Check-ins: the console's word that devices have started sessions.

use std::time::Duration;

use actix_web::{HttpResponse, http::Method, web::Payload};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    body::{self, Format, Longer, Pieces},
    bulk::{self, Refusal, Report, Run, Work},
    call::{Call, ok},
    json,
    problem::{Problem, ProblemBody},
    report::{EntryError, Naming},
    route::{Endpoint, Entry},
};
use crate::{
    domain::{
        api_key::Scope,
        id::{DeviceId, TenantId},
        wns::channel_uri::HostPolicy,
    },
    ports::error::StoreError,
    service::{
        self,
        check_ins::CheckIn,
        command::check_in::{self, CheckInBody},
        desk::Desk,
        slow_down,
    },
};

pub(super) fn endpoints() -> Vec<Endpoint> {
    let path = "/v1/tenants/{tenant}/check-ins";
    vec![Endpoint::new(Entry::Settle, Method::POST, path, post)]
}

/// What became of the check-ins.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CheckInsAnswer {
    /// Check-ins that were noted.
    noted: u64,
    /// Asks that they closed.
    closed: u64,
    /// New channel URIs that they brought.
    channels_updated: u64,
    /// Check-ins of devices that nobody has named and that brought no channel.
    unknown: u64,
    /// Entries that could not be taken.
    refused: u64,
    /// How far the latest session lies ahead of the broker's clock; 0 when none does. The clocks differ by at least this.
    ahead_seconds: i64,
    /// Until when campaigns of the tenant release nothing, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    slow_down_until: Option<Timestamp>,
    /// The first 1,000 refused ones.
    errors: Vec<EntryError>,
}

/// Notes sessions: closes the asks that waited for them, and takes up the channels they bring.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant}/check-ins", tag = "check-ins", operation_id = "post_check_ins",
    params(("tenant" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    request_body(content((CheckInBody = "application/json"), (CheckInBody = "application/x-ndjson"))),
    responses((status = 200, body = CheckInsAnswer), (status = "default", body = ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn post(call: Call, payload: Payload) -> Result<HttpResponse, Problem> {
    let tenant = call.tenant(Scope::Register).await?;
    let format = body::format(&call.request, &[Format::Json, Format::Ndjson])?;
    let state = &call.state;
    let work = Note {
        desk: &state.desk,
        tenant: tenant.id.clone(),
        hosts: &state.hosts,
    };
    let report = match format {
        Format::Json => {
            let max = state.settings.body_bytes_max;
            let whole = body::whole(&call, payload, max, Longer::Stream).await?;
            one(&work, json::parse(&whole.bytes)?).await?
        }
        Format::Ndjson => {
            let pieces = Pieces::begin(&call, payload)?;
            let report = bulk::stream(&work, pieces, state.settings.line_bytes_max).await;
            report.map_err(failed)?
        }
    };
    let sum = report.sum;
    let slow_down_until = match sum.slow_down {
        None => None,
        Some(within) => {
            let now = state.desk.clock.now();
            slow_down::ask(&*state.desk.store, &tenant.id, now, within).await?
        }
    };
    Ok(ok(&CheckInsAnswer {
        noted: sum.noted,
        closed: sum.closed,
        channels_updated: sum.channels_updated,
        unknown: sum.unknown,
        refused: report.refused,
        ahead_seconds: sum.ahead.as_secs(),
        slow_down_until,
        errors: report.errors,
    }))
}

/// One check-in as JSON: what is wrong with it is a problem of the whole request.
async fn one(work: &Note<'_>, body: CheckInBody<'_>) -> Result<Report<Sum>, Problem> {
    let (device, job) = body.prove(work.hosts).map_err(json::wrong)?;
    let mut run = Run::new(work, Naming::Only);
    run.add(1, device, job).await;
    run.finish().await.map_err(failed)
}

fn failed((problem, done): (Problem, Sum)) -> Problem {
    let done = serde_json::json!({ "noted": done.noted, "closed": done.closed });
    problem.with("done", done)
}

#[derive(Debug, Default)]
struct Sum {
    noted: u64,
    closed: u64,
    channels_updated: u64,
    unknown: u64,
    ahead: SignedDuration,
    slow_down: Option<Duration>,
}

struct Note<'a> {
    desk: &'a Desk,
    tenant: TenantId,
    hosts: &'a HostPolicy,
}

impl Work for Note<'_> {
    type Line<'a> = CheckInBody<'a>;
    type Job = check_in::Report;
    type Answer = (CheckIn, Option<Duration>);
    type Sum = Sum;

    fn prove(&self, line: CheckInBody<'_>) -> Result<(DeviceId, check_in::Report), Refusal> {
        line.prove(self.hosts)
            .map_err(|wrong| Refusal::new(line.device.as_str(), wrong.detail))
    }

    async fn apply(
        &self,
        jobs: Vec<(DeviceId, check_in::Report)>,
    ) -> Result<Vec<Self::Answer>, StoreError> {
        let asked: Vec<_> = jobs.iter().map(|(_, job)| job.slow_down).collect();
        let sessions = jobs.into_iter().map(|(device, job)| (device, job.session));
        let sessions = sessions.collect();
        let noted = service::check_ins::check_in(self.desk, &self.tenant, sessions).await?;
        Ok(noted.into_iter().zip(asked).collect())
    }

    fn count(sum: &mut Sum, (answer, slow_down): Self::Answer) -> Option<String> {
        sum.slow_down = sum.slow_down.max(slow_down);
        match answer {
            CheckIn::Noted {
                closed,
                channel_updated,
                ahead,
                ..
            } => {
                sum.noted += 1;
                sum.closed += closed as u64;
                sum.channels_updated += u64::from(channel_updated);
                sum.ahead = sum.ahead.max(ahead);
            }
            CheckIn::Unknown => sum.unknown += 1,
        }
        None
    }
}
