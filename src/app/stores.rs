//! Opens the store that the configuration names.

use std::{panic::resume_unwind, path::PathBuf, sync::Arc};

use secrecy::SecretString;
use url::Url;

use crate::{
    adapters::{
        embedded::{EmbeddedOptions, EmbeddedStore, OpenError},
        measured::{MeasuredStore, MeasuredStreams},
        redis::{Address, Arrangement, ConnectError, Login, RedisOptions, RedisStore, Tls},
    },
    config::{self, RedisTopology},
    domain::id::TenantId,
    ports::{Store, clock::Clock, streams::Streams},
    telemetry::Telemetry,
};

/// Port of a Redis whose URL names none.
const REDIS_PORT: u16 = 6379;
/// Port of a Sentinel whose URL names none.
const SENTINEL_PORT: u16 = 26_379;

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenStoreError {
    /// The embedded store says why.
    #[error("cannot open the store (store.path): {0}")]
    Embedded(#[from] OpenError),
    /// The Redis store says why.
    #[error("cannot open the store (store.url): {0}")]
    Redis(#[from] ConnectError),
    /// The certificate authority cannot be read.
    #[error("cannot read {path} (store.ca_file): {source}")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
}

/// A store, and the streams of the tenants that have some.
pub(super) struct Opened {
    pub(super) store: Arc<dyn Store>,
    pub(super) streams: Option<Arc<dyn Streams>>,
}

impl Opened {
    /// The same, with each call told to `telemetry`.
    pub(super) fn measured(self, telemetry: &Telemetry) -> Self {
        let streams = self.streams.map(|streams| {
            let streams = MeasuredStreams::new(streams, telemetry.clone());
            Arc::new(streams) as Arc<dyn Streams>
        });
        Self {
            store: Arc::new(MeasuredStore::new(self.store, telemetry.clone())),
            streams,
        }
    }
}

/// Whether a store that is not there is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Make {
    IfMissing,
    /// Of a Redis; whether a folder is there has to be looked at before.
    Nothing,
}

/// Opens the store.
pub(super) async fn open(
    settings: &config::Store,
    make: Make,
    streams: &[TenantId],
    clock: &Arc<dyn Clock>,
    telemetry: &Telemetry,
) -> Result<Opened, OpenStoreError> {
    match &settings.backend {
        config::Backend::Embedded { path } => {
            let mut options = EmbeddedOptions::new(path.clone(), clock.clone());
            options.feed_events_max = u64::from(settings.events_max);
            options.feed_age_max = settings.events_max_age;
            // Reading a large store takes seconds. Whoever gives the start up meanwhile need not wait for the end of it.
            let _given_up = options.given_up.clone().drop_guard();
            let reading = tokio::task::spawn_blocking(move || EmbeddedStore::open(options));
            let read = reading.await;
            Ok(Opened {
                store: read.unwrap_or_else(|panic| resume_unwind(panic.into_panic()))?,
                streams: None,
            })
        }
        config::Backend::Redis(redis) => {
            let mut options = redis_options(redis, clock, telemetry)?;
            options.feed_events_max = settings.events_max as usize;
            options.feed_age_max = settings.events_max_age;
            options.streams = streams.to_vec();
            options.existing_only = make == Make::Nothing;
            let store = RedisStore::connect(options).await?;
            let has_streams = !streams.is_empty();
            Ok(Opened {
                streams: has_streams.then(|| store.clone() as Arc<dyn Streams>),
                store,
            })
        }
    }
}

fn redis_options(
    redis: &config::RedisStore,
    clock: &Arc<dyn Clock>,
    telemetry: &Telemetry,
) -> Result<RedisOptions, OpenStoreError> {
    let first = redis.url.expose();
    let urls =
        || std::iter::once(first).chain(redis.more_urls.iter().map(config::PrivateUrl::expose));
    let addresses = |port| urls().map(|url| address(url, port)).collect();
    let arrangement = match &redis.topology {
        RedisTopology::Single => Arrangement::Single(address(first, REDIS_PORT)),
        RedisTopology::Cluster => Arrangement::Cluster {
            seeds: addresses(REDIS_PORT),
        },
        RedisTopology::Sentinel { master, .. } => Arrangement::Sentinel {
            sentinels: addresses(SENTINEL_PORT),
            master: master.clone(),
        },
    };
    let telemetry = telemetry.clone();
    let alarm = Arc::new(move |advice: &str| telemetry.advised(advice));
    let mut options = RedisOptions::at(address(first, REDIS_PORT), clock.clone(), alarm);
    options.arrangement = arrangement;
    options.login = login(first);
    if let RedisTopology::Sentinel { user, password, .. } = &redis.topology {
        let password = password.as_ref().map(|secret| secret.expose().into());
        options.sentinel_login = Login {
            user: user.clone(),
            password,
        };
    }
    options.database = first.path().trim_start_matches('/').parse().unwrap_or(0);
    options.shards = Some(redis.shards as usize).filter(|shards| *shards > 0);
    options.min_replicas_to_ack = redis.min_replicas_to_ack;
    options.tls = (first.scheme() == "rediss").then(Tls::default);
    if let (Some(tls), Some(path)) = (&mut options.tls, &redis.ca_file) {
        let read = std::fs::read(path);
        let unreadable = |source| OpenStoreError::CaFile {
            path: path.clone(),
            source,
        };
        tls.authorities = Some(read.map_err(unreadable)?);
    }
    Ok(options)
}

fn address(url: &Url, port: u16) -> Address {
    Address {
        host: url
            .host_str()
            .unwrap_or_default()
            .trim_matches(['[', ']'])
            .to_owned(),
        port: url.port().unwrap_or(port),
    }
}

fn login(url: &Url) -> Login {
    let decoded = |text: &str| {
        percent_encoding::percent_decode_str(text)
            .decode_utf8_lossy()
            .into_owned()
    };
    Login {
        user: Some(decoded(url.username())).filter(|user| !user.is_empty()),
        password: url
            .password()
            .map(|password| SecretString::from(decoded(password))),
    }
}
