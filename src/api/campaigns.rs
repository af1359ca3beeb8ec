//! Campaigns: making, starting, pausing, watching and forgetting them.

use actix_web::{
    HttpResponse,
    http::{Method, StatusCode, header},
    web::Payload,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    body,
    call::{self, Call, ok},
    campaign_body::{CampaignBody, CampaignPace, invalid},
    campaign_view::CampaignView,
    dry_run_view::DryRunView,
    page::{self, PageBody, PageQuery},
    problem::{Kind, Problem, ProblemBody},
    report::{EntryError, Errors, Naming},
    route::{Endpoint, Entry},
};
use crate::{
    domain::{
        api_key::Scope,
        campaign::{Campaign, Selection},
        id::{CampaignId, DeviceId, TenantId},
    },
    service::campaign::{CampaignError, Listing, TARGETS_PER_CALL_MAX},
};

const ALL: &str = "/v1/tenants/{tenant}/campaigns";
const ONE: &str = "/v1/tenants/{tenant}/campaigns/{id}";

pub(super) fn endpoints() -> Vec<Endpoint> {
    let start_path = "/v1/tenants/{tenant}/campaigns/{id}/start";
    let pause_path = "/v1/tenants/{tenant}/campaigns/{id}/pause";
    let resume_path = "/v1/tenants/{tenant}/campaigns/{id}/resume";
    let cancel_path = "/v1/tenants/{tenant}/campaigns/{id}/cancel";
    let pace_path = "/v1/tenants/{tenant}/campaigns/{id}/pace";
    let dry_run_path = "/v1/tenants/{tenant}/campaigns/{id}/dry-run";
    vec![
        Endpoint::new(Entry::Bounded, Method::GET, ALL, list),
        Endpoint::new(Entry::Write, Method::POST, ALL, post),
        Endpoint::new(Entry::Bounded, Method::GET, ONE, get),
        Endpoint::new(Entry::Settle, Method::DELETE, ONE, delete),
        Endpoint::new(Entry::Write, Method::POST, start_path, start),
        Endpoint::new(Entry::Settle, Method::POST, pause_path, pause),
        Endpoint::new(Entry::Settle, Method::POST, resume_path, resume),
        Endpoint::new(Entry::Settle, Method::POST, cancel_path, cancel),
        Endpoint::new(Entry::Settle, Method::PUT, pace_path, put_pace),
        Endpoint::new(Entry::Bounded, Method::POST, dry_run_path, dry_run),
    ]
}

impl From<CampaignError> for Problem {
    fn from(error: CampaignError) -> Self {
        match error {
            CampaignError::Unknown(id) => {
                Self::new(Kind::UnknownCampaign, format!("there is no campaign {id}"))
            }
            CampaignError::Refused(refusal) => Self::new(Kind::Conflict, refusal.to_string()),
            CampaignError::Invalid(errors) => invalid(errors),
            CampaignError::Store(error) => error.into(),
        }
    }
}

/// The tenant and the campaign that the path names.
pub(super) async fn named(call: &Call, scope: Scope) -> Result<(TenantId, CampaignId), Problem> {
    let tenant = call.tenant(scope).await?;
    Ok((tenant.id, call.named("id")?))
}

async fn view(call: &Call, tenant: &TenantId, campaign: Campaign) -> Result<CampaignView, Problem> {
    let report = call.state.campaigns.report_on(tenant, campaign).await?;
    Ok(report.into())
}

/// Lists the campaigns of a tenant, oldest first.
#[utoipa::path(
    get, path = "/v1/tenants/{tenant}/campaigns", tag = "campaigns", operation_id = "list_campaigns",
    params(("tenant" = String, Path), ("cursor" = Option<String>, Query), ("limit" = Option<usize>, Query)),
    responses((status = 200, body = PageBody<CampaignView>), (status = "default", body = ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn list(call: Call) -> Result<HttpResponse, Problem> {
    let tenant = call.tenant(Scope::Read).await?;
    let query: PageQuery = call.query()?;
    let cursor = query.store_cursor("campaigns")?;
    let campaigns = &call.state.campaigns;
    let found = campaigns.list(&tenant.id, cursor.as_deref(), query.limit()?);
    let found = found.await.map_err(|error| page_failed(error, &query))?;
    let mut items = Vec::with_capacity(found.items.len());
    for campaign in found.items {
        items.push(view(&call, &tenant.id, campaign).await?);
    }
    let page = crate::ports::records::Page {
        items,
        next: found.next,
    };
    Ok(ok(&page::body("campaigns", page, |view| view)))
}

/// A page that could not be read: a cursor that the store does not know is the caller's fault.
pub(super) fn page_failed(error: CampaignError, query: &PageQuery) -> Problem {
    match error {
        CampaignError::Store(error) => page::failed(error, query),
        CampaignError::Unknown(_) | CampaignError::Refused(_) | CampaignError::Invalid(_) => {
            error.into()
        }
    }
}

/// A campaign that was made, and what became of the targets that came with it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CreatedCampaign {
    /// The campaign.
    #[serde(flatten)]
    campaign: CampaignView,
    /// Devices that nobody has named: they are not targets.
    unknown: u64,
    /// The first 1,000 of them.
    errors: Vec<EntryError>,
}

/// Makes a draft, with its targets if they are named.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant}/campaigns", tag = "campaigns", operation_id = "create_campaign",
    params(("tenant" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    request_body = CampaignBody,
    responses((status = 201, body = CreatedCampaign), (status = "default", body = ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn post(call: Call, payload: Payload) -> Result<HttpResponse, Problem> {
    let tenant = call.tenant(Scope::Campaign).await?.id;
    let body: CampaignBody = body::json(&call, payload).await?;
    let register_unknown = body.register_unknown;
    let proven = body.prove()?;
    if let Selection::LeftOf { campaign, .. } = &proven.definition.selection {
        let other = call.state.campaigns.get(&tenant, campaign).await;
        other.map_err(|error| match error {
            CampaignError::Unknown(_) => {
                Problem::invalid("/targets_from/campaign", error.to_string())
            }
            CampaignError::Refused(_) | CampaignError::Invalid(_) | CampaignError::Store(_) => {
                error.into()
            }
        })?;
    }
    let campaigns = &call.state.campaigns;
    let campaign = campaigns.create(&tenant, proven.definition).await?;
    let id = campaign.id.clone();
    let listed = add(&call, (&tenant, &id), &proven.devices, register_unknown).await;
    let (unknown, errors) = match listed {
        Ok(listed) => listed,
        Err(problem) => {
            // Nobody knows the half-made draft; if it stays, it does nothing.
            campaigns.delete(&tenant, &id).await.ok();
            return Err(problem);
        }
    };
    let created = CreatedCampaign {
        campaign: view(&call, &tenant, campaign).await?,
        unknown,
        errors,
    };
    let mut response = call::json(StatusCode::CREATED, &created);
    let place = format!("/v1/tenants/{tenant}/campaigns/{id}");
    if let Ok(place) = header::HeaderValue::from_str(&place) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    Ok(response)
}

async fn add(
    call: &Call,
    (tenant, id): (&TenantId, &CampaignId),
    devices: &[DeviceId],
    register_unknown: bool,
) -> Result<(u64, Vec<EntryError>), Problem> {
    let mut unknown = 0;
    let mut errors = Errors::new(Naming::Pointer("/targets"));
    for (batch, devices) in devices.chunks(TARGETS_PER_CALL_MAX).enumerate() {
        let campaigns = &call.state.campaigns;
        let listings = campaigns.add_targets(tenant, id, devices, register_unknown);
        for (at, listing) in listings.await?.into_iter().enumerate() {
            if listing == Listing::Unknown {
                unknown += 1;
                let number = (batch * TARGETS_PER_CALL_MAX + at) as u64;
                errors.note(number, Some(devices[at].as_str()), UNKNOWN);
            }
        }
    }
    Ok((unknown, errors.into_list()))
}

/// Why a device is no target.
pub(super) const UNKNOWN: &str = "there is no such device; register_unknown=true takes it";

/// Shows a campaign: its state, counts that add up, attempts, percentiles.
#[utoipa::path(
    get, path = "/v1/tenants/{tenant}/campaigns/{id}", tag = "campaigns", operation_id = "get_campaign",
    params(("tenant" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = CampaignView), (status = "default", body = ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn get(call: Call) -> Result<HttpResponse, Problem> {
    let (tenant, id) = named(&call, Scope::Read).await?;
    let report = call.state.campaigns.report(&tenant, &id).await?;
    Ok(ok(&CampaignView::from(report)))
}

/// Forgets a draft or a closed campaign, its targets and their results.
#[utoipa::path(
    delete, path = "/v1/tenants/{tenant}/campaigns/{id}", tag = "campaigns", operation_id = "delete_campaign",
    params(("tenant" = String, Path), ("id" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 204), (status = "default", body = ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn delete(call: Call) -> Result<HttpResponse, Problem> {
    let (tenant, id) = named(&call, Scope::Campaign).await?;
    call.state.campaigns.delete(&tenant, &id).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Starts a draft: its targets are listed, then released.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant}/campaigns/{id}/start", tag = "campaigns", operation_id = "start_campaign",
    params(("tenant" = String, Path), ("id" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = CampaignView), (status = "default", body = ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn start(call: Call) -> Result<HttpResponse, Problem> {
    let (tenant, id) = named(&call, Scope::Campaign).await?;
    let trace = call.trace().take();
    let campaign = call.state.campaigns.start(&tenant, &id, trace).await?;
    Ok(ok(&view(&call, &tenant, campaign).await?))
}

/// Pauses a campaign: nothing is released or sent.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant}/campaigns/{id}/pause", tag = "campaigns", operation_id = "pause_campaign",
    params(("tenant" = String, Path), ("id" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = CampaignView), (status = "default", body = ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn pause(call: Call) -> Result<HttpResponse, Problem> {
    let (tenant, id) = named(&call, Scope::Campaign).await?;
    let campaign = call.state.campaigns.pause(&tenant, &id).await?;
    Ok(ok(&view(&call, &tenant, campaign).await?))
}

/// Lets a paused campaign go on; after a failed gate with the next wave.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant}/campaigns/{id}/resume", tag = "campaigns", operation_id = "resume_campaign",
    params(("tenant" = String, Path), ("id" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = CampaignView), (status = "default", body = ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn resume(call: Call) -> Result<HttpResponse, Problem> {
    let (tenant, id) = named(&call, Scope::Campaign).await?;
    let campaign = call.state.campaigns.resume(&tenant, &id).await?;
    Ok(ok(&view(&call, &tenant, campaign).await?))
}

/// Calls a campaign off: what has not ended ends as `cancelled`.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant}/campaigns/{id}/cancel", tag = "campaigns", operation_id = "cancel_campaign",
    params(("tenant" = String, Path), ("id" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = CampaignView), (status = "default", body = ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn cancel(call: Call) -> Result<HttpResponse, Problem> {
    let (tenant, id) = named(&call, Scope::Campaign).await?;
    let campaign = call.state.campaigns.cancel(&tenant, &id).await?;
    Ok(ok(&view(&call, &tenant, campaign).await?))
}

/// Changes the pace of a campaign, at once.
#[utoipa::path(
    put, path = "/v1/tenants/{tenant}/campaigns/{id}/pace", tag = "campaigns", operation_id = "put_campaign_pace",
    params(("tenant" = String, Path), ("id" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    request_body = CampaignPace,
    responses((status = 200, body = CampaignView), (status = "default", body = ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn put_pace(call: Call, payload: Payload) -> Result<HttpResponse, Problem> {
    let (tenant, id) = named(&call, Scope::Campaign).await?;
    let pace: CampaignPace = body::json(&call, payload).await?;
    let campaign = call.state.campaigns.set_pace(&tenant, &id, pace.into());
    let campaign = campaign.await?;
    Ok(ok(&view(&call, &tenant, campaign).await?))
}

/// Tells whom a campaign would reach, how long it would take, and what its deadline would cut off. Reads every device that
/// it is for.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant}/campaigns/{id}/dry-run", tag = "campaigns", operation_id = "dry_run_campaign",
    params(("tenant" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = DryRunView), (status = "default", body = ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn dry_run(call: Call) -> Result<HttpResponse, Problem> {
    let (tenant, id) = named(&call, Scope::Read).await?;
    let run = call.state.campaigns.dry_run(&tenant, &id).await?;
    Ok(ok(&DryRunView::from(run)))
}
