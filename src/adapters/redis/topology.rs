//! Which server holds which place: one server, the master that Sentinels name, or the owners of a cluster's slots.

use std::{fmt, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, IntoConnectionInfo,
    ProtocolVersion, RedisConnectionInfo, TlsCertificates, Value,
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};
use secrecy::ExposeSecret;

use super::{
    link::dial_error,
    options::{Address, Arrangement, Login, RedisOptions, Tls},
};

/// Silence after which the system asks whether the peer is still there.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// Makes clients for addresses.
pub(super) struct Dialer {
    arrangement: Arrangement,
    tls: Option<Tls>,
    login: Login,
    sentinel_login: Login,
    database: u8,
    timeout: Duration,
}

/// Why the servers could not be found.
#[derive(Clone, Debug)]
pub(super) struct Lost(pub(super) String);

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Dialer {
    pub(super) fn new(options: &RedisOptions) -> Self {
        Self {
            arrangement: options.arrangement.clone(),
            tls: options.tls.clone(),
            login: options.login.clone(),
            sentinel_login: options.sentinel_login.clone(),
            database: options.database,
            timeout: options.timeout,
        }
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.arrangement, Arrangement::Cluster { .. })
    }

    /// A client for commands.
    pub(super) fn client(&self, address: &Address) -> Result<Client, Lost> {
        self.build(address, &self.login, ProtocolVersion::RESP2)
    }

    /// A client for subscriptions, which need the protocol's third version.
    pub(super) fn listening_client(&self, address: &Address) -> Result<Client, Lost> {
        self.build(address, &self.login, ProtocolVersion::RESP3)
    }

    fn build(
        &self,
        address: &Address,
        login: &Login,
        protocol: ProtocolVersion,
    ) -> Result<Client, Lost> {
        let lost = |error: redis::RedisError| Lost(format!("redis options: {}", error.category()));
        let (host, port) = (address.host.clone(), address.port);
        let addr = match self.tls {
            None => ConnectionAddr::Tcp(host, port),
            Some(_) => ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                tls_params: None,
            },
        };
        let mut settings = RedisConnectionInfo::default()
            .set_protocol(protocol)
            .set_db(i64::from(self.database))
            .set_lib_name("reveille", env!("CARGO_PKG_VERSION"));
        if let Some(user) = &login.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &login.password {
            settings = settings.set_password(password.expose_secret());
        }
        let keepalive = TcpKeepalive::new()
            .with_time(KEEPALIVE)
            .with_interval(KEEPALIVE);
        let tcp = TcpSettings::default()
            .set_nodelay(true)
            .set_keepalive(keepalive);
        let info = addr.into_connection_info().map_err(lost)?;
        let info = info.set_redis_settings(settings).set_tcp_settings(tcp);
        match &self.tls {
            None => Client::open(info).map_err(lost),
            Some(tls) => Client::build_with_tls(info, certificates(tls)).map_err(lost),
        }
    }

    /// The owner of each slot, in order. `known` are nodes that may be asked besides the ones configured.
    pub(super) async fn discover(
        &self,
        slots: &[u16],
        known: &[Address],
    ) -> Result<Vec<Address>, Lost> {
        match &self.arrangement {
            Arrangement::Single(address) => Ok(vec![address.clone(); slots.len()]),
            Arrangement::Sentinel { sentinels, master } => {
                let address = self.ask_sentinels(sentinels, master).await?;
                Ok(vec![address; slots.len()])
            }
            Arrangement::Cluster { seeds } => self.ask_cluster(seeds, known, slots).await,
        }
    }

    async fn ask_sentinels(&self, sentinels: &[Address], master: &str) -> Result<Address, Lost> {
        let mut question = redis::cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(master);
        let mut last = Lost("no sentinel is configured".to_owned());
        for sentinel in sentinels {
            let client = self.build(sentinel, &self.sentinel_login, ProtocolVersion::RESP2)?;
            match self.ask(&client, &question).await {
                Ok(answer) => match redis::from_redis_value::<Option<(String, u16)>>(answer) {
                    Ok(Some((host, port))) => return Ok(Address { host, port }),
                    Ok(None) => last = Lost(format!("sentinel knows no master {master}")),
                    Err(_) => last = Lost("sentinel answers strangely".to_owned()),
                },
                Err(lost) => last = Lost(format!("sentinel {sentinel}: {lost}")),
            }
        }
        Err(last)
    }

    async fn ask_cluster(
        &self,
        seeds: &[Address],
        known: &[Address],
        slots: &[u16],
    ) -> Result<Vec<Address>, Lost> {
        let mut question = redis::cmd("CLUSTER");
        question.arg("SLOTS");
        let mut last = Lost("no cluster node is configured".to_owned());
        for node in known.iter().chain(seeds) {
            let client = self.client(node)?;
            let owners = match self.ask(&client, &question).await {
                Ok(answer) => owners(answer, node, slots),
                Err(lost) => Err(lost),
            };
            match owners {
                Ok(owners) => return Ok(owners),
                Err(lost) => last = Lost(format!("cluster node {node}: {lost}")),
            }
        }
        Err(last)
    }

    async fn ask(&self, client: &Client, question: &redis::Cmd) -> Result<Value, Lost> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.timeout));
        let asking = async {
            let connected = client.get_multiplexed_async_connection_with_config(&config);
            let mut connection = connected
                .await
                .map_err(|error| dial_error(&error).to_owned())?;
            let answer = question.query_async::<Value>(&mut connection).await;
            answer.map_err(|error| refusal(&error))
        };
        match tokio::time::timeout(self.timeout, asking).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(why)) => Err(Lost(why)),
            Err(_) => Err(Lost("no answer in time".to_owned())),
        }
    }
}

/// Why a server does not tell where the others are.
fn refusal(error: &redis::RedisError) -> String {
    let told = |what| error.detail().is_some_and(|detail| detail.contains(what));
    if told("cluster support disabled") {
        return "it is no node of a cluster: is store.topology right?".to_owned();
    }
    if told("unknown command 'SENTINEL'") {
        return "it is no sentinel: is store.topology right?".to_owned();
    }
    error.category().to_owned()
}

fn certificates(tls: &Tls) -> TlsCertificates {
    TlsCertificates {
        client_tls: tls
            .identity
            .as_ref()
            .map(|(certificate, key)| ClientTlsConfig {
                client_cert: certificate.clone(),
                client_key: key.clone(),
            }),
        root_cert: tls.authorities.clone(),
    }
}

/// Reads the answer of `CLUSTER SLOTS`: ranges with their master first; an empty host means the node that was asked.
fn owners(answer: Value, asked: &Address, slots: &[u16]) -> Result<Vec<Address>, Lost> {
    type Node = (Option<String>, u16);
    let strange = || Lost("the map of slots cannot be read".to_owned());
    let ranges: Vec<Vec<Value>> = redis::from_redis_value(answer).map_err(|_| strange())?;
    let mut map: Vec<(u16, u16, Address)> = Vec::with_capacity(ranges.len());
    for range in ranges {
        let mut parts = range.into_iter();
        let (Some(first), Some(last), Some(Value::Array(mut master))) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err(strange());
        };
        master.truncate(2);
        let number = |value| redis::from_redis_value::<u16>(value).map_err(|_| strange());
        let (host, port): Node =
            redis::from_redis_value(Value::Array(master)).map_err(|_| strange())?;
        let named = host.filter(|host| !host.is_empty() && host != "?");
        let host = named.unwrap_or_else(|| asked.host.clone());
        map.push((number(first)?, number(last)?, Address { host, port }));
    }
    let owner = |slot: &u16| {
        let range = map
            .iter()
            .find(|(first, last, _)| (first..=last).contains(&slot));
        range.map(|(_, _, address)| address.clone())
    };
    let owners: Option<Vec<Address>> = slots.iter().map(owner).collect();
    owners.ok_or_else(|| Lost("some slots have no owner".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(host: &str, port: i64) -> Value {
        let host = Value::BulkString(host.as_bytes().to_vec());
        let id = Value::BulkString(b"id".to_vec());
        Value::Array(vec![host, Value::Int(port), id])
    }

    #[test]
    fn owners_are_read_from_the_map_of_slots() {
        let asked = Address {
            host: "asked".to_owned(),
            port: 1,
        };
        let range = |first, last, nodes: Vec<Value>| {
            let mut parts = vec![Value::Int(first), Value::Int(last)];
            parts.extend(nodes);
            Value::Array(parts)
        };
        let map = vec![
            range(0, 99, vec![node("a", 7), node("replica", 8)]),
            range(100, 16_383, vec![node("", 9)]),
        ];
        let found = owners(Value::Array(map.clone()), &asked, &[99, 100]).unwrap();
        assert_eq!(
            found[0],
            Address {
                host: "a".to_owned(),
                port: 7
            }
        );
        assert_eq!(
            found[1],
            Address {
                host: "asked".to_owned(),
                port: 9
            }
        );

        let part = owners(Value::Array(map[..1].to_vec()), &asked, &[99, 100]);
        assert!(part.unwrap_err().to_string().contains("no owner"));
    }
}
