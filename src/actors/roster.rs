//! Which tenant uses which app: looked up in the store once, then answered from memory.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;

use crate::{
    domain::id::{AppId, TenantId},
    ports::error::StoreError,
};

/// A tenant's place beside the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The app through which its devices are woken.
    pub app: AppId,
    /// Its weight beside the other tenants of the app, 1 to 1000.
    pub share: u32,
}

/// Knows all tenants.
#[async_trait]
pub trait Directory: Send + Sync {
    /// The place of one tenant; none if it is unknown.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn membership(&self, tenant: &TenantId) -> Result<Option<Membership>, StoreError>;

    /// All tenants of an app.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn tenants_of(&self, app: &AppId) -> Result<Vec<TenantId>, StoreError>;
}

/// A tenant as the dispatchers see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Which of the broker's apps; none if the broker has no credentials for the tenant's app.
    pub app: Option<usize>,
    /// See [`Membership::share`].
    pub share: u32,
}

/// The tenants seen so far.
pub struct Roster {
    apps: Vec<AppId>,
    seats: Mutex<HashMap<TenantId, Seat>>,
}

impl Roster {
    /// A roster of a broker that has credentials for `apps`.
    #[must_use]
    pub fn new(apps: Vec<AppId>) -> Self {
        Self {
            apps,
            seats: Mutex::default(),
        }
    }

    /// The seat of a tenant that was looked up before.
    #[must_use]
    pub fn seat(&self, tenant: &TenantId) -> Option<Seat> {
        let seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        seats.get(tenant).copied()
    }

    /// Forgets all: something about tenants has changed.
    pub fn clear(&self) {
        self.seats
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// The seat of a tenant, looked up if it has to be.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn find(
        &self,
        directory: &dyn Directory,
        tenant: &TenantId,
    ) -> Result<Seat, StoreError> {
        if let Some(seat) = self.seat(tenant) {
            return Ok(seat);
        }
        let membership = directory.membership(tenant).await?;
        let app = membership
            .as_ref()
            .and_then(|m| self.apps.iter().position(|id| *id == m.app));
        let seat = Seat {
            app,
            share: membership.map_or(1, |m| m.share.max(1)),
        };
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        seats.insert(tenant.clone(), seat);
        Ok(seat)
    }
}
