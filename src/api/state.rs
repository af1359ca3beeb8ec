//! What every request of the API works with.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::gate::Gate;
use crate::{
    domain::{
        api_key::{KeyRing, Principal},
        id::{AppId, KeyId},
        wns::channel_uri::HostPolicy,
    },
    service::{
        apps::Apps, campaign::Campaigns, desk::Desk, status::BrokerStatus, tenants::Tenants,
        webhook::Webhooks,
    },
};

/// Bounds on what one caller may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Most requests in work at once; further ones are answered 503.
    pub requests_max: usize,
    /// Longest JSON body in bytes.
    pub body_bytes_max: usize,
    /// Longest line of a streamed body in bytes.
    pub line_bytes_max: usize,
    /// Deadline of a push that names none.
    pub push_deadline: Duration,
    /// Farthest deadline that is taken.
    pub deadline_max: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            requests_max: 2048,
            body_bytes_max: 8 * 1024 * 1024,
            line_bytes_max: 64 * 1024,
            push_deadline: Duration::from_secs(24 * 3600),
            deadline_max: Duration::from_secs(30 * 24 * 3600),
        }
    }
}

/// Writes the metrics of this process in the Prometheus text format.
pub trait MetricsText: Send + Sync {
    /// The text as it is now.
    fn metrics_text(&self) -> String;
}

/// What a broker gives its API.
pub struct Parts {
    /// Store, clock and rules.
    pub desk: Desk,
    /// The consoles' name spaces.
    pub tenants: Arc<Tenants>,
    /// The campaigns.
    pub campaigns: Campaigns,
    /// The webhooks.
    pub webhooks: Webhooks,
    /// The package family name of each app, where it is known.
    pub pfns: HashMap<AppId, String>,
    /// Whose channel URIs are taken.
    pub hosts: HostPolicy,
    /// The key under which channel URIs are hashed for people.
    pub uri_key: Vec<u8>,
    /// Who may call; without any key everybody.
    pub keys: KeyRing,
    /// What the running parts say of themselves.
    pub status: Arc<dyn BrokerStatus>,
    /// The metrics of this process.
    pub metrics: Arc<dyn MetricsText>,
    /// Bounds.
    pub settings: Settings,
}

/// What every request of the API works with; shared by all workers.
pub struct State {
    pub(super) desk: Desk,
    pub(super) tenants: Arc<Tenants>,
    pub(super) apps: Apps,
    pub(super) campaigns: Campaigns,
    pub(super) webhooks: Webhooks,
    pub(super) pfns: HashMap<AppId, String>,
    pub(super) hosts: HostPolicy,
    pub(super) uri_key: Vec<u8>,
    pub(super) keys: KeyRing,
    pub(super) principals: HashMap<KeyId, Arc<Principal>>,
    pub(super) status: Arc<dyn BrokerStatus>,
    pub(super) metrics: Arc<dyn MetricsText>,
    pub(super) settings: Settings,
    pub(super) gate: Gate,
    pub(super) closing: CancellationToken,
}

impl State {
    /// Takes what the broker gives.
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Self> {
        let principals = parts.keys.principals();
        let principals = principals.map(|p| (p.key.clone(), Arc::new(p.clone())));
        Arc::new(Self {
            principals: principals.collect(),
            apps: Apps::new(parts.desk.clone(), Arc::clone(&parts.tenants)),
            campaigns: parts.campaigns,
            webhooks: parts.webhooks,
            gate: Gate::new(
                parts.settings.requests_max,
                parts.keys.principals().count() > 1,
            ),
            closing: CancellationToken::new(),
            desk: parts.desk,
            tenants: parts.tenants,
            pfns: parts.pfns,
            hosts: parts.hosts,
            uri_key: parts.uri_key,
            keys: parts.keys,
            status: parts.status,
            metrics: parts.metrics,
            settings: parts.settings,
        })
    }

    /// Begins to close: live streams end, and `/readyz` says so. Other requests are still served.
    pub fn close(&self) {
        self.closing.cancel();
    }
}
