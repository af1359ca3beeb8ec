//! Small traits by role: what the broker needs of a store, of WNS, of a token endpoint and of the clock.
//!
//! The doc comment of a store port is its contract; `tests/conformance` holds every adapter to it, case by case. A store
//! interprets nothing: records, documents and notes are opaque bytes, queues and indexes are names.

pub mod clock;
pub mod documents;
pub mod error;
pub mod feed;
pub mod leases;
pub mod lists;
pub mod queues;
pub mod records;
pub mod shares;
pub mod streams;
pub mod tally;
pub mod webhooks;
pub mod wns;

/// Everything that one store does. Consumers take the smaller ports.
pub trait Store:
    records::Records
    + queues::Queues
    + lists::Lists
    + tally::Tally
    + feed::Feed
    + documents::Documents
    + leases::Leases
    + shares::Shares
    + error::Probe
{
}

impl<T> Store for T where
    T: records::Records
        + queues::Queues
        + lists::Lists
        + tally::Tally
        + feed::Feed
        + documents::Documents
        + leases::Leases
        + shares::Shares
        + error::Probe
{
}
