//! A WNS that anybody can test a client against: token endpoints, channels, every documented reply, and a ledger.
//!
//! It is a service of its own, not a part of the broker: it knows WNS from its documents, and shares no rule with the code
//! that it tests. [`Sandbox::start`] runs it within a process, `reveille sandbox` as one.

mod behaviour;
mod body;
mod channel;
mod check;
mod clock;
mod config;
mod connection;
mod control;
mod counters;
mod device;
mod fleet;
mod gcra;
mod identity;
mod ledger;
mod mix;
mod model;
mod oauth;
mod push;
mod rate;
mod reply;
mod script;
mod server;
mod step;
mod tls;
mod tokens;
mod units;
mod world;

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, thread::JoinHandle};

use tokio_util::sync::CancellationToken;

pub use self::{
    behaviour::{AppCeiling, Behaviour, ChannelCeiling, ReplyShare, RetryAfter, StatusHeaders},
    config::{APPS_MAX, AppSpec, ConfigError, DEVICES_MAX, Protocols, SandboxConfig, THREADS_MAX},
    counters::{ReplyKind, Violation},
    fleet::{CheckIns, FleetConfig},
    ledger::{
        AppLedger, ConnectionLedger, DeviceLedger, DeviceTotals, FleetLedger, Ledger, TokenLedger,
    },
    oauth::{ExpiresIn, TokenMode, TokenSettings},
    step::{Step, StepError, StepKind},
    tls::TlsError,
    units::{Delay, Period, Share, UnitError},
};
use self::{channel::Target, connection::Connections, server::Common, world::World};

/// Why a sandbox did not start.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The configuration cannot be acted upon.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No certificate could be made.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// The certificate of the authority cannot be written.
    #[error("cannot write {path}: {source}")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// What a client logs in with, and where.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Package family name.
    pub pfn: String,
    /// Package SID with its `ms-app://`.
    pub package_sid: String,
    /// The secrets that are valid now.
    pub secrets: Vec<String>,
    /// URL of the classic token endpoint.
    pub token_url: String,
    /// Directory id at Entra.
    pub entra_tenant: String,
    /// Client id at Entra.
    pub entra_client: String,
    /// URL of the Entra token endpoint.
    pub entra_token_url: String,
}

/// A running sandbox; it stops when dropped, without waiting for its connections.
#[derive(Debug)]
pub struct Sandbox {
    address: SocketAddr,
    world: Arc<World>,
    connections: Arc<Connections>,
    stop: CancellationToken,
    threads: Vec<JoinHandle<()>>,
}

impl Sandbox {
    /// Starts a sandbox on threads of its own.
    ///
    /// # Errors
    /// [`SandboxError`] when the configuration cannot be acted upon, or the system refuses a socket, a thread or a file.
    pub fn start(config: &SandboxConfig) -> Result<Self, SandboxError> {
        config.proven_apps()?;
        let refused = |source| SandboxError::Listen {
            address: config.listen,
            source,
        };
        let listener = std::net::TcpListener::bind(config.listen).map_err(refused)?;
        listener.set_nonblocking(true).map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let key = tls::authority_key(config.ca_key_file.as_deref())?;
        let tls = tls::make(address.ip(), key, &config.names(), config.protocols)?;
        if let Some(path) = &config.ca_file {
            std::fs::write(path, &tls.ca_pem).map_err(|source| SandboxError::CaFile {
                path: path.clone(),
                source,
            })?;
        }
        let world = Arc::new(World::new(config, address.port(), tls.ca_pem)?);
        let common = Common {
            world: world.clone(),
            connections: Arc::new(Connections::default()),
            tls: tls.server.into(),
            stop: CancellationToken::new(),
            idle_timeout: config.idle_timeout,
            http2_streams_max: config.http2_streams_max,
        };
        let mut threads =
            server::start(listener, config.threads, &common).map_err(SandboxError::Thread)?;
        let fleet = fleet::start(world.clone(), config.fleet.clone(), common.stop.clone());
        threads.push(fleet.map_err(SandboxError::Thread)?);
        Ok(Self {
            address,
            world,
            connections: common.connections,
            stop: common.stop,
            threads,
        })
    }

    /// The address listened on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Host and port as they stand in channel URIs, such as `localhost:9443`.
    #[must_use]
    pub fn host(&self) -> String {
        format!("localhost:{}", self.address.port())
    }

    /// The certificate of the authority, in PEM.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.world.ca_pem
    }

    /// The ids of the apps.
    pub fn apps(&self) -> impl Iterator<Item = &str> {
        self.world.apps.iter().map(|app| app.id.as_str())
    }

    /// What a client of an app logs in with; nothing for an unknown app.
    #[must_use]
    pub fn credentials(&self, app: &str) -> Option<Credentials> {
        let app = self.world.app(self.world.find_app(Some(app))?);
        let base = self.world.base_url();
        let identity = app.identity.clone();
        Some(Credentials {
            secrets: app.secrets.load().to_vec(),
            token_url: format!("{base}/accesstoken.srf"),
            entra_token_url: format!("{base}/{}/oauth2/v2.0/token", identity.entra_tenant),
            pfn: identity.pfn,
            package_sid: identity.package_sid,
            entra_tenant: identity.entra_tenant,
            entra_client: identity.entra_client,
        })
    }

    /// The id and the newest channel URI of each device of an app; nothing for an unknown app.
    pub fn channels(&self, app: &str) -> impl Iterator<Item = (String, String)> {
        let app = self.world.find_app(Some(app));
        let devices = app.map_or(0, |app| self.world.app(app).devices.len());
        (0..devices as u32).filter_map(move |device| self.channel(app?, device))
    }

    /// The ledger as it stands.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        ledger::read(&self.world, &self.connections)
    }

    /// What the ledger says of each device of an app; nothing for an unknown app.
    pub fn device_ledgers(&self, app: &str) -> impl Iterator<Item = DeviceLedger> {
        let app = self.world.find_app(Some(app));
        let devices = app.map_or(0, |app| self.world.app(app).devices.len());
        (0..devices as u32).filter_map(move |device| ledger::read_device(&self.world, app?, device))
    }

    /// Sets every count of the ledger to zero.
    pub fn reset_ledger(&self) {
        ledger::reset(&self.world);
    }

    /// The behaviour in force.
    #[must_use]
    pub fn behaviour(&self) -> Behaviour {
        self.world.live.load().behaviour.clone()
    }

    /// Replaces the behaviour.
    ///
    /// # Errors
    /// [`ConfigError`] when it cannot be acted upon; the old one stays in force.
    pub fn set_behaviour(&self, behaviour: Behaviour) -> Result<(), ConfigError> {
        behaviour.prove()?;
        self.world.live.store(Arc::new(world::Live::new(behaviour)));
        Ok(())
    }

    /// Revokes the tokens of all apps; returns how many were valid.
    pub fn revoke_tokens(&self) -> u32 {
        self.world.tokens.revoke(None, self.world.clock.now())
    }

    /// Stops: takes no more connections, lets running requests finish for two seconds, then cuts what is left.
    ///
    /// *Cancel safety*: the sandbox stops even if the future is dropped.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        for thread in std::mem::take(&mut self.threads) {
            // A thread that panicked has stopped, too.
            drop(tokio::task::spawn_blocking(move || thread.join()).await);
        }
    }

    fn channel(&self, app: u16, device: u32) -> Option<(String, String)> {
        let target = Target {
            app,
            device,
            generation: 1,
        };
        let generation = self.world.device(target)?.generation();
        let (mut id, mut uri) = (String::new(), Vec::new());
        self.world.write_device_id(device, &mut id);
        self.world.write_channel(
            Target {
                generation,
                ..target
            },
            &mut uri,
        );
        Some((id, String::from_utf8(uri).ok()?))
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
