//! What people decide about an app while the broker runs: pause, resume, pace.
//!
//! The decision is one document an app, which wins over the configuration and is followed by every broker. A pause takes
//! the queues of the app's tenants out of service in the store, at once and whatever their size.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{TryStreamExt, stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        event::{Event, EventKind},
        id::{AppId, TenantId},
    },
    ports::{
        Store,
        documents::{Documents, Precondition, Put},
        error::StoreError,
        queues::Selector,
    },
};

use super::{
    channels,
    desk::Desk,
    tenants::{Tenant, Tenants},
};

/// How often a change is made anew after somebody else was faster.
const ROUNDS_MAX: usize = 16;
/// Tenants of an app that are paused or resumed beside one another.
const TENANTS_AT_ONCE: usize = 64;

/// A pause by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Since when.
    pub since: Timestamp,
    /// Why, in the words of whoever paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A pace set by hand; what is absent is the configuration's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaceChange {
    /// Requests a second to begin with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_per_second: Option<u32>,
    /// Requests a second never exceeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ceiling_per_second: Option<u32>,
}

/// What people decided about an app; the default is: nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppDecision {
    /// Paused by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Pause>,
    /// Pace set by hand.
    #[serde(default)]
    pub pace: PaceChange,
    /// When somebody last asked to go on: holds that began before are over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed_at: Option<Timestamp>,
}

/// The name of the document that keeps an app's [`AppDecision`].
#[must_use]
pub fn document_name(app: &AppId) -> String {
    format!("app/{app}")
}

/// What people decided about `app`.
///
/// # Errors
/// [`StoreError`].
pub async fn decision(store: &dyn Documents, app: &AppId) -> Result<AppDecision, StoreError> {
    let kept = store.get(&document_name(app)).await?;
    kept.map_or(Ok(AppDecision::default()), |d| parse(app, &d.bytes))
}

/// Changes what people decide about apps.
#[derive(Clone)]
pub struct Apps {
    desk: Desk,
    tenants: Arc<Tenants>,
}

impl Apps {
    /// Works on the store behind `desk`.
    #[must_use]
    pub fn new(desk: Desk, tenants: Arc<Tenants>) -> Self {
        Self { desk, tenants }
    }

    /// What people decided about `app`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn decision(&self, app: &AppId) -> Result<AppDecision, StoreError> {
        decision(&*self.desk.store, app).await
    }

    /// Stops sending for an app until [`Apps::resume`]: what is on the wire is settled, nothing new is claimed. Urgent pushes
    /// wait too. Deadlines run on.
    ///
    /// # Errors
    /// [`StoreError`]; the pause may hold for some tenants only then. Repeating does the rest.
    pub async fn pause(
        &self,
        app: &AppId,
        reason: Option<String>,
    ) -> Result<AppDecision, StoreError> {
        let now = self.desk.clock.now();
        let decision = self
            .change(app, |decision| {
                let since = decision.paused.as_ref().map_or(now, |p| p.since);
                let reason = reason.clone();
                decision.paused = Some(Pause { since, reason });
            })
            .await?;
        let event = by_hand(EventKind::AppHeld, now, app);
        self.for_tenants(app, true, event).await?;
        Ok(decision)
    }

    /// Lets an app go on: ends a pause, and holds that began before now. With `revive_since`, channels marked suspect or dead
    /// since then are live again; returns how many.
    ///
    /// # Errors
    /// [`StoreError`]; part of it may be done then. Repeating does the rest.
    pub async fn resume(
        &self,
        app: &AppId,
        revive_since: Option<Timestamp>,
    ) -> Result<(AppDecision, u64), StoreError> {
        let now = self.desk.clock.now();
        let mut revived = 0;
        if let Some(since) = revive_since {
            for tenant in self.tenants.of_app(app).await? {
                revived += channels::revive(&self.desk, &tenant.id, since).await?;
            }
        }
        let decision = self
            .change(app, |decision| {
                decision.paused = None;
                decision.resumed_at = Some(now);
            })
            .await?;
        let event = by_hand(EventKind::AppResumed, now, app).with("revived", revived);
        self.for_tenants(app, false, event).await?;
        Ok((decision, revived))
    }

    /// Sets the pace of an app; what is absent goes back to the configuration.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn set_pace(&self, app: &AppId, pace: PaceChange) -> Result<AppDecision, StoreError> {
        self.change(app, |decision| decision.pace = pace).await
    }

    /// Takes a tenant that was just made out of service if its app is paused.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn admit(&self, tenant: &TenantId, app: &AppId) -> Result<(), StoreError> {
        if self.decision(app).await?.paused.is_some() {
            self.desk.store.park(&whole(tenant)).await?;
        }
        Ok(())
    }

    /// Brings the tenants of the configuration in line with what was decided about their apps: one that was added, or that was
    /// gone while its app was paused or resumed, has missed it. A broker does this when it starts.
    ///
    /// # Errors
    /// [`StoreError`]; repeating does the rest.
    pub async fn align(&self) -> Result<(), StoreError> {
        for app in self.tenants.apps() {
            let mut paused = self.decision(app).await?.paused.is_some();
            for _ in 0..ROUNDS_MAX {
                let mut tenants = self.tenants.of_app(app).await?;
                tenants.retain(|tenant| self.tenants.is_configured(&tenant.id));
                self.set_parked(tenants, paused, None).await?;
                // Somebody may have decided otherwise meanwhile, and been overtaken.
                let then = self.decision(app).await?.paused.is_some();
                if then == paused {
                    break;
                }
                paused = then;
            }
        }
        Ok(())
    }

    async fn for_tenants(&self, app: &AppId, park: bool, event: Event) -> Result<(), StoreError> {
        let tenants = self.tenants.of_app(app).await?;
        self.set_parked(tenants, park, Some(event)).await
    }

    async fn set_parked(
        &self,
        tenants: Vec<Tenant>,
        park: bool,
        event: Option<Event>,
    ) -> Result<(), StoreError> {
        let tenants = stream::iter(tenants.into_iter().map(|tenant| Ok(tenant.id)));
        tenants
            .try_for_each_concurrent(TENANTS_AT_ONCE, async |tenant| {
                let store: &dyn Store = &*self.desk.store;
                if park {
                    store.park(&whole(&tenant)).await?;
                } else {
                    store.unpark(&whole(&tenant)).await?;
                }
                match &event {
                    Some(event) => store.append(&tenant, vec![event.clone()]).await,
                    None => Ok(()),
                }
            })
            .await
    }

    async fn change(
        &self,
        app: &AppId,
        change: impl Fn(&mut AppDecision),
    ) -> Result<AppDecision, StoreError> {
        let name = document_name(app);
        for _ in 0..ROUNDS_MAX {
            let kept = self.desk.store.get(&name).await?;
            let mut decision = match &kept {
                Some(document) => parse(app, &document.bytes)?,
                None => AppDecision::default(),
            };
            change(&mut decision);
            let bytes =
                Bytes::from(serde_json::to_vec(&decision).expect("a decision is plain JSON"));
            let precondition =
                kept.map_or(Precondition::Absent, |d| Precondition::Version(d.version));
            match self
                .desk
                .store
                .put(&name, bytes, precondition, None)
                .await?
            {
                Put::Done(_) => return Ok(decision),
                Put::Conflict(_) => {}
            }
        }
        Err(StoreError::Unavailable {
            detail: format!("the decision about app {app} changed {ROUNDS_MAX} times meanwhile"),
            retry_after: None,
        })
    }
}

fn by_hand(kind: EventKind, time: Timestamp, app: &AppId) -> Event {
    Event::new(kind, time)
        .with("app", app.as_str())
        .with("cause", "request")
}

fn whole(tenant: &TenantId) -> Selector {
    Selector {
        tenant: tenant.clone(),
        flow: None,
    }
}

fn parse(app: &AppId, bytes: &[u8]) -> Result<AppDecision, StoreError> {
    serde_json::from_slice(bytes).map_err(|error| StoreError::Damaged {
        detail: format!("the document of app {app}: {error}"),
    })
}
