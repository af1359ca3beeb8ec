//! Opens two stores and moves a fleet from one to the other.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::stores::{self, Make, OpenStoreError};
use crate::{
    adapters::{clock::SystemClock, embedded::OpenError},
    config::{
        Backend, Config, ConfigError, Environment, PrivateUrl, RedisStore, RedisTopology, Store,
    },
    ports::{self, clock::Clock, error::StoreError},
    service::copy::{CopyError, Copying, Step, Sums},
    telemetry::Telemetry,
};

/// Schemes of the URLs of a Redis.
const REDIS_SCHEMES: [&str; 2] = ["redis", "rediss"];
/// Events that are kept of a feed: what the target may keep is for its broker to say.
const EVENTS_MAX: u32 = 1_000_000_000;
const EVENTS_MAX_AGE: Duration = Duration::from_secs(365 * 24 * 3_600);
/// The lease of every broker's janitor: whoever has it lives, or did half a minute ago.
const JANITOR: &str = "janitor";
/// How long it is kept from brokers that start meanwhile, at most.
const LEASE: Duration = Duration::from_secs(1);

/// A store as the command line names it: a folder, a Redis URL, or a configuration file whose `[store]` is meant.
#[derive(Clone, Debug)]
pub struct Place {
    /// As it was written, without user and password.
    pub name: String,
    store: Store,
}

/// Why a fleet was not copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyFleetError {
    /// The place is none, or its configuration cannot be used.
    #[error("{0}")]
    Place(String),
    /// A store cannot be opened.
    #[error("{name}: {error}")]
    Open {
        /// Which.
        name: String,
        /// Why not.
        error: OpenStoreError,
    },
    /// A broker works with the store.
    #[error("{0} is used by a broker: stop all of its brokers, wait half a minute, and repeat")]
    InUse(String),
    /// The copy failed.
    #[error(transparent)]
    Copy(#[from] CopyError),
}

impl Place {
    /// Reads a place. `shards` is for a Redis store that does not exist yet; one that does is taken
    /// as it is where none are given.
    ///
    /// # Errors
    /// [`CopyFleetError::Place`].
    pub fn read(text: &str, shards: Option<u32>) -> Result<Self, CopyFleetError> {
        let is_redis = |url: &PrivateUrl| REDIS_SCHEMES.contains(&url.expose().scheme());
        if let Some(url) = text.parse::<PrivateUrl>().ok().filter(is_redis) {
            let name = url.to_string();
            return Ok(Self::of(name, redis(url, shards.unwrap_or(0))));
        }
        if Path::new(text).extension().is_some_and(|e| e == "toml") {
            let environment = Environment::of_process();
            let config = Config::load(Some(Path::new(text)), &environment);
            let config = config.map_err(|e: ConfigError| CopyFleetError::Place(e.to_string()))?;
            return Ok(Self::of(text.to_owned(), config.store.backend));
        }
        if text.contains("://") {
            let told = "a store is a folder, a URL such as redis://127.0.0.1:6379/0, or a configuration file";
            return Err(CopyFleetError::Place(told.to_owned()));
        }
        let path = PathBuf::from(text);
        Ok(Self::of(text.to_owned(), Backend::Embedded { path }))
    }

    fn of(name: String, backend: Backend) -> Self {
        let store = Store {
            backend,
            events_max: EVENTS_MAX,
            events_max_age: EVENTS_MAX_AGE,
            events_verbose: false,
        };
        Self { name, store }
    }

    /// Whether both are the same.
    fn is(&self, other: &Self) -> bool {
        match (&self.store.backend, &other.store.backend) {
            (Backend::Embedded { path: one }, Backend::Embedded { path: two }) => {
                let whole = |path: &PathBuf| path.canonicalize().unwrap_or_else(|_| path.clone());
                whole(one) == whole(two)
            }
            (Backend::Redis(one), Backend::Redis(two)) => one.url == two.url,
            (Backend::Embedded { .. }, Backend::Redis(_))
            | (Backend::Redis(_), Backend::Embedded { .. }) => false,
        }
    }
}

fn redis(url: PrivateUrl, shards: u32) -> Backend {
    Backend::Redis(Box::new(RedisStore {
        url,
        more_urls: Vec::new(),
        topology: RedisTopology::Single,
        ca_file: None,
        shards,
        min_replicas_to_ack: 0,
    }))
}

/// Copies the fleet of one store into another, and compares them.
///
/// # Errors
/// [`CopyFleetError`]; after one of [`CopyError::Store`] repeat it.
pub async fn copy_fleet(
    (from, to): (&Place, &Place),
    add: bool,
    told: Box<dyn Fn(Step) + Send + Sync>,
) -> Result<Sums, CopyFleetError> {
    if from.is(to) {
        let told = "the source and the target are the same store";
        return Err(CopyFleetError::Place(told.to_owned()));
    }
    if let Backend::Embedded { path } = &from.store.backend
        && !path.is_dir()
    {
        let told = format!("there is no folder {}", path.display());
        return Err(CopyFleetError::Place(told));
    }
    let source = open(from, Make::Nothing).await?;
    let target = open(to, Make::IfMissing).await?;
    let copying = Copying {
        source: source.clone(),
        target: target.clone(),
        name: from.name.clone(),
        add,
        told,
    };
    let copied = copying.run().await;
    let closed = (source.close().await, target.close().await);
    let sums = copied?;
    let failed = |store| move |error| CopyError::Store { store, error };
    closed.1.map_err(failed("the target"))?;
    closed.0.map_err(failed("the source"))?;
    Ok(sums)
}

async fn open(place: &Place, make: Make) -> Result<Arc<dyn ports::Store>, CopyFleetError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let telemetry = Telemetry::new(Duration::from_secs(60));
    let opened = stores::open(&place.store, make, &[], &clock, &telemetry).await;
    let store = match opened {
        Ok(opened) => opened.store,
        Err(OpenStoreError::Embedded(OpenError::InUse { .. })) => {
            return Err(CopyFleetError::InUse(place.name.clone()));
        }
        Err(error) => {
            let name = place.name.clone();
            return Err(CopyFleetError::Open { name, error });
        }
    };
    let shared = matches!(place.store.backend, Backend::Redis(_));
    if shared
        && is_used(&*store)
            .await
            .map_err(|error| unwell(place, error))?
    {
        return Err(CopyFleetError::InUse(place.name.clone()));
    }
    Ok(store)
}

/// Whether a broker works with a store that several may share: its janitor's lease is taken.
async fn is_used(store: &dyn ports::Store) -> Result<bool, StoreError> {
    let owner = format!("store copy {}", uuid::Uuid::new_v4().simple());
    let free = store.hold(JANITOR, &owner, LEASE).await?.is_some();
    if free {
        store.release(JANITOR, &owner).await?;
    }
    Ok(!free)
}

fn unwell(place: &Place, error: StoreError) -> CopyFleetError {
    let name = place.name.clone();
    let error = OpenStoreError::Redis(error.into());
    CopyFleetError::Open { name, error }
}
