//! The message API: what consoles see. Input is proven here, once; a channel URI never leaves.
//!
//! [`configure`] puts the whole API into an actix-web application; [`server::serve`] listens. One file answers for one
//! resource and names its endpoints; [`endpoints`] lists them all, and the OpenAPI document must agree with it.

mod apps;
mod body;
mod bulk;
mod call;
mod campaign_body;
mod campaign_targets;
mod campaign_view;
mod campaigns;
mod channels;
mod check_ins;
mod devices;
mod dry_run_view;
mod events;
mod failures;
mod forecast;
mod gate;
mod health;
mod idempotent;
mod json;
mod lines;
mod live;
mod openapi;
mod page;
pub mod problem;
mod pushes;
mod report;
mod route;
pub mod server;
mod state;
mod syncml;
mod syncml_view;
mod tenants;
mod view;
mod webhooks;

pub use openapi::document;
pub use route::{Endpoint, configure};
pub use state::{MetricsText, Parts, Settings, State};

/// Every endpoint of the API.
#[must_use]
pub fn endpoints() -> Vec<Endpoint> {
    let mut all = Vec::new();
    all.extend(channels::endpoints());
    all.extend(forecast::endpoints());
    all.extend(devices::endpoints());
    all.extend(pushes::endpoints());
    all.extend(check_ins::endpoints());
    all.extend(campaigns::endpoints());
    all.extend(campaign_targets::endpoints());
    all.extend(events::endpoints());
    all.extend(syncml::endpoints());
    all.extend(tenants::endpoints());
    all.extend(apps::endpoints());
    all.extend(webhooks::endpoints());
    all.extend(failures::endpoints());
    all.extend(health::endpoints());
    all.extend(openapi::endpoints());
    all
}
