//! Webhooks: where a console wants its events, for those that do not read the feed.

use actix_web::{
    HttpResponse,
    http::{Method, StatusCode, header},
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
        id::{TenantId, WebhookId},
        webhook::{Progress, Settings, Webhook},
    },
    ports::feed::{After, Cursor, FeedError},
    service::webhook::WebhookError,
};

pub(super) fn endpoints() -> Vec<Endpoint> {
    let all = "/v1/tenants/{tenant}/webhooks";
    let one = "/v1/tenants/{tenant}/webhooks/{webhook}";
    let rotate_path = "/v1/tenants/{tenant}/webhooks/{webhook}/rotate-secret";
    let replay_path = "/v1/tenants/{tenant}/webhooks/{webhook}/replay";
    vec![
        Endpoint::new(Entry::Bounded, Method::GET, all, list),
        Endpoint::new(Entry::Write, Method::POST, all, post),
        Endpoint::new(Entry::Bounded, Method::GET, one, get),
        Endpoint::new(Entry::Write, Method::PUT, one, put),
        Endpoint::new(Entry::Settle, Method::DELETE, one, delete),
        Endpoint::new(Entry::Write, Method::POST, rotate_path, rotate),
        Endpoint::new(Entry::Write, Method::POST, replay_path, replay),
    ]
}

/// What a console says of a webhook.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WebhookBody {
    /// Whereto: `https://…`.
    url: String,
    /// Which types of events, such as `push.closed`; without it all that are in the feed. `push.opened` and `push.accepted` are
    /// there only with `store.events_verbose`, and refused without it.
    #[serde(default)]
    types: Vec<String>,
    /// Most events in one request, 1 to 500. With 1, which it is without it, each event is a request by itself; with more,
    /// requests have the type `batch` and their events in `data.events`.
    batch_max: Option<u16>,
}

impl From<WebhookBody> for Settings {
    fn from(body: WebhookBody) -> Self {
        Self {
            url: body.url,
            types: body.types,
            batch_max: body.batch_max.unwrap_or(1),
        }
    }
}

/// A webhook and how far it has come.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WebhookView {
    /// Its id.
    id: String,
    /// The host that is called; the rest of the address may be secret.
    host: String,
    /// Which types of events; empty for all.
    types: Vec<String>,
    /// Most events in one request.
    batch_max: u16,
    /// `active`, `failing` or `disabled`.
    state: &'static str,
    /// Why it is switched off.
    disabled_reason: Option<String>,
    /// Since when it is switched off.
    #[schema(value_type = Option<String>, format = DateTime)]
    disabled_at: Option<Timestamp>,
    /// Since when every attempt has failed.
    #[schema(value_type = Option<String>, format = DateTime)]
    failing_since: Option<Timestamp>,
    /// What came of the last attempt that failed.
    last_failure: Option<String>,
    /// When events were last taken.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_success: Option<Timestamp>,
    /// Events that were taken.
    delivered: u64,
    /// The place in the feed up to which all was taken.
    cursor: Option<String>,
    /// When events were lost because they were no longer kept when their turn came.
    #[schema(value_type = Option<String>, format = DateTime)]
    gap_at: Option<Timestamp>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

fn view(webhook: &Webhook, progress: Progress) -> WebhookView {
    let url = url::Url::parse(&webhook.settings.url).ok();
    let host = url.as_ref().and_then(|u| u.host_str()).unwrap_or_default();
    let state = match (&webhook.disabled, progress.failing_since) {
        (Some(_), _) => "disabled",
        (None, Some(_)) => "failing",
        (None, None) => "active",
    };
    WebhookView {
        id: webhook.id.to_string(),
        host: host.to_owned(),
        types: webhook.settings.types.clone(),
        batch_max: webhook.settings.batch_max,
        state,
        disabled_reason: webhook.disabled.as_ref().map(|d| d.reason.clone()),
        disabled_at: webhook.disabled.as_ref().map(|d| d.since),
        failing_since: progress.failing_since,
        last_failure: progress.last_failure,
        last_success: progress.last_success,
        delivered: progress.delivered,
        cursor: progress.cursor,
        gap_at: progress.gap_at,
        created_at: webhook.created_at,
    }
}

/// A webhook with its secret, which is shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WebhookSecretView {
    /// The webhook.
    #[serde(flatten)]
    webhook: WebhookView,
    /// What signs, as the Standard Webhooks specification says: `whsec_…`.
    secret: String,
}

impl From<WebhookError> for Problem {
    fn from(error: WebhookError) -> Self {
        match error {
            WebhookError::Unknown(id) => {
                Self::new(Kind::NotFound, format!("there is no webhook {id}"))
            }
            WebhookError::Invalid { pointer, detail } => Self::invalid(pointer, detail),
            WebhookError::TooMany => Self::new(Kind::Conflict, error.to_string()),
            WebhookError::Feed(FeedError::Trimmed) => {
                Self::new(Kind::CursorExpired, FeedError::Trimmed.to_string())
            }
            WebhookError::Feed(FeedError::UnknownCursor) => {
                Self::invalid("/after", FeedError::UnknownCursor.to_string())
            }
            WebhookError::Feed(FeedError::Store(error)) | WebhookError::Store(error) => {
                error.into()
            }
        }
    }
}

async fn named(call: &Call, scope: Scope) -> Result<(TenantId, WebhookId), Problem> {
    let tenant = call.tenant(scope).await?;
    Ok((tenant.id, call.named("webhook")?))
}

/// Lists the webhooks of a tenant.
#[utoipa::path(
    get, path = "/v1/tenants/{tenant}/webhooks", tag = "webhooks", operation_id = "list_webhooks",
    params(("tenant" = String, Path), ("cursor" = Option<String>, Query), ("limit" = Option<usize>, Query, description = "all without it")),
    responses((status = 200, body = PageBody<WebhookView>), (status = "default", body = ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn list(call: Call) -> Result<HttpResponse, Problem> {
    let tenant = call.tenant(Scope::Read).await?.id;
    let query: PageQuery = call.query()?;
    let webhooks = &call.state.webhooks;
    let all = webhooks.list(&tenant).await?.into_iter();
    let ids: Vec<WebhookId> = all.map(|webhook| webhook.id).collect();
    let page = page::of_whole("webhooks", &query, ids, |id| id.as_str())?;
    let mut items = Vec::with_capacity(page.items.len());
    for id in page.items {
        let standing = webhooks.get(&tenant, &id).await?;
        items.push(view(&standing.webhook, standing.progress));
    }
    Ok(ok(&PageBody {
        items,
        next_cursor: page.next_cursor,
    }))
}

/// Makes a webhook; it gets what happens from now on. The answer has its secret, which is never shown again.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant}/webhooks", tag = "webhooks", operation_id = "create_webhook",
    params(("tenant" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    request_body = WebhookBody,
    responses((status = 201, body = WebhookSecretView), (status = "default", body = ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn post(call: Call, payload: Payload) -> Result<HttpResponse, Problem> {
    let tenant = call.tenant(Scope::Admin).await?.id;
    let body: WebhookBody = body::json(&call, payload).await?;
    let webhooks = &call.state.webhooks;
    let webhook = webhooks.create(&tenant, body.into()).await?;
    let standing = webhooks.get(&tenant, &webhook.id).await?;
    let created = WebhookSecretView {
        webhook: view(&standing.webhook, standing.progress),
        secret: webhook.secret.expose().to_owned(),
    };
    let mut response = call::json(StatusCode::CREATED, &created);
    let place = format!("/v1/tenants/{tenant}/webhooks/{}", webhook.id);
    if let Ok(place) = header::HeaderValue::from_str(&place) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    Ok(response)
}

/// Shows a webhook and how far it has come.
#[utoipa::path(
    get, path = "/v1/tenants/{tenant}/webhooks/{webhook}", tag = "webhooks", operation_id = "get_webhook",
    params(("tenant" = String, Path), ("webhook" = String, Path)),
    responses((status = 200, body = WebhookView), (status = "default", body = ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn get(call: Call) -> Result<HttpResponse, Problem> {
    let (tenant, id) = named(&call, Scope::Read).await?;
    let standing = call.state.webhooks.get(&tenant, &id).await?;
    Ok(ok(&view(&standing.webhook, standing.progress)))
}

/// Replaces what was said of a webhook; one that was switched off goes on where it stopped.
#[utoipa::path(
    put, path = "/v1/tenants/{tenant}/webhooks/{webhook}", tag = "webhooks", operation_id = "put_webhook",
    params(("tenant" = String, Path), ("webhook" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    request_body = WebhookBody,
    responses((status = 200, body = WebhookView), (status = "default", body = ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn put(call: Call, payload: Payload) -> Result<HttpResponse, Problem> {
    let (tenant, id) = named(&call, Scope::Admin).await?;
    let body: WebhookBody = body::json(&call, payload).await?;
    let webhooks = &call.state.webhooks;
    webhooks.set(&tenant, &id, body.into()).await?;
    let standing = webhooks.get(&tenant, &id).await?;
    Ok(ok(&view(&standing.webhook, standing.progress)))
}

/// Forgets a webhook.
#[utoipa::path(
    delete, path = "/v1/tenants/{tenant}/webhooks/{webhook}", tag = "webhooks", operation_id = "delete_webhook",
    params(("tenant" = String, Path), ("webhook" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 204), (status = "default", body = ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn delete(call: Call) -> Result<HttpResponse, Problem> {
    let (tenant, id) = named(&call, Scope::Admin).await?;
    call.state.webhooks.delete(&tenant, &id).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Signs with a new secret from now on; for a day the former one signs as well. The answer has the new one.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant}/webhooks/{webhook}/rotate-secret", tag = "webhooks", operation_id = "rotate_webhook_secret",
    params(("tenant" = String, Path), ("webhook" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = WebhookSecretView), (status = "default", body = ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn rotate(call: Call) -> Result<HttpResponse, Problem> {
    let (tenant, id) = named(&call, Scope::Admin).await?;
    let webhook = call.state.webhooks.rotate(&tenant, &id).await?;
    let standing = call.state.webhooks.get(&tenant, &id).await?;
    Ok(ok(&WebhookSecretView {
        webhook: view(&standing.webhook, standing.progress),
        secret: webhook.secret.expose().to_owned(),
    }))
}

/// From where to deliver again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReplayBody {
    /// The id of an event, `oldest` or `newest`.
    after: String,
}

/// Delivers again from a place in the feed.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant}/webhooks/{webhook}/replay", tag = "webhooks", operation_id = "replay_webhook",
    params(("tenant" = String, Path), ("webhook" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    request_body = ReplayBody,
    responses(
        (status = 200, body = WebhookView),
        (status = 410, body = ProblemBody, content_type = "application/problem+json", description = "the cursor is older than what is kept"),
        (status = "default", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn replay(call: Call, payload: Payload) -> Result<HttpResponse, Problem> {
    let (tenant, id) = named(&call, Scope::Admin).await?;
    let body: ReplayBody = body::json(&call, payload).await?;
    let after = match body.after.as_str() {
        "oldest" => After::Oldest,
        "newest" => After::Newest,
        _ => After::Cursor(Cursor(body.after)),
    };
    let standing = call.state.webhooks.replay(&tenant, &id, &after).await?;
    Ok(ok(&view(&standing.webhook, standing.progress)))
}
