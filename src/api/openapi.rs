//! The OpenAPI document, generated from the handlers and the types they read and write.

use actix_web::{
    HttpResponse,
    http::{Method, StatusCode},
};
use utoipa::{
    Modify, OpenApi,
    openapi::{
        self, RefOr,
        security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};

use super::{
    apps, campaign_targets, campaigns, channels, check_ins, devices, events, failures, forecast,
    health, pushes,
    route::{Endpoint, Entry},
    syncml, tenants, webhooks,
};

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![Endpoint::new(
        Entry::Open,
        Method::GET,
        "/openapi.json",
        get,
    )]
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Reveille message API",
        description = "Wakes Windows devices: register channels, open pushes, report check-ins, follow events."
    ),
    paths(
        channels::put, channels::post, forecast::get,
        devices::get, devices::delete, devices::list, devices::post_delete,
        pushes::post, pushes::get, pushes::delete,
        check_ins::post,
        campaigns::list, campaigns::post, campaigns::get, campaigns::delete,
        campaigns::start, campaigns::pause, campaigns::resume, campaigns::cancel,
        campaigns::put_pace, campaigns::dry_run,
        campaign_targets::post, campaign_targets::get,
        events::get,
        tenants::list, tenants::get, tenants::put,
        syncml::post, syncml::commands,
        webhooks::list, webhooks::post, webhooks::get, webhooks::put, webhooks::delete,
        webhooks::rotate, webhooks::replay,
        apps::list, apps::get, apps::pause, apps::resume, apps::put_pace,
        failures::list,
        health::healthz, health::readyz, health::metrics, get,
    ),
    modifiers(&Keys, &Descriptions)
)]
struct Document;

/// Every operation takes a bearer key, unless the broker has none.
struct Keys;

impl Modify for Keys {
    fn modify(&self, document: &mut openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        if let Some(components) = &mut document.components {
            components.add_security_scheme("key", SecurityScheme::Http(scheme));
        }
        let needs: [&str; 0] = [];
        document.security = Some(vec![SecurityRequirement::new("key", needs)]);
    }
}

/// Every response says what it is: OpenAPI demands it. Those of which the body says all are called by their status.
struct Descriptions;

impl Modify for Descriptions {
    fn modify(&self, document: &mut openapi::OpenApi) {
        for path in document.paths.paths.values_mut() {
            let operations = [
                &mut path.get,
                &mut path.put,
                &mut path.post,
                &mut path.delete,
            ];
            for operation in operations.into_iter().flatten() {
                for (status, response) in &mut operation.responses.responses {
                    if let RefOr::T(response) = response
                        && response.description.is_empty()
                    {
                        response.description = reason(status).to_owned();
                    }
                }
            }
        }
    }
}

fn reason(status: &str) -> &'static str {
    let status = status.parse::<StatusCode>().ok();
    let reason = status.and_then(|status| status.canonical_reason());
    reason.unwrap_or("What is wrong")
}

/// The OpenAPI document of this API.
#[must_use]
pub fn document() -> openapi::OpenApi {
    Document::openapi()
}

/// The OpenAPI document.
#[utoipa::path(
    get, path = "/openapi.json", tag = "health", operation_id = "openapi",
    responses((status = 200, description = "this document", content_type = "application/json"))
)]
pub(super) async fn get() -> HttpResponse {
    HttpResponse::Ok().json(document())
}
