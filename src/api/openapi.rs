//! The OpenAPI document, generated from the handlers and the types they read and write.

use actix_web::{HttpResponse, http::Method};
use utoipa::{
    Modify, OpenApi,
    openapi::{
        self,
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
    modifiers(&Keys)
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
