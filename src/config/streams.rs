//! How consoles that live on the store's Redis speak with the broker without HTTP.

use crate::domain::id::TenantId;

use super::{
    kind::{flag, list, parsed, whole},
    reader::{Place, Problems},
    schema::{Section, settings},
    store::{Backend, Store},
    tenants::Tenant,
};

/// Most tenants with streams: each costs connections and a few commands a minute.
const TENANTS_MAX: usize = 64;

settings! {
    /// Streams for consoles that live on the Redis of the store: each tenant named here has an inbox, to which commands are
    /// added without HTTP, and an outbox, from which events are read. API keys do not count there; whoever may write to an
    /// inbox may wake that tenant's devices.
    pub struct Streams at "streams" {
        /// Tenants that have streams; they stand in this file, and the store is Redis. Without any, nothing is read or
        /// written.
        tenants: Vec<TenantId> = list(parsed("a tenant id", TenantId::new), TENANTS_MAX).default("");
        /// Whether events are written to outboxes.
        outbox: bool = flag().default("true");
        /// Longest body of a message; a longer one becomes a dead letter.
        message_bytes_max: u32 = whole(1_024, 1_048_576).default("65536");
        /// Dead letters kept for each tenant; the oldest go first.
        dead_letters_max: u32 = whole(100, 1_000_000).default("1000");
        /// Events kept in each outbox; the oldest go first, read or not.
        outbox_length_max: u32 = whole(1_000, 100_000_000).default("100000");
    }
}

/// Reads `[streams]`.
pub(super) fn read(root: &Place<'_>, problems: &mut Problems) -> Option<Streams> {
    Streams::read(&root.sub("streams", problems), problems)
}

/// Notes what the streams need and the rest of the configuration does not have.
pub(super) fn prove(
    streams: &Streams,
    (store, tenants): (&Store, &[Tenant]),
    root: &Place<'_>,
    problems: &mut Problems,
) {
    let place = root.sub("streams", problems);
    if streams.tenants.is_empty() {
        return;
    }
    if matches!(store.backend, Backend::Embedded { .. }) {
        let detail = "the embedded store has no streams; write store.kind = \"redis\" or take \
                      the tenants out";
        place.blame("tenants", detail, problems);
    }
    for (at, tenant) in streams.tenants.iter().enumerate() {
        if !tenants.iter().any(|known| known.id == *tenant) {
            let detail =
                format!("no tenant {tenant} is in this configuration; add a [[tenants]] entry");
            place.blame("tenants", detail, problems);
        }
        if streams.tenants[..at].contains(tenant) {
            place.blame("tenants", format!("{tenant} comes twice"), problems);
        }
    }
}
