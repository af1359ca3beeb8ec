//! The targets of a campaign: adding them to a draft, and the report of what became of each.

use actix_web::{
    HttpResponse,
    http::{Method, header},
    web::{Bytes, Payload},
};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    body::{self, Format, Pieces},
    bulk::{self, Refusal, Work},
    call::{Call, ok},
    campaign_view::TargetLine,
    campaigns::{UNKNOWN, named, page_failed},
    devices::DeviceLine,
    page::{self, PageBody, PageQuery},
    problem::{Problem, ProblemBody},
    report::EntryError,
    route::{Endpoint, Entry},
};
use crate::{
    domain::{
        api_key::Scope,
        campaign::TargetStatus,
        id::{CampaignId, DeviceId, TenantId},
    },
    ports::error::StoreError,
    service::campaign::{CampaignError, Campaigns, Listing},
};

/// Targets read from the store at a time for a whole report.
const READ_MAX: usize = 512;

pub(super) fn endpoints() -> Vec<Endpoint> {
    let path = "/v1/tenants/{tenant}/campaigns/{id}/targets";
    vec![
        Endpoint::new(Entry::Write, Method::POST, path, post),
        Endpoint::new(Entry::Bounded, Method::GET, path, get),
    ]
}

// === adding ===

/// What became of the targets.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TargetsAnswer {
    /// Targets that were added.
    added: u64,
    /// Targets that were listed already.
    repeated: u64,
    /// Devices that nobody has named.
    unknown: u64,
    /// Lines that could not be taken.
    refused: u64,
    /// The first 1,000 errors.
    errors: Vec<EntryError>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AddQuery {
    #[serde(default)]
    register_unknown: bool,
}

/// Adds targets to a draft, one a line.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant}/campaigns/{id}/targets", tag = "campaigns", operation_id = "add_campaign_targets",
    params(
        ("tenant" = String, Path), ("id" = String, Path), ("Idempotency-Key" = Option<String>, Header),
        ("register_unknown" = Option<bool>, Query, description = "takes devices that nobody has named"),
    ),
    request_body(content = DeviceLine, content_type = "application/x-ndjson"),
    responses((status = 200, body = TargetsAnswer), (status = "default", body = ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn post(call: Call, payload: Payload) -> Result<HttpResponse, Problem> {
    let (tenant, id) = named(&call, Scope::Campaign).await?;
    let query: AddQuery = call.query()?;
    body::format(&call.request, &[Format::Ndjson])?;
    let state = &call.state;
    // Whether it takes targets at all is told before the body is read.
    state
        .campaigns
        .add_targets(&tenant, &id, &[], false)
        .await?;
    let work = Add {
        campaigns: &state.campaigns,
        tenant,
        id,
        register_unknown: query.register_unknown,
    };
    let pieces = Pieces::begin(&call, payload)?;
    let report = bulk::stream(&work, pieces, state.settings.line_bytes_max).await;
    let report = report.map_err(|(problem, done): (Problem, Sum)| {
        problem.with("done", serde_json::json!({ "added": done.added }))
    })?;
    Ok(ok(&TargetsAnswer {
        added: report.sum.added,
        repeated: report.sum.repeated,
        unknown: report.sum.unknown,
        refused: report.refused + report.sum.refused,
        errors: report.errors,
    }))
}

#[derive(Debug, Default)]
struct Sum {
    added: u64,
    repeated: u64,
    unknown: u64,
    /// Proven, but the campaign took no more.
    refused: u64,
}

struct Add<'a> {
    campaigns: &'a Campaigns,
    tenant: TenantId,
    id: CampaignId,
    register_unknown: bool,
}

impl Work for Add<'_> {
    type Line<'a> = DeviceLine<'a>;
    type Job = ();
    /// Why it was not listed, if the campaign takes no more.
    type Answer = Result<Listing, String>;
    type Sum = Sum;

    fn prove(&self, line: DeviceLine<'_>) -> Result<(DeviceId, ()), Refusal> {
        Ok((line.prove()?, ()))
    }

    async fn apply(&self, jobs: Vec<(DeviceId, ())>) -> Result<Vec<Self::Answer>, StoreError> {
        let devices: Vec<DeviceId> = jobs.into_iter().map(|(device, ())| device).collect();
        let listings =
            self.campaigns
                .add_targets(&self.tenant, &self.id, &devices, self.register_unknown);
        match listings.await {
            Ok(listings) => Ok(listings.into_iter().map(Ok).collect()),
            Err(CampaignError::Store(error)) => Err(error),
            Err(
                error @ (CampaignError::Unknown(_)
                | CampaignError::Refused(_)
                | CampaignError::Invalid(_)),
            ) => Ok(vec![Err(error.to_string()); devices.len()]),
        }
    }

    fn count(sum: &mut Sum, answer: Self::Answer) -> Option<String> {
        match answer {
            Ok(Listing::Added) => sum.added += 1,
            Ok(Listing::Repeated) => sum.repeated += 1,
            Ok(Listing::Unknown) => {
                sum.unknown += 1;
                return Some(UNKNOWN.to_owned());
            }
            Err(detail) => {
                sum.refused += 1;
                return Some(detail);
            }
        }
        None
    }
}

// === the report ===

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReportQuery {
    state: Option<String>,
    format: Option<String>,
    cursor: Option<String>,
    limit: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    Page,
    Ndjson,
    Csv,
}

/// Shows the targets with what became of each: a page, or with `Accept: application/x-ndjson` or `text/csv` all of them.
#[utoipa::path(
    get, path = "/v1/tenants/{tenant}/campaigns/{id}/targets", tag = "campaigns", operation_id = "get_campaign_targets",
    params(
        ("tenant" = String, Path), ("id" = String, Path),
        ("state" = Option<String>, Query, description = "only targets in these states, separated by commas"),
        ("format" = Option<String>, Query, description = "json, ndjson or csv: wins over Accept"),
        ("cursor" = Option<String>, Query), ("limit" = Option<usize>, Query, description = "1 to 1000, default 100; for pages"),
    ),
    responses(
        (status = 200, content((PageBody<TargetLine> = "application/json"), (TargetLine = "application/x-ndjson"), (String = "text/csv"))),
        (status = "default", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn get(call: Call) -> Result<HttpResponse, Problem> {
    let (tenant, id) = named(&call, Scope::Read).await?;
    let query: ReportQuery = call.query()?;
    let states = states(query.state.as_deref())?;
    let written = written(&call, query.format.as_deref())?;
    let page = PageQuery {
        cursor: query.cursor,
        limit: query.limit,
    };
    let name = format!("targets/{id}/{}", query.state.as_deref().unwrap_or("all"));
    let cursor = page.store_cursor(&name)?;
    let limit = page.limit()?;
    let campaigns = &call.state.campaigns;
    if written == Written::Page {
        let found = campaigns.targets(&tenant, &id, &states, (cursor.as_deref(), limit));
        let found = found.await.map_err(|error| page_failed(error, &page))?;
        return Ok(ok(&page::body(&name, found, TargetLine::from)));
    }
    let mut reader = Reader {
        campaigns: campaigns.clone(),
        tenant,
        id,
        states,
        csv: written == Written::Csv,
        cursor,
        first: None,
        through: false,
    };
    // The first piece is read before the answer begins, so that it can still be a problem.
    reader.first = Some(reader.read().await?);
    let mut response = HttpResponse::Ok();
    if reader.csv {
        response.content_type("text/csv; charset=utf-8");
    } else {
        response.content_type("application/x-ndjson");
    }
    Ok(response.streaming(stream::try_unfold(reader, Reader::next)))
}

fn states(text: Option<&str>) -> Result<Vec<TargetStatus>, Problem> {
    let words = text.unwrap_or_default().split(',').map(str::trim);
    let words = words.filter(|word| !word.is_empty());
    let states = words.map(str::parse).collect::<Result<_, _>>();
    states.map_err(|error: crate::domain::campaign::UnknownStatus| {
        Problem::parameter("state", error.to_string())
    })
}

fn written(call: &Call, format: Option<&str>) -> Result<Written, Problem> {
    match format {
        Some("json") => return Ok(Written::Page),
        Some("ndjson") => return Ok(Written::Ndjson),
        Some("csv") => return Ok(Written::Csv),
        Some(_) => {
            let detail = "format is json, ndjson or csv";
            return Err(Problem::parameter("format", detail));
        }
        None => {}
    }
    let accept = call.request.headers().get(header::ACCEPT);
    let accept = accept.and_then(|v| v.to_str().ok()).unwrap_or_default();
    let mut types = accept
        .split(',')
        .map(|part| part.split(';').next().unwrap_or_default().trim());
    Ok(types
        .find_map(|essence| match essence {
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" => {
                Some(Written::Ndjson)
            }
            "text/csv" => Some(Written::Csv),
            "application/json" => Some(Written::Page),
            _ => None,
        })
        .unwrap_or(Written::Page))
}

/// A whole report on its way.
struct Reader {
    campaigns: Campaigns,
    tenant: TenantId,
    id: CampaignId,
    states: Vec<TargetStatus>,
    csv: bool,
    cursor: Option<String>,
    first: Option<Bytes>,
    through: bool,
}

impl Reader {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, Problem> {
        if let Some(mut first) = self.first.take() {
            if self.csv {
                first = [TargetLine::COLUMNS.as_bytes(), &first].concat().into();
            }
            if !first.is_empty() {
                return Ok(Some((first, self)));
            }
        }
        while !self.through {
            let piece = self.read().await?;
            if !piece.is_empty() {
                return Ok(Some((piece, self)));
            }
        }
        Ok(None)
    }

    /// The next page as text; may be empty.
    async fn read(&mut self) -> Result<Bytes, Problem> {
        let page = (self.cursor.as_deref(), READ_MAX);
        let campaigns = &self.campaigns;
        let found = campaigns.targets(&self.tenant, &self.id, &self.states, page);
        let found = found.await?;
        self.through = found.next.is_none();
        self.cursor = found.next;
        let mut text = String::new();
        for line in found.items.into_iter().map(TargetLine::from) {
            if self.csv {
                text.push_str(&line.csv());
            } else {
                text.push_str(&serde_json::to_string(&line).expect("a line is plain JSON"));
                text.push('\n');
            }
        }
        Ok(text.into())
    }
}
