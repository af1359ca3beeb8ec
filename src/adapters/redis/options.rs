//! Where the Redis is and how it is used.

use std::{fmt, sync::Arc, time::Duration};

use secrecy::SecretString;

use super::keys::SHARDS_MAX;
use crate::ports::{clock::Clock, queues::LEASE};

/// Shards of a store that says nothing else.
pub const SHARDS_DEFAULT: usize = 64;

/// Port of a Redis that says nothing else.
const REDIS_PORT: u16 = 6379;
/// Port of a Sentinel that says nothing else.
const SENTINEL_PORT: u16 = 26_379;

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

/// The address of a store cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("store url: {0}")]
pub struct UrlError(&'static str);

impl RedisOptions {
    /// Reads `redis://[user:password@]host[:port][/database]`, `redis+sentinel://…host,host…/master[/database]` or
    /// `redis+cluster://…host,host…`; `rediss` in place of `redis` encrypts. User and password are percent-encoded.
    ///
    /// # Errors
    /// [`UrlError`] names the part that is wrong; it never repeats the text.
    pub fn from_url(url: &str, clock: Arc<dyn Clock>, alarm: Alarm) -> Result<Self, UrlError> {
        let (scheme, rest) = url.split_once("://").ok_or(UrlError("no scheme"))?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (read_login(login)?, hosts),
            None => (Login::default(), authority),
        };
        let (family, arrangement) = scheme.split_once('+').unwrap_or((scheme, "single"));
        let tls = match family {
            "redis" => None,
            "rediss" => Some(Tls::default()),
            _ => return Err(UrlError("the scheme is neither redis nor rediss")),
        };
        let (arrangement, database) = read_arrangement(arrangement, hosts, path)?;
        Ok(Self {
            arrangement,
            tls,
            login,
            database,
            ..Self::at(
                Address {
                    host: String::new(),
                    port: 0,
                },
                clock,
                alarm,
            )
        })
    }

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

fn read_login(text: &str) -> Result<Login, UrlError> {
    let (user, password) = match text.split_once(':') {
        Some((user, password)) => (user, Some(percent_decoded(password)?)),
        None => (text, None),
    };
    Ok(Login {
        user: Some(percent_decoded(user)?).filter(|user| !user.is_empty()),
        password: password.map(SecretString::from),
    })
}

fn percent_decoded(text: &str) -> Result<String, UrlError> {
    const WRONG: UrlError = UrlError("user or password is not percent-encoded text");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|d| char::from(d).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(WRONG);
        };
        bytes.push(u8::try_from(high * 16 + low).expect("two hex digits"));
    }
    String::from_utf8(bytes).map_err(|_| WRONG)
}

fn read_arrangement(kind: &str, hosts: &str, path: &str) -> Result<(Arrangement, u8), UrlError> {
    let database = |text: &str| match text {
        "" => Ok(0),
        number => number
            .parse()
            .map_err(|_| UrlError("the database is not a number to 255")),
    };
    match kind {
        "single" => Ok((
            Arrangement::Single(read_address(hosts, REDIS_PORT)?),
            database(path)?,
        )),
        "sentinel" => {
            let (master, number) = path.split_once('/').unwrap_or((path, ""));
            if master.is_empty() {
                return Err(UrlError("the path does not name the master"));
            }
            let master = master.to_owned();
            let sentinels = read_addresses(hosts, SENTINEL_PORT)?;
            Ok((
                Arrangement::Sentinel { sentinels, master },
                database(number)?,
            ))
        }
        "cluster" => {
            let seeds = read_addresses(hosts, REDIS_PORT)?;
            Ok((Arrangement::Cluster { seeds }, database(path)?))
        }
        _ => Err(UrlError(
            "the scheme ends neither in +sentinel nor in +cluster",
        )),
    }
}

fn read_addresses(hosts: &str, port: u16) -> Result<Vec<Address>, UrlError> {
    hosts
        .split(',')
        .map(|host| read_address(host, port))
        .collect()
}

/// Reads `host`, `host:port` or `[v6]:port`.
pub(super) fn read_address(text: &str, default_port: u16) -> Result<Address, UrlError> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => {
            let port = port
                .parse()
                .map_err(|_| UrlError("the port is not a number"))?;
            (host, port)
        }
        _ => (text, default_port),
    };
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    if host.is_empty() {
        return Err(UrlError("there is no host"));
    }
    Ok(Address { host, port })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use secrecy::ExposeSecret;

    use super::*;

    struct Noon;
    impl Clock for Noon {
        fn now(&self) -> Timestamp {
            Timestamp::UNIX_EPOCH
        }
    }

    fn read(url: &str) -> Result<RedisOptions, UrlError> {
        RedisOptions::from_url(url, Arc::new(Noon), Arc::new(|_| ()))
    }

    fn address(host: &str, port: u16) -> Address {
        Address {
            host: host.to_owned(),
            port,
        }
    }

    #[test]
    fn a_url_tells_arrangement_login_and_encryption() {
        let single = read("redis://broker:p%40ss@[::1]:7000/3").unwrap();
        assert_eq!(
            single.arrangement,
            Arrangement::Single(address("::1", 7000))
        );
        assert_eq!(single.login.user.as_deref(), Some("broker"));
        assert_eq!(single.login.password.unwrap().expose_secret(), "p@ss");
        assert_eq!((single.database, single.tls.is_none()), (3, true));

        let sentinel = read("rediss+sentinel://a,b:1/main").unwrap();
        let sentinels = vec![address("a", 26_379), address("b", 1)];
        let master = "main".to_owned();
        assert_eq!(
            sentinel.arrangement,
            Arrangement::Sentinel { sentinels, master }
        );
        assert!(sentinel.tls.is_some());

        let cluster = read("redis+cluster://a,b").unwrap();
        let seeds = vec![address("a", 6379), address("b", 6379)];
        assert_eq!(cluster.arrangement, Arrangement::Cluster { seeds });
    }

    #[test]
    fn a_wrong_url_is_refused_without_being_repeated() {
        for url in [
            "x",
            "http://a",
            "redis://",
            "redis://a:x",
            "redis+sentinel://a",
            "redis+x://a",
            "redis://u:%zz@a",
            "redis://a/999",
        ] {
            let error = read(url)
                .err()
                .unwrap_or_else(|| panic!("{url} was accepted"));
            assert!(!error.to_string().contains(url));
        }
    }
}
