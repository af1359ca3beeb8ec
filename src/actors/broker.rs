//! What the actors of one broker share: the store, the clock, the rules, the apps, and who is due.

use std::sync::Arc;

use tokio::sync::Notify;

use super::{
    app::App,
    ready::ReadyView,
    roster::{Directory, Roster},
    sessions::Sessions,
};
use crate::{
    domain::{
        schedule::Rules,
        wns::{payload::Payload, request::WnsPriority},
    },
    ports::{Store, clock::Clock, error::StoreError},
    service::desk::Desk,
    telemetry::Telemetry,
};

/// How a broker dispatches.
#[derive(Clone, Debug)]
pub struct DispatchSettings {
    /// Names this broker beside others on the same store.
    pub broker: String,
    /// Dispatchers, each on a thread of its own.
    pub dispatchers: usize,
    /// Most requests in flight for one dispatcher.
    pub in_flight_max: usize,
    /// Most of them for one host, in percent.
    pub host_percent: usize,
    /// How many of them are kept for urgent pushes, in percent.
    pub urgent_percent: usize,
    /// The body of every notification.
    pub payload: Payload,
    /// `X-WNS-PRIORITY`, if it is sent.
    pub priority: Option<WnsPriority>,
    /// Key of the hashes that stand for channel URIs in logs.
    pub hash_key: Arc<[u8]>,
}

impl DispatchSettings {
    /// The defaults for a broker of this name.
    #[must_use]
    pub fn new(broker: String, hash_key: Arc<[u8]>) -> Self {
        Self {
            broker,
            dispatchers: std::thread::available_parallelism().map_or(1, usize::from),
            in_flight_max: 1_024,
            host_percent: 25,
            urgent_percent: 10,
            payload: Payload::default(),
            priority: None,
            hash_key,
        }
    }
}

/// All of it.
pub struct Broker {
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// The rules of a push's life.
    pub rules: Arc<Rules>,
    /// Through which everything is told.
    pub telemetry: Telemetry,
    /// The apps that this broker has credentials for.
    pub apps: Vec<Arc<App>>,
    /// Notified when one of them needs a larger share of its pace.
    pub hunger: Arc<Notify>,
    /// Who knows all tenants.
    pub directory: Arc<dyn Directory>,
    /// The tenants seen so far.
    pub roster: Roster,
    /// Which queues are due.
    pub ready: Arc<ReadyView>,
    /// What the caps of campaigns leave for re-pushes.
    pub sessions: Arc<Sessions>,
    /// How it dispatches.
    pub settings: DispatchSettings,
}

impl Broker {
    /// What the use cases that change devices work with.
    #[must_use]
    pub fn desk(&self) -> Desk {
        Desk {
            store: self.store.clone(),
            clock: self.clock.clone(),
            rules: self.rules.clone(),
            telemetry: self.telemetry.clone(),
            fence: None,
        }
    }

    /// Tells of what the store gave and nobody can read. All other failures are told where the store is called.
    pub fn unreadable(&self, error: &StoreError) {
        self.desk().unreadable(error);
    }
}
