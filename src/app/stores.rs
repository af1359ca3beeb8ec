//! Opens the store that the configuration names.

use std::sync::Arc;

use crate::{
    adapters::embedded::{EmbeddedOptions, EmbeddedStore, OpenError},
    config,
    ports::{Store, clock::Clock},
};

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenStoreError {
    /// The embedded store says why.
    #[error("cannot open the store (store.path): {0}")]
    Embedded(#[from] OpenError),
    /// This build has no such store.
    #[error("store.kind = \"redis\" is not in this build; use \"embedded\"")]
    NoRedis,
}

/// Opens the store.
pub(super) async fn open(
    settings: &config::Store,
    clock: &Arc<dyn Clock>,
) -> Result<Arc<dyn Store>, OpenStoreError> {
    match &settings.backend {
        config::Backend::Embedded { path } => {
            let mut options = EmbeddedOptions::new(path.clone(), clock.clone());
            options.feed_events_max = u64::from(settings.events_max);
            options.feed_age_max = settings.events_max_age;
            // Reading a large store takes seconds, and nothing else runs yet.
            let store: Arc<dyn Store> = EmbeddedStore::open(options)?;
            Ok(store)
        }
        config::Backend::Redis(_) => Err(OpenStoreError::NoRedis),
    }
}
