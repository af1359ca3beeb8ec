//! What the running parts of a broker say of themselves, for people and probes.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    domain::id::{AppId, TenantId},
    telemetry::RecentFailure,
};

/// What an app's access token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenState {
    /// None was fetched yet.
    Pending,
    /// It can be used.
    Valid,
    /// The token endpoint cannot be reached; it is asked again.
    Unavailable,
    /// The credential was refused: somebody must mend it.
    Refused,
}

/// An app's access token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenStatus {
    /// What it is good for.
    pub state: TokenState,
    /// When it expires, if there is one.
    pub expires_at: Option<Timestamp>,
    /// What the token endpoint last said, without secrets.
    pub detail: Option<String>,
}

/// Why an app does not send for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// One word: `throttled`, `wave`, `token_refused`, `outage`, …
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// When it ends or is probed; none when only a person can end it.
    pub until: Option<Timestamp>,
}

/// How one app is, on this broker.
#[derive(Clone, Debug, PartialEq)]
pub struct AppStatus {
    /// Its token.
    pub token: TokenStatus,
    /// Requests a second that all brokers together send at most, now.
    pub pace_per_second: f64,
    /// The part of it that this broker holds.
    pub share_per_second: f64,
    /// Attempts on the wire.
    pub in_flight: u64,
    /// WNS throttles it until then.
    pub throttled_until: Option<Timestamp>,
    /// Hosts of WNS that do not answer and are avoided.
    pub hosts_avoided: Vec<String>,
    /// No host has answered for a while: WNS itself seems to be out.
    pub outage: bool,
    /// What keeps it from sending; empty when it sends.
    pub holds: Vec<Hold>,
}

/// How one actor is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActorStatus {
    /// Its name, such as `dispatcher/0`.
    pub name: String,
    /// Whether it runs; an actor that its supervisor gave up does not.
    pub running: bool,
    /// How often it was restarted.
    pub restarts: u64,
    /// Whether it dies and is restarted again and again.
    pub looping: bool,
}

/// Asks the running parts how they are; answers from memory.
pub trait BrokerStatus: Send + Sync {
    /// How the app is on this broker; `None` when nothing runs for it.
    fn app(&self, app: &AppId) -> Option<AppStatus>;

    /// The last failed attempts of the app on this broker, oldest first.
    fn recent_failures(&self, app: &AppId) -> Vec<RecentFailure>;

    /// Open pushes, by tenant, that no app of this broker's configuration serves.
    fn unserved(&self) -> BTreeMap<TenantId, u64>;

    /// How the actors are.
    fn actors(&self) -> Vec<ActorStatus>;
}
