//! The message API without HTTP: consoles that live on the store's Redis add commands to a stream and read events from another.
//!
//! Every command is harmless when it is done twice, because wishes for one device merge: a message is removed only when what
//! it asks for is durable, and one that was done and not removed is done again. The messages of a tenant are done in their
//! order, by one broker at a time.

mod actor;
mod lease;
mod message;
mod outbox;
mod reader;
mod work;

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    domain::{id::TenantId, wns::channel_uri::HostPolicy},
    ports::streams::Streams,
    service::{command::push::Lifetimes, desk::Desk},
};

pub use actor::{CAPACITY, Inbox, Running};

/// How long a broker that has died keeps others from a tenant's streams.
pub const LEASE: Duration = Duration::from_secs(30);

/// What is read and written, and how much of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Names this broker beside others on the same store.
    pub broker: String,
    /// The tenants that have streams.
    pub tenants: Vec<TenantId>,
    /// Whether their events are written out.
    pub outbox: bool,
    /// Longest body of a message.
    pub message_bytes_max: usize,
    /// About how many dead letters are kept for each tenant.
    pub dead_letters_max: u32,
    /// About how many events are kept in an outbox.
    pub outbox_length_max: u32,
    /// How long pushes are tried.
    pub lifetimes: Lifetimes,
    /// How long a broker that has died keeps others away: [`LEASE`], but tests have no half minute to wait.
    pub lease: Duration,
}

/// What reading and writing works with. Cloning is cheap.
#[derive(Clone)]
pub struct Parts {
    /// The streams.
    pub streams: Arc<dyn Streams>,
    /// What changes devices.
    pub desk: Desk,
    /// Whose channels are taken.
    pub hosts: HostPolicy,
    /// What is read and written.
    pub settings: Arc<Settings>,
    /// Cancelled when the broker stops.
    pub stop: CancellationToken,
}
