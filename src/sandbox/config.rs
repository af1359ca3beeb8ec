//! What a sandbox is started with: where it listens, its apps, and the client-facing switches.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use super::{behaviour::Behaviour, fleet::FleetConfig, oauth::TokenSettings};
use crate::domain::id::{AppId, DeviceId, IdError, TenantId};

/// Most devices an app may have.
pub const DEVICES_MAX: u32 = 50_000_000;
/// Most apps a sandbox may have.
pub const APPS_MAX: usize = 1_000;
/// Most threads a sandbox may serve with.
pub const THREADS_MAX: usize = 64;

/// Why a sandbox cannot start as asked.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A name is not an id.
    #[error(transparent)]
    Id(#[from] IdError),
    /// An app is described in a way that is not understood.
    #[error("cannot read the app {text:?}: {detail}")]
    App {
        /// The description as given.
        text: String,
        /// What is wrong with it.
        detail: String,
    },
    /// A package SID has an unknown shape.
    #[error("{sid:?} is not a package SID such as ms-app://S-1-15-2-…")]
    PackageSid {
        /// The text found.
        sid: String,
    },
    /// A number is out of its range.
    #[error("{what} must be {range}")]
    Range {
        /// Which number.
        what: &'static str,
        /// What is allowed.
        range: String,
    },
    /// Two apps cannot be told apart.
    #[error("two apps have the same {what}: {value}")]
    Twice {
        /// Which property.
        what: &'static str,
        /// Its value.
        value: String,
    },
}

/// Which HTTP versions are offered in the TLS handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocols {
    /// HTTP/2 and HTTP/1.1, as the client prefers.
    #[default]
    Both,
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 only.
    Http2,
}

/// One WNS identity with the devices behind it.
#[derive(Clone, Debug)]
pub struct AppSpec {
    /// The name by which the control API knows it.
    pub id: AppId,
    /// Package family name; made from the id if absent.
    pub pfn: Option<String>,
    /// Package SID with or without `ms-app://`; derived from the package family name if absent.
    pub package_sid: Option<String>,
    /// The secrets that are valid; `sandbox-secret` if none is given.
    pub secrets: Vec<String>,
    /// Directory id at Entra; made from the seed if absent.
    pub entra_tenant: Option<String>,
    /// Client id at Entra; made from the seed if absent.
    pub entra_client: Option<String>,
    /// How many devices it has; the sandbox's default if absent.
    pub devices: Option<u32>,
    /// The broker's tenant its devices check in at; the app's id if absent.
    pub tenant: Option<TenantId>,
}

impl AppSpec {
    /// An app of which only the id is given.
    ///
    /// # Errors
    /// [`ConfigError::Id`] when `id` is not an app id.
    pub fn new(id: &str) -> Result<Self, ConfigError> {
        Ok(Self {
            id: AppId::new(id)?,
            pfn: None,
            package_sid: None,
            secrets: Vec::new(),
            entra_tenant: None,
            entra_client: None,
            devices: None,
            tenant: None,
        })
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let owned = || Some(value.to_owned());
        match key {
            "id" => self.id = AppId::new(value).map_err(|error| error.to_string())?,
            "pfn" => self.pfn = owned(),
            "sid" => self.package_sid = owned(),
            "secret" => self.secrets.push(value.to_owned()),
            "entra-tenant" => self.entra_tenant = owned(),
            "entra-client" => self.entra_client = owned(),
            "devices" => {
                self.devices = Some(
                    value
                        .parse()
                        .map_err(|_| format!("devices={value} is not a number"))?,
                )
            }
            "tenant" => {
                self.tenant = Some(TenantId::new(value).map_err(|error| error.to_string())?)
            }
            unknown => {
                return Err(format!(
                    "unknown key {unknown:?}; known are id, pfn, sid, secret, entra-tenant, entra-client, devices, tenant"
                ));
            }
        }
        Ok(())
    }
}

/// Reads `contoso` or `id=contoso,pfn=…,secret=…,secret=…,devices=1000`.
impl FromStr for AppSpec {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let refused = |detail: String| ConfigError::App {
            text: text.to_owned(),
            detail,
        };
        let first = text.split(',').next().unwrap_or_default();
        let mut app = Self::new(first.strip_prefix("id=").unwrap_or(first))?;
        for pair in text.split(',').skip(1) {
            let Some((key, value)) = pair.split_once('=') else {
                return Err(refused(format!("{pair:?} is not key=value")));
            };
            app.set(key, value).map_err(refused)?;
        }
        Ok(app)
    }
}

/// Everything that is fixed while a sandbox runs; [`Behaviour`] is what may change.
#[derive(Clone, Debug)]
pub struct SandboxConfig {
    /// Where to listen; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Names that the certificate is valid for, beside localhost, 127.0.0.1, ::1 and the channel hosts.
    pub extra_names: Vec<String>,
    /// Host and port in channel URIs, in turn by device; `localhost` with the port listened on if empty.
    pub channel_hosts: Vec<String>,
    /// Where to write the certificate of the authority, in PEM.
    pub ca_file: Option<PathBuf>,
    /// Where the key of the authority is kept, in PEM: whoever trusts it goes on trusting it after a restart. If absent, each
    /// start makes a new one.
    pub ca_key_file: Option<PathBuf>,
    /// HTTP versions offered.
    pub protocols: Protocols,
    /// Streams that a client may have open on one HTTP/2 connection.
    pub http2_streams_max: u32,
    /// Threads that serve, each with its share of the connections.
    pub threads: usize,
    /// Connections without a request for this long are closed; never if absent.
    pub idle_timeout: Option<Duration>,
    /// The apps; one named `contoso` if empty.
    pub apps: Vec<AppSpec>,
    /// Devices of an app that does not say.
    pub devices: u32,
    /// What device ids begin with; the number follows with at least seven digits.
    pub device_prefix: String,
    /// Decides every chance; the same seed gives the same channels and the same replies.
    pub seed: u64,
    /// How the token endpoints answer.
    pub tokens: TokenSettings,
    /// How channels answer, to begin with.
    pub behaviour: Behaviour,
    /// Where woken devices check in; nowhere if absent.
    pub fleet: Option<FleetConfig>,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            extra_names: Vec::new(),
            channel_hosts: Vec::new(),
            ca_file: None,
            ca_key_file: None,
            protocols: Protocols::Both,
            http2_streams_max: 250,
            threads: 1,
            idle_timeout: None,
            apps: Vec::new(),
            devices: 1_000,
            device_prefix: "device-".to_owned(),
            seed: 1,
            tokens: TokenSettings::default(),
            behaviour: Behaviour::default(),
            fleet: None,
        }
    }
}

impl SandboxConfig {
    /// Refuses what cannot be acted upon; gives the apps, at least one.
    pub(crate) fn proven_apps(&self) -> Result<Vec<AppSpec>, ConfigError> {
        in_range("threads", self.threads, 1, THREADS_MAX)?;
        in_range("the number of apps", self.apps.len(), 0, APPS_MAX)?;
        // Ids and URIs are written into JSON lines as they are: nothing in them may need an escape.
        DeviceId::new(&format!("{}{DEVICES_MAX}", self.device_prefix))?;
        if let Some(host) = self.channel_hosts.iter().find(|host| !is_host(host)) {
            return Err(ConfigError::Range {
                what: "a channel host",
                range: format!("a host and a port such as localhost:9443, not {host:?}"),
            });
        }
        let apps = if self.apps.is_empty() {
            vec![AppSpec::new("contoso")?]
        } else {
            self.apps.clone()
        };
        let devices = apps.iter().map(|app| app.devices.unwrap_or(self.devices));
        let most = devices.max().unwrap_or(0) as usize;
        in_range("the number of devices", most, 0, DEVICES_MAX as usize)?;
        self.behaviour.prove()?;
        Ok(apps)
    }

    /// The names that the certificate is valid for, beside the usual ones: those given and those in channel URIs.
    pub(crate) fn names(&self) -> Vec<String> {
        let hosts = self.channel_hosts.iter().map(|host| {
            let name = host
                .rsplit_once(':')
                .map_or(host.as_str(), |(name, _)| name);
            name.trim_matches(['[', ']']).to_owned()
        });
        self.extra_names.iter().cloned().chain(hosts).collect()
    }
}

fn is_host(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

pub(crate) fn in_range(
    what: &'static str,
    value: usize,
    min: usize,
    max: usize,
) -> Result<(), ConfigError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(ConfigError::Range {
        what,
        range: format!("between {min} and {max}, not {value}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_is_named_or_described() {
        let named: AppSpec = "contoso".parse().unwrap();
        assert_eq!(named.id.as_str(), "contoso");
        let described: AppSpec =
            "id=a,pfn=A.B_x,sid=S-1-15-2-3,secret=one,secret=two==,devices=7,tenant=t"
                .parse()
                .unwrap();
        assert_eq!(described.id.as_str(), "a");
        assert_eq!(described.secrets, ["one", "two=="]);
        assert_eq!(described.devices, Some(7));
        for text in ["", "a,b", "a,colour=red", "a,devices=many", "a b"] {
            assert!(text.parse::<AppSpec>().is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        let config = SandboxConfig {
            threads: 0,
            ..SandboxConfig::default()
        };
        assert!(config.proven_apps().is_err());
        let config = SandboxConfig {
            devices: DEVICES_MAX + 1,
            ..SandboxConfig::default()
        };
        assert!(config.proven_apps().is_err());
        let config = SandboxConfig {
            device_prefix: "a\"".to_owned(),
            ..SandboxConfig::default()
        };
        assert!(config.proven_apps().is_err());
        let config = SandboxConfig {
            channel_hosts: vec!["a\"b".to_owned()],
            ..SandboxConfig::default()
        };
        assert!(config.proven_apps().is_err());
        assert_eq!(SandboxConfig::default().proven_apps().unwrap().len(), 1);
    }
}
