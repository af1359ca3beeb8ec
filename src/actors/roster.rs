//! Which tenant uses which app: looked up in the store once, then answered from memory.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
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
    seats: Mutex<Seats>,
    unserved: Mutex<BTreeMap<TenantId, u64>>,
}

#[derive(Default)]
struct Seats {
    /// Rises when something about tenants has changed.
    edition: u64,
    /// By tenant, with the edition in which it was looked up.
    known: HashMap<TenantId, (Seat, u64)>,
}

impl Roster {
    /// A roster of a broker that has credentials for `apps`.
    #[must_use]
    pub fn new(apps: Vec<AppId>) -> Self {
        Self {
            apps,
            seats: Mutex::default(),
            unserved: Mutex::default(),
        }
    }

    /// The seat of a tenant that was looked up before, be it outdated: what was just claimed for it must go somewhere.
    #[must_use]
    pub fn seat(&self, tenant: &TenantId) -> Option<Seat> {
        self.seats().known.get(tenant).map(|(seat, _)| *seat)
    }

    /// Open pushes of tenants that none of the broker's apps serves, as last counted.
    #[must_use]
    pub fn unserved(&self) -> BTreeMap<TenantId, u64> {
        let unserved = self.unserved.lock();
        unserved.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps what was counted.
    pub fn count_unserved(&self, unserved: BTreeMap<TenantId, u64>) {
        let mut known = self.unserved.lock().unwrap_or_else(PoisonError::into_inner);
        *known = unserved;
    }

    /// Something about tenants has changed: each is looked up again when it is next asked for.
    pub fn outdate(&self) {
        self.seats().edition += 1;
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
        let edition = {
            let seats = self.seats();
            match seats.known.get(tenant) {
                Some((seat, edition)) if *edition == seats.edition => return Ok(*seat),
                Some(_) | None => seats.edition,
            }
        };
        let membership = directory.membership(tenant).await?;
        let app = membership
            .as_ref()
            .and_then(|m| self.apps.iter().position(|id| *id == m.app));
        let seat = Seat {
            app,
            share: membership.map_or(1, |m| m.share.max(1)),
        };
        let known = (seat, edition);
        self.seats().known.insert(tenant.clone(), known);
        Ok(seat)
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory in which every tenant uses the app that is set.
    struct Everybody(Mutex<AppId>);

    #[async_trait]
    impl Directory for Everybody {
        async fn membership(&self, _: &TenantId) -> Result<Option<Membership>, StoreError> {
            let app = self.0.lock().unwrap().clone();
            Ok(Some(Membership { app, share: 1 }))
        }

        async fn tenants_of(&self, _: &AppId) -> Result<Vec<TenantId>, StoreError> {
            Ok(Vec::new())
        }
    }

    #[tokio::test]
    async fn an_outdated_seat_stands_until_it_is_looked_up_again() {
        let apps = ["a", "b"].map(|id| AppId::new(id).unwrap());
        let directory = Everybody(Mutex::new(apps[0].clone()));
        let roster = Roster::new(apps.to_vec());
        let tenant = TenantId::new("contoso").unwrap();
        assert_eq!(roster.seat(&tenant), None);
        let first = roster.find(&directory, &tenant).await.unwrap();

        *directory.0.lock().unwrap() = apps[1].clone();
        assert_eq!(roster.find(&directory, &tenant).await.unwrap(), first);
        roster.outdate();
        assert_eq!(roster.seat(&tenant), Some(first));
        let second = roster.find(&directory, &tenant).await.unwrap();
        assert_eq!(second.app, Some(1));
        assert_eq!(roster.seat(&tenant), Some(second));
    }
}
