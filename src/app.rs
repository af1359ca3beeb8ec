//! A broker put together: the only place where adapters and actors meet.

pub mod check;
pub mod copy;
mod directory;
mod files;
mod inbox;
mod listeners;
mod outbound;
mod settings;
mod status;
mod stores;
mod traces;
mod watch;

use std::{net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use actix::Addr;
use bytes::Bytes;
use jiff::tz::TimeZone;

use self::{
    directory::TenantDirectory,
    listeners::{Listeners, Servers},
    outbound::Outbound,
    settings::{api_settings, configured_tenants, dispatch_settings, pfns},
    status::Standing,
    stores::Make,
    watch::Watchman,
};
use crate::{
    actors::{
        self, ActorSet, Deps, Placement, WnsFactory, campaign_runner::CampaignRunner,
        notifier::Notifier,
    },
    adapters::{
        clock::SystemClock,
        otlp::OtlpError,
        webhook::{CourierError, CourierOptions, WebhookCourier},
        wns::{ClientError, sender::WnsSender},
    },
    api,
    config::Config,
    domain::webhook::{Allowed, Patience},
    inbox::Running,
    ports::{
        Store,
        clock::Clock,
        documents::{Precondition, Put},
        error::StoreError,
        wns::Wns,
    },
    service::{
        apps::Apps,
        campaign::Campaigns,
        copy::unfinished,
        desk::Desk,
        status::BrokerStatus,
        tenants::Tenants,
        webhook::{Means, Webhooks},
    },
    telemetry::{ActorKind, Telemetry, install_panic_hook, limit_library_lines},
};

pub use stores::OpenStoreError;

/// The document that keeps the key under which channel URIs are hashed for people.
const URI_KEY_DOCUMENT: &str = "broker/uri-key";
/// How long the report of a campaign is kept after its end.
const REPORT_RETENTION: Duration = Duration::from_secs(30 * 24 * 3600);
/// Length of that key.
const URI_KEY_BYTES: usize = 32;

/// Why a broker does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store cannot be opened.
    #[error(transparent)]
    OpenStore(#[from] OpenStoreError),
    /// The client that calls webhooks cannot be made.
    #[error(transparent)]
    Courier(#[from] CourierError),
    /// What exports traces cannot be made.
    #[error(transparent)]
    Otlp(#[from] OtlpError),
    /// The store failed while the broker was put together.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store is half of a copy.
    #[error(
        "the store is an unfinished copy of {0}: finish it with `reveille store copy`, or begin with an empty store"
    )]
    HalfCopy(String),
    /// The address cannot be listened on.
    #[error("cannot listen on {address} (server.listen): {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: std::io::Error,
    },
    /// The HTTP client cannot be made as configured.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A file that the configuration names cannot be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The configuration contradicts itself in a way that only shows here.
    #[error("the configuration cannot be used: {0}")]
    Config(String),
}

/// A running broker. It must be made and kept on a thread with an actix system.
pub struct Broker {
    address: SocketAddr,
    actors: Rc<ActorSet>,
    _runner: Addr<CampaignRunner>,
    _notifier: Addr<Notifier>,
    inbox: Option<Running>,
    state: Arc<api::State>,
    servers: Servers,
    store: Arc<dyn Store>,
    telemetry: Telemetry,
    watch: Arc<Watchman>,
    drain_timeout: Duration,
}

impl Broker {
    /// Opens the store, starts the actors and listens. It answers requests when this returns.
    ///
    /// # Errors
    /// [`StartError`] says what has to be mended.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let telemetry = Telemetry::new(config.log.failure_interval);
        install_panic_hook(telemetry.clone());
        limit_library_lines(telemetry.clone());
        traces::begin(&config, &telemetry)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        // Before the store is opened: a second broker on one machine fails here, whatever its store.
        let listeners = Listeners::bind(&config)?;
        let tenants = &config.streams.tenants;
        let opened =
            stores::open(&config.store, Make::IfMissing, tenants, &clock, &telemetry).await?;
        let stores::Opened { store, streams } = opened.measured(&telemetry);
        if let Some(source) = unfinished(&*store).await? {
            return Err(StartError::HalfCopy(source));
        }
        let ground = Ground::new(&config, store.clone(), clock, telemetry.clone()).await?;
        let apps = Apps::new(ground.desk.clone(), ground.tenants.clone());
        apps.align().await?;
        let actors = Rc::new(ground.actors(&config).await?);
        let webhooks = ground.webhooks(&config);
        let notifier = ground.notifier(&config, &actors, &webhooks)?;
        let name = &actors.broker().settings.broker;
        let inbox = inbox::start(&ground, &config, streams, name);
        let (state, runner) = ground.api(&config, &actors, webhooks);
        let address = listeners.address();
        let connections_max = files::connections_max(&config, &telemetry);
        let servers = listeners.serve(&state, &config, connections_max)?;
        let health = store.probe().await?;
        telemetry.started(address, &health.description);
        let advice = config.advice(ground.desk.clock.now().to_zoned(TimeZone::UTC).date());
        for app in &config.apps {
            if let Some(last_day) = app.secrets.expires {
                telemetry.secret_expires(&telemetry.app(&app.id), last_day);
            }
        }
        health
            .failing
            .iter()
            .chain(&health.warnings)
            .chain(&advice)
            .for_each(|a| telemetry.advised(a));
        Ok(Self {
            address,
            actors,
            _runner: runner,
            _notifier: notifier,
            inbox,
            state,
            servers,
            store,
            telemetry,
            watch: ground.watch,
            drain_timeout: config.server.drain_timeout,
        })
    }

    /// The address listened on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until an actor cannot be kept alive, or the store can keep nothing before it is opened again; says which. The
    /// process must end then, so that its service manager starts it anew.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn failed(&self) -> String {
        tokio::select! {
            actor = self.watch.gave_up() => format!("the actor {actor} cannot be kept alive; the log says why"),
            why = self.store.broken() => format!("the store has to be opened again: {why}"),
        }
    }

    /// Stops in order: no new requests, what is on the wire is settled, the store is closed. Bounded by the drain timeout.
    /// Returns how many claims were left; they are due again when the broker starts.
    pub async fn drain(self) -> usize {
        self.telemetry.draining(self.drain_timeout);
        self.state.close();
        if let Some(inbox) = &self.inbox {
            inbox.drain(self.drain_timeout).await;
        }
        let (unsettled, ()) =
            tokio::join!(self.actors.drain(self.drain_timeout), self.servers.stop());
        self.actors.stop();
        if let Err(error) = self.store.close().await {
            self.telemetry
                .advised(&format!("the store was not closed in order: {error}"));
        }
        traces::end(&self.telemetry).await;
        self.telemetry.stopped(unsettled);
        unsettled
    }
}

/// What everything in a broker stands on.
struct Ground {
    desk: Desk,
    tenants: Arc<Tenants>,
    watch: Arc<Watchman>,
    uri_key: Vec<u8>,
}

impl Ground {
    async fn new(
        config: &Config,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        telemetry: Telemetry,
    ) -> Result<Self, StartError> {
        let uri_key = uri_key(&*store).await?;
        let ids = config.apps.iter().map(|app| app.id.clone()).collect();
        let tenants = Tenants::new(store.clone(), configured_tenants(config), ids);
        let watch = Arc::new(Watchman::new(telemetry.clone()));
        let rules = Arc::new(config.rules());
        let desk = Desk {
            store,
            clock,
            rules,
            telemetry,
            fence: None,
        };
        Ok(Self {
            desk,
            tenants: Arc::new(tenants),
            watch,
            uri_key,
        })
    }

    async fn actors(&self, config: &Config) -> Result<ActorSet, StartError> {
        let desk = &self.desk;
        let outbound = Outbound::new(config, &desk.clock)?;
        let deps = Deps {
            store: desk.store.clone(),
            clock: desk.clock.clone(),
            telemetry: desk.telemetry.clone(),
            directory: Arc::new(TenantDirectory(self.tenants.clone())),
            apps: outbound.sources(config)?,
            wns: sender(&outbound, config)?,
            watch: self.watch.clone(),
        };
        let settings = dispatch_settings(config, &self.uri_key);
        Ok(actors::start(settings, desk.rules.clone(), deps, Placement::Arbiters).await)
    }

    fn webhooks(&self, config: &Config) -> Webhooks {
        let (store, clock) = (self.desk.store.clone(), self.desk.clock.clone());
        let allowed = Allowed {
            private_addresses: config.webhooks.private_addresses,
            verbose_events: config.store.events_verbose,
        };
        Webhooks::new(store, clock, allowed)
    }

    fn notifier(
        &self,
        config: &Config,
        actors: &ActorSet,
        webhooks: &Webhooks,
    ) -> Result<Addr<Notifier>, StartError> {
        let options = CourierOptions {
            private: config.webhooks.private_addresses,
            extra_ca: None,
        };
        let disable_after = jiff::SignedDuration::try_from(config.webhooks.disable_after);
        let patience = Patience {
            disable_after: disable_after.expect("the configuration allows thirty days at most"),
            ..Patience::default()
        };
        let telemetry = self.desk.telemetry.clone();
        let notifier = Notifier {
            webhooks: webhooks.clone(),
            broker: actors.broker().settings.broker.clone(),
            metrics: telemetry.actor(ActorKind::Notifier, tokio::time::Instant::now()),
            means: Means {
                courier: Arc::new(WebhookCourier::new(&options)?),
                patience,
                telemetry,
            },
        };
        Ok(notifier.start(self.watch.clone()))
    }

    fn api(
        &self,
        config: &Config,
        actors: &ActorSet,
        webhooks: Webhooks,
    ) -> (Arc<api::State>, Addr<CampaignRunner>) {
        let (desk, broker) = (&self.desk, actors.broker());
        let telemetry = &desk.telemetry;
        let status: Arc<dyn BrokerStatus> = Arc::new(Standing::new(
            broker.clone(),
            telemetry.clone(),
            self.watch.clone(),
        ));
        let campaigns = Campaigns::new(desk.clone(), self.tenants.clone(), status.clone());
        let runner = CampaignRunner {
            campaigns: campaigns.clone(),
            broker: broker.settings.broker.clone(),
            retention: REPORT_RETENTION,
            metrics: telemetry.actor(ActorKind::CampaignRunner, tokio::time::Instant::now()),
        };
        let parts = api::Parts {
            desk: desk.clone(),
            tenants: self.tenants.clone(),
            campaigns,
            webhooks,
            pfns: pfns(config),
            hosts: config.wns.hosts.clone(),
            uri_key: self.uri_key.clone(),
            keys: config.keys.clone(),
            status,
            metrics: Arc::new(status::Metrics(telemetry.clone())),
            settings: api_settings(config),
        };
        (api::State::new(parts), runner.start(self.watch.clone()))
    }
}

/// The key for the hashes that stand for channel URIs: made once for each store, so that a hash means the same on all
/// brokers and after a restart.
async fn uri_key(store: &dyn Store) -> Result<Vec<u8>, StoreError> {
    if let Some(kept) = store.get(URI_KEY_DOCUMENT).await? {
        return Ok(kept.bytes.to_vec());
    }
    let mut key = [0; URI_KEY_BYTES];
    rand::Rng::fill_bytes(&mut rand::rng(), &mut key);
    match store
        .put(
            URI_KEY_DOCUMENT,
            Bytes::copy_from_slice(&key),
            Precondition::Absent,
            None,
        )
        .await?
    {
        Put::Done(_) => Ok(key.to_vec()),
        Put::Conflict(kept) => Ok(kept.map_or_else(|| key.to_vec(), |d| d.bytes.to_vec())),
    }
}

fn sender(outbound: &Outbound, config: &Config) -> Result<WnsFactory, StartError> {
    let (clients, hosts) = (outbound.clients.clone(), config.wns.hosts.clone());
    // Made once here, so that a configuration that the library refuses is found before anything runs.
    drop(WnsSender::new(clients.clone(), hosts.clone())?);
    Ok(Arc::new(move || {
        let sender = WnsSender::new(clients.clone(), hosts.clone());
        let sender: Rc<dyn Wns> = Rc::new(sender.expect("the same sender was made at the start"));
        sender
    }))
}
