//! Where the Redis is and how it is used.

use std::{fmt, sync::Arc, time::Duration};

use secrecy::SecretString;

use super::keys::SHARDS_MAX;
use crate::{
    domain::id::TenantId,
    ports::{clock::Clock, queues::LEASE},
};

/// Shards of a store that says nothing else.
pub const SHARDS_DEFAULT: usize = 64;

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// Name or number, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// How the servers are arranged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrangement {
    /// One server, or one name that always leads to the master.
    Single(Address),
    /// A master and replicas under Sentinel.
    Sentinel {
        /// The Sentinels; one that answers is enough.
        sentinels: Vec<Address>,
        /// The name under which they watch the master.
        master: String,
    },
    /// A cluster.
    Cluster {
        /// Nodes to ask first; one that answers is enough.
        seeds: Vec<Address>,
    },
}

/// How a connection is encrypted. PEM throughout.
#[derive(Clone, Default)]
pub struct Tls {
    /// Certificates to trust instead of the machine's.
    pub authorities: Option<Vec<u8>>,
    /// Client certificate and key.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// A user and a password of the server's access list.
#[derive(Clone, Default)]
pub struct Login {
    /// The user; none means `default`.
    pub user: Option<String>,
    /// The password.
    pub password: Option<SecretString>,
}

/// Is told what an operator should know, in one sentence.
pub type Alarm = Arc<dyn Fn(&str) + Send + Sync>;

/// All that is chosen about a Redis store.
#[derive(Clone)]
pub struct RedisOptions {
    /// Where it is.
    pub arrangement: Arrangement,
    /// Encryption; none means plain TCP.
    pub tls: Option<Tls>,
    /// Login at the servers.
    pub login: Login,
    /// Login at the Sentinels.
    pub sentinel_login: Login,
    /// Database number; a cluster has only 0.
    pub database: u8,
    /// First part of every key; stores with different ones may share a server.
    pub prefix: String,
    /// Number of shards, 1 to 128, of a store that does not exist yet; an existing one must have just as many. `None`
    /// takes what there is, or 64.
    pub shards: Option<usize>,
    /// Opens only what there is, and makes nothing.
    pub existing_only: bool,
    /// Tenants that have streams.
    pub streams: Vec<TenantId>,
    /// Replicas that must have a commit before it is acknowledged.
    pub min_replicas_to_ack: u32,
    /// Longest wait for an answer or for a connection.
    pub timeout: Duration,
    /// How long claims are valid. Brokers count on [`LEASE`]; tests have no minute to wait.
    pub lease: Duration,
    /// Events kept for each tenant.
    pub feed_events_max: usize,
    /// How long events are kept.
    pub feed_age_max: Duration,
    /// The broker's own time of day, which the server's is compared with.
    pub clock: Arc<dyn Clock>,
    /// Is called with what an operator should know at once.
    pub alarm: Alarm,
}

impl RedisOptions {
    /// A single server with the defaults for all else.
    #[must_use]
    pub fn at(address: Address, clock: Arc<dyn Clock>, alarm: Alarm) -> Self {
        Self {
            arrangement: Arrangement::Single(address),
            tls: None,
            login: Login::default(),
            sentinel_login: Login::default(),
            database: 0,
            prefix: "rv".to_owned(),
            shards: None,
            existing_only: false,
            streams: Vec::new(),
            min_replicas_to_ack: 0,
            timeout: Duration::from_secs(2),
            lease: LEASE,
            feed_events_max: 1_000_000,
            feed_age_max: Duration::from_secs(7 * 86_400),
            clock,
            alarm,
        }
    }

    /// Why these options cannot be used, if so.
    pub(super) fn objection(&self) -> Option<&'static str> {
        if self.shards.is_some_and(|n| n == 0 || n > SHARDS_MAX) {
            return Some("shards must be 1 to 128");
        }
        if self.prefix.is_empty() || self.prefix.contains(['{', '}']) {
            return Some("the key prefix must not be empty and has no braces");
        }
        let cluster = matches!(self.arrangement, Arrangement::Cluster { .. });
        (cluster && self.database != 0).then_some("a cluster has only database 0")
    }
}

/// Reads `host:port` or `[v6]:port`, as servers write it when they redirect.
pub(super) fn read_address(text: &str) -> Option<Address> {
    let (host, port) = text.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    // A name of `?` or none means that the node does not know.
    let known = !host.is_empty() && host != "?";
    known.then_some(())?;
    Some(Address {
        host: host.to_owned(),
        port: port.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_servers_write_it() {
        let read = |text| read_address(text).map(|found| (found.host, found.port));
        assert_eq!(read("10.0.0.7:6379"), Some(("10.0.0.7".to_owned(), 6379)));
        assert_eq!(read("[::1]:7000"), Some(("::1".to_owned(), 7000)));
        for unknown in ["", ":6379", "?:6379", "host", "host:x"] {
            assert_eq!(read(unknown), None, "{unknown}");
        }
    }
}
