//! What each part of a broker gets of the configuration.

use std::{collections::HashMap, sync::Arc};

use crate::{
    actors::DispatchSettings,
    api::{self, server::Listening},
    config::{self, Config},
    domain::id::AppId,
    service::tenants,
};

/// The tenants that the configuration declares.
pub(super) fn configured_tenants(config: &Config) -> Vec<tenants::Tenant> {
    let tenant = |t: &config::Tenant| tenants::Tenant {
        id: t.id.clone(),
        app: t.app.clone(),
        share: t.share,
    };
    config.tenants.iter().map(tenant).collect()
}

/// The package family name of each app that has one.
pub(super) fn pfns(config: &Config) -> HashMap<AppId, String> {
    let named = config
        .apps
        .iter()
        .filter_map(|app| Some((app.id.clone(), app.pfn.as_ref()?.as_str().to_owned())));
    named.collect()
}

/// What the dispatchers work by; the broker gets a name that no other has had.
pub(super) fn dispatch_settings(config: &Config, uri_key: &[u8]) -> DispatchSettings {
    let limits = &config.limits;
    let broker = uuid::Uuid::new_v4().simple().to_string();
    let mut settings = DispatchSettings::new(broker, Arc::from(uri_key));
    settings.dispatchers = dispatchers(config);
    settings.in_flight_max = limits.in_flight_max as usize;
    settings.host_percent = limits.in_flight_host_percent as usize;
    settings.urgent_percent = limits.in_flight_urgent_percent as usize;
    settings.payload = config.wns.payload.clone();
    settings.priority = config.wns.priority;
    settings
}

/// The bounds of the API.
pub(super) fn api_settings(config: &Config) -> api::Settings {
    api::Settings {
        requests_max: config.server.requests_max as usize,
        body_bytes_max: config.server.body_bytes_max as usize,
        line_bytes_max: config.server.line_bytes_max as usize,
        push_deadline: config.limits.push_deadline,
        deadline_max: config.limits.deadline_max,
    }
}

/// One for each core, unless the configuration says how many.
pub(super) fn dispatchers(config: &Config) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    config.limits.dispatchers.map_or_else(cores, |n| n as usize)
}

/// How the API is served.
pub(super) fn listening(config: &Config, connections_max: usize) -> Listening {
    Listening {
        workers: std::thread::available_parallelism().map_or(1, usize::from),
        connections_max,
        header_timeout: config.server.header_timeout,
        drain_timeout: config.server.drain_timeout,
    }
}
