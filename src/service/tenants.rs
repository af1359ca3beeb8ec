//! The consoles' name spaces: those of the configuration, and those made while the broker runs.
//!
//! What was made or changed at run time is kept as one document a tenant and wins over the configuration. Lookups are
//! answered from memory until any document changes, then each asks the store once.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        channel::ChannelKind,
        id::{AppId, TenantId},
    },
    ports::{
        Store,
        documents::{Document, Precondition, Put},
        error::StoreError,
        records::Page,
    },
};

/// Where tenants are kept.
const PREFIX: &str = "tenant/";
/// Least and largest share.
pub const SHARE_RANGE: std::ops::RangeInclusive<u32> = 1..=1000;
/// Tenants held in memory; one that is not asks the store.
const CACHED_MAX: usize = 100_000;
/// How often a change is made anew after somebody else was faster.
const ROUNDS_MAX: usize = 16;
/// Documents read at a time when all tenants are wanted.
const PAGE: usize = 512;

/// A console's name space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// Its name.
    pub id: TenantId,
    /// The app through which its devices are woken.
    pub app: AppId,
    /// Its weight beside the other tenants of the app, 1 to 1000.
    pub share: u32,
}

/// Why a tenant was not put.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PutTenantError {
    /// No app of this broker has that id.
    #[error("there is no app {0}")]
    UnknownApp(AppId),
    /// The tenant's devices have channels of another app.
    #[error(
        "devices of the tenant, {devices} in all, have channels of app {app}; delete them first"
    )]
    HasDevices {
        /// How many.
        devices: i64,
        /// The app they belong to.
        app: AppId,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Finds and makes tenants.
pub struct Tenants {
    store: Arc<dyn Store>,
    configured: BTreeMap<TenantId, Tenant>,
    apps: Vec<AppId>,
    seen: Mutex<Seen>,
}

/// Answers of the store, valid until a document changes.
#[derive(Default)]
struct Seen {
    version: u64,
    tenants: HashMap<TenantId, Tenant>,
    all: Option<Arc<BTreeMap<TenantId, Tenant>>>,
}

impl Tenants {
    /// Joins the tenants of the configuration with those in the store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, configured: Vec<Tenant>, apps: Vec<AppId>) -> Self {
        Self {
            store,
            configured: configured.into_iter().map(|t| (t.id.clone(), t)).collect(),
            apps,
            seen: Mutex::default(),
        }
    }

    /// The apps of this broker, in the order of its configuration.
    #[must_use]
    pub fn apps(&self) -> &[AppId] {
        &self.apps
    }

    /// Whether the configuration names this tenant, be it changed since.
    #[must_use]
    pub fn is_configured(&self, id: &TenantId) -> bool {
        self.configured.contains_key(id)
    }

    /// The tenant of this name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn find(&self, id: &TenantId) -> Result<Option<Tenant>, StoreError> {
        let version = *self.store.changed().borrow();
        if let Some(tenant) = self.locked(version).tenants.get(id) {
            return Ok(Some(tenant.clone()));
        }
        let made = self.store.get(&name(id)).await?;
        let tenant = match made {
            Some(document) => Some(read(id, &document)?),
            None => self.configured.get(id).cloned(),
        };
        if let Some(tenant) = &tenant {
            self.remember(version, tenant.clone());
        }
        Ok(tenant)
    }

    /// What was seen while the documents were at `version`; what is older is dropped.
    fn locked(&self, version: u64) -> MutexGuard<'_, Seen> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.version != version {
            *seen = Seen {
                version,
                ..Seen::default()
            };
        }
        seen
    }

    /// Keeps what was read while the documents were at `version`, unless they have changed since.
    fn remember(&self, version: u64, tenant: Tenant) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.version == version && seen.tenants.len() < CACHED_MAX {
            seen.tenants.insert(tenant.id.clone(), tenant);
        }
    }

    /// A page of the tenants that are `wanted`, by name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(
        &self,
        after: Option<&TenantId>,
        limit: usize,
        wanted: impl Fn(&Tenant) -> bool,
    ) -> Result<Page<Tenant>, StoreError> {
        let all = self.all().await?;
        let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rest = all.range::<TenantId, _>((begin, Bound::Unbounded));
        let mut rest = rest.map(|(_, tenant)| tenant).filter(|t| wanted(t));
        let items: Vec<Tenant> = rest.by_ref().take(limit).cloned().collect();
        let next = rest
            .next()
            .and(items.last())
            .map(|last| last.id.to_string());
        Ok(Page { items, next })
    }

    /// All tenants that use `app`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn of_app(&self, app: &AppId) -> Result<Vec<Tenant>, StoreError> {
        let all = self.all().await?;
        Ok(all.values().filter(|t| t.app == *app).cloned().collect())
    }

    /// Apps that tenants use although the configuration does not have them: nobody sends their pushes.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn missing_apps(&self) -> Result<BTreeSet<AppId>, StoreError> {
        let all = self.all().await?;
        let used = all.values().map(|t| &t.app);
        Ok(used
            .filter(|app| !self.apps.contains(app))
            .cloned()
            .collect())
    }

    /// Every tenant there is, read anew when a document has changed.
    async fn all(&self) -> Result<Arc<BTreeMap<TenantId, Tenant>>, StoreError> {
        let version = *self.store.changed().borrow();
        if let Some(all) = self.locked(version).all.clone() {
            return Ok(all);
        }
        let mut all = self.configured.clone();
        let mut cursor: Option<String> = None;
        loop {
            let page = self.store.list(PREFIX, cursor.as_deref(), PAGE).await?;
            for (name, document) in &page.items {
                let id = name.strip_prefix(PREFIX).unwrap_or_default();
                let id = TenantId::new(id).map_err(|e| damaged(name, &e.to_string()))?;
                let tenant = read(&id, document)?;
                all.insert(id, tenant);
            }
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        let all = Arc::new(all);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.version == version {
            seen.all = Some(Arc::clone(&all));
        }
        Ok(all)
    }

    /// Makes a tenant, or changes its share; its app only while it has no devices. Returns whether it is new.
    ///
    /// # Errors
    /// [`PutTenantError`]; nothing was changed then.
    pub async fn put(&self, tenant: &Tenant) -> Result<bool, PutTenantError> {
        if !self.apps.contains(&tenant.app) {
            return Err(PutTenantError::UnknownApp(tenant.app.clone()));
        }
        let bytes = Bytes::from(serde_json::to_vec(tenant).expect("a tenant is plain JSON"));
        let name = name(&tenant.id);
        for _ in 0..ROUNDS_MAX {
            let kept = self.store.get(&name).await?;
            let old = match &kept {
                Some(document) => Some(read(&tenant.id, document)?),
                None => self.configured.get(&tenant.id).cloned(),
            };
            if let Some(old) = old.as_ref().filter(|old| old.app != tenant.app) {
                self.without_devices(old).await?;
            }
            let precondition =
                kept.map_or(Precondition::Absent, |d| Precondition::Version(d.version));
            match self
                .store
                .put(&name, bytes.clone(), precondition, None)
                .await?
            {
                Put::Done(_) => {
                    *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Seen::default();
                    return Ok(old.is_none());
                }
                Put::Conflict(_) => {}
            }
        }
        Err(PutTenantError::Store(StoreError::Unavailable {
            detail: format!("tenant {} changed {ROUNDS_MAX} times meanwhile", tenant.id),
            retry_after: None,
        }))
    }

    async fn without_devices(&self, tenant: &Tenant) -> Result<(), PutTenantError> {
        let counts = Counts::read(&*self.store, &tenant.id).await?;
        let devices = counts.channels.values().sum();
        if devices == 0 {
            return Ok(());
        }
        Err(PutTenantError::HasDevices {
            devices,
            app: tenant.app.clone(),
        })
    }
}

/// What is counted of a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Devices by the state of their channel; every state is there.
    pub channels: BTreeMap<String, i64>,
    /// Open pushes by class; every class is there.
    pub pushes: BTreeMap<String, i64>,
    /// Asks that have ended, by reason; every reason is there.
    pub closed: BTreeMap<String, i64>,
}

impl Counts {
    /// Reads the counters of a tenant.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn read(store: &dyn Store, tenant: &TenantId) -> Result<Self, StoreError> {
        use crate::domain::ask::{Class, CloseReason};
        let group = async |prefix: &str, names: Vec<&str>| {
            let found = store.counters(tenant, prefix).await?;
            let count = |name: &str| found.get(&format!("{prefix}{name}")).copied().unwrap_or(0);
            let counts = names.into_iter().map(|name| (name.to_owned(), count(name)));
            Ok::<_, StoreError>(counts.collect())
        };
        Ok(Self {
            channels: group(
                "channels.",
                ChannelKind::ALL.map(ChannelKind::as_str).to_vec(),
            )
            .await?,
            pushes: group("pushes.", Class::ALL.map(Class::as_str).to_vec()).await?,
            closed: group("closed.", CloseReason::LABELS.to_vec()).await?,
        })
    }
}

fn name(id: &TenantId) -> String {
    format!("{PREFIX}{id}")
}

fn read(id: &TenantId, document: &Document) -> Result<Tenant, StoreError> {
    serde_json::from_slice(&document.bytes).map_err(|e| damaged(id.as_str(), &e.to_string()))
}

fn damaged(tenant: &str, error: &str) -> StoreError {
    StoreError::Damaged {
        detail: format!("the document of tenant {tenant}: {error}"),
    }
}
