//! Moves a fleet from one store to another: devices with their channels and open pushes, campaigns with targets and results,
//! tenants, webhooks, what is known of apps, and the event feed.
//!
//! Every step can be done again: what is there already is passed over, counters are moved by what they lack, events go on
//! where they ended. So a copy that was interrupted is finished by repeating it. Leases, fences and saved answers stay behind.

mod campaigns;
mod counters;
mod devices;
mod documents;
mod events;
mod sums;

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    domain::id::TenantId,
    ports::{
        Store,
        documents::{Precondition, Put},
        error::StoreError,
    },
};

pub use sums::{Sums, TenantSums};

/// The document that says that a copy has begun and not ended: what it copies from. A broker does not start on it.
pub const UNFINISHED: &str = "copy/unfinished";
/// Documents and list members read at a time.
const PAGE: usize = 512;

/// Why a fleet was not copied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// There is nothing to copy.
    #[error("the source is empty")]
    Empty,
    /// The target holds something already.
    #[error("the target is not empty: it holds {what}; copy into an empty store, or say --add")]
    NotEmpty {
        /// What was found.
        what: String,
    },
    /// The target holds one of the tenants already.
    #[error("the target has a tenant {0} already; tenants are not merged")]
    TenantThere(TenantId),
    /// The target was begun from another source.
    #[error(
        "the target holds an unfinished copy of {0}; finish that one, or begin with an empty store"
    )]
    OtherCopy(String),
    /// The source is itself half of a copy.
    #[error("the source is an unfinished copy of {0}; finish that one first")]
    HalfSource(String),
    /// A store failed; the copy can be repeated.
    #[error("{store}: {error}")]
    Store {
        /// Which of the two.
        store: &'static str,
        /// Its error.
        error: StoreError,
    },
    /// What is in the target is not what is in the source.
    #[error("the target is not the same as the source: {0}")]
    Differs(String),
}

impl CopyError {
    fn source(error: StoreError) -> Self {
        let store = "the source";
        Self::Store { store, error }
    }

    fn target(error: StoreError) -> Self {
        let store = "the target";
        Self::Store { store, error }
    }
}

/// How far a copy has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Devices of the source that the target has.
    Devices(u64),
    /// Campaign targets of the source that the target has.
    Targets(u64),
    /// Events of the source that the target has.
    Events(u64),
    /// Devices that were compared.
    Verified(u64),
}

/// A copy from one store to another.
pub struct Copying {
    /// Where from. Nothing else may change it meanwhile.
    pub source: Arc<dyn Store>,
    /// Where to. Nothing else may use it meanwhile.
    pub target: Arc<dyn Store>,
    /// Names the source, so that a repeated copy is told from another one.
    pub name: String,
    /// Whether the target may hold other tenants.
    pub add: bool,
    /// Is told how far it has come.
    pub told: Box<dyn Fn(Step) + Send + Sync>,
}

impl Copying {
    /// Copies everything, then compares the two stores.
    ///
    /// # Errors
    /// [`CopyError`]; after one of a store, repeat it.
    ///
    /// # Cancel safety
    /// May be dropped at any moment, and repeated.
    pub async fn run(&self) -> Result<Sums, CopyError> {
        let tenants = self.source.tenants().await.map_err(CopyError::source)?;
        if tenants.is_empty() {
            return Err(CopyError::Empty);
        }
        self.begin(&tenants).await?;
        self.documents().await?;
        let (mut devices, mut targets, mut events) = (0, 0, 0);
        for tenant in &tenants {
            self.devices(tenant, &mut devices).await?;
            for id in self.campaigns(tenant).await? {
                self.lists(tenant, &id, &mut targets).await?;
            }
            self.counters(tenant).await?;
            self.events(tenant, &mut events).await?;
            self.webhooks(tenant).await?;
        }
        let sums = self.verified(&tenants).await?;
        let ended = self.target.delete(UNFINISHED).await;
        ended.map_err(CopyError::target)?;
        Ok(sums)
    }

    /// Makes sure that the target is empty or an earlier try, and marks it.
    async fn begin(&self, tenants: &[TenantId]) -> Result<(), CopyError> {
        if let Some(name) = unfinished(&*self.source).await.map_err(CopyError::source)? {
            return Err(CopyError::HalfSource(name));
        }
        match unfinished(&*self.target).await.map_err(CopyError::target)? {
            Some(name) if name == self.name => return Ok(()),
            Some(name) => return Err(CopyError::OtherCopy(name)),
            None => {}
        }
        let there = self.target.tenants().await.map_err(CopyError::target)?;
        if let Some(both) = there.iter().find(|t| tenants.contains(t)) {
            return Err(CopyError::TenantThere(both.clone()));
        }
        if !self.add {
            let kept = self.target.list("", None, 1).await;
            let kept = kept.map_err(CopyError::target)?;
            let what = match (there.first(), kept.items.first()) {
                (Some(tenant), _) => Some(format!("tenant {tenant}")),
                (None, Some((name, _))) => Some(format!("the document {name}")),
                (None, None) => None,
            };
            if let Some(what) = what {
                return Err(CopyError::NotEmpty { what });
            }
        }
        let name = Bytes::from(self.name.clone());
        let put = self
            .target
            .put(UNFINISHED, name, Precondition::Absent, None);
        match put.await.map_err(CopyError::target)? {
            Put::Done(_) => Ok(()),
            Put::Conflict(_) => Err(CopyError::OtherCopy("somebody else".to_owned())),
        }
    }
}

/// What the store is an unfinished copy of, if it is one.
///
/// # Errors
/// [`StoreError`].
pub async fn unfinished(store: &dyn Store) -> Result<Option<String>, StoreError> {
    let mark = store.get(UNFINISHED).await?;
    Ok(mark.map(|mark| String::from_utf8_lossy(&mark.bytes).into_owned()))
}
