//! Campaigns over the store: what consoles ask of them, and what their runner does.
//!
//! The document of a campaign is changed by compare-and-set, by consoles and the runner alike. Its targets live in lists
//! and counters of the store and move in the commits of the devices they are about.

mod backlog;
mod batch;
mod delete;
mod dry_run;
mod news;
mod prepare;
mod release;
mod report;
mod run;
mod selecting;
mod sessions;
mod standing;
mod sweep;
mod targets;

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::watch;
use uuid::{NoContext, Uuid};

use super::{desk::Desk, status::BrokerStatus, tenants::Tenants};
use crate::{
    domain::{
        campaign::{Campaign, Counts, Definition, DefinitionError, Pace, Refusal},
        id::{CampaignId, TenantId},
        queue::Flow,
        schedule::Rules,
        trace_context::TraceContext,
    },
    ports::{
        Store,
        clock::Clock,
        documents::{Document, Precondition, Put},
        error::StoreError,
        queues::Selector,
        records::Page,
    },
};

pub use delete::Census;
pub use dry_run::DryRun;
pub use report::Report;
pub use run::{Ended, Shift};
pub use sessions::session_room;
pub use standing::{Standing, standing};
pub use targets::{Listing, TARGETS_PER_CALL_MAX};

/// How often a change is decided anew when others change the same campaign.
const ROUNDS_MAX: usize = 16;
/// Taken for the pace of an app of which nothing runs on this broker, requests a second.
const APP_PACE_UNKNOWN: f64 = 100.0;
/// Prefix of the documents of all campaigns.
const PREFIX: &str = "campaign/";

/// Why a campaign could not be changed or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CampaignError {
    /// There is no such campaign.
    #[error("no campaign {0}")]
    Unknown(CampaignId),
    /// It does not fit its state.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The definition is wrong.
    #[error("the campaign is not well defined")]
    Invalid(Vec<DefinitionError>),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The use cases.
#[derive(Clone)]
pub struct Campaigns {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    rules: Arc<Rules>,
    tenants: Arc<Tenants>,
    status: Arc<dyn BrokerStatus>,
    backlogs: backlog::Backlogs,
}

/// The name of a campaign's document.
fn document(tenant: &TenantId, id: &CampaignId) -> String {
    format!("{PREFIX}{tenant}/{id}")
}

/// The campaign that a document of this name is about.
fn named(name: &str) -> Option<(TenantId, CampaignId)> {
    let (tenant, id) = name.strip_prefix(PREFIX)?.split_once('/')?;
    Some((TenantId::new(tenant).ok()?, CampaignId::new(id).ok()?))
}

fn read(name: &str, document: &Document) -> Result<Campaign, StoreError> {
    serde_json::from_slice(&document.bytes).map_err(|e| StoreError::Damaged {
        detail: format!("document {name}: {e}"),
    })
}

fn write(campaign: &Campaign) -> bytes::Bytes {
    let json = serde_json::to_vec(campaign).expect("a campaign has string keys and finite numbers");
    json.into()
}

fn selector(tenant: &TenantId, id: &CampaignId) -> Selector {
    Selector {
        tenant: tenant.clone(),
        flow: Some(Flow::Campaign(id.clone())),
    }
}

impl Campaigns {
    /// Joins what the use cases need.
    #[must_use]
    pub fn new(desk: Desk, tenants: Arc<Tenants>, status: Arc<dyn BrokerStatus>) -> Self {
        Self {
            store: desk.store,
            clock: desk.clock,
            rules: desk.rules,
            tenants,
            status,
            backlogs: backlog::Backlogs::default(),
        }
    }

    /// Changes whenever some document has changed: a campaign perhaps.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.store.changed()
    }

    /// Makes a draft. Its id is new and sorts by the time of its making.
    ///
    /// # Errors
    /// [`CampaignError::Invalid`], or the store's.
    pub async fn create(
        &self,
        tenant: &TenantId,
        definition: Definition,
    ) -> Result<Campaign, CampaignError> {
        let now = self.clock.now();
        definition.check(now).map_err(CampaignError::Invalid)?;
        let campaign = Campaign::draft(new_id(now), definition, now);
        let name = document(tenant, &campaign.id);
        let put = self
            .store
            .put(&name, write(&campaign), Precondition::Absent, None);
        match put.await? {
            Put::Done(_) => Ok(campaign),
            Put::Conflict(_) => Err(contended(&campaign.id)),
        }
    }

    /// The campaign as it is.
    ///
    /// # Errors
    /// [`CampaignError::Unknown`], or the store's.
    pub async fn get(&self, tenant: &TenantId, id: &CampaignId) -> Result<Campaign, CampaignError> {
        Ok(self.load(tenant, id).await?.1)
    }

    /// The campaigns of a tenant, oldest first.
    ///
    /// # Errors
    /// The store's.
    pub async fn list(
        &self,
        tenant: &TenantId,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<Campaign>, CampaignError> {
        let prefix = format!("{PREFIX}{tenant}/");
        let page = self.store.list(&prefix, cursor, limit).await?;
        let read = page
            .items
            .iter()
            .map(|(name, document)| read(name, document));
        Ok(Page {
            items: read.collect::<Result<_, _>>()?,
            next: page.next,
        })
    }

    /// Where its targets stand now.
    ///
    /// # Errors
    /// The store's.
    pub async fn counts(&self, tenant: &TenantId, id: &CampaignId) -> Result<Counts, StoreError> {
        let counters = self.store.counters(tenant, &Counts::prefix(id)).await?;
        Ok(Counts::read(id, &counters))
    }

    /// Starts a draft: its targets are listed, then released. The attempts of the first ones belong to `trace`, that of the
    /// call.
    ///
    /// # Errors
    /// [`CampaignError`].
    pub async fn start(
        &self,
        tenant: &TenantId,
        id: &CampaignId,
        trace: Option<TraceContext>,
    ) -> Result<Campaign, CampaignError> {
        let start = |campaign: &mut Campaign, now| campaign.start(now, trace);
        let (version, campaign) = self.change(tenant, id, start).await?;
        Ok(self.announce(tenant, version, campaign).await)
    }

    /// Stops releasing, and takes what is released out of service at once.
    ///
    /// # Errors
    /// [`CampaignError`].
    pub async fn pause(
        &self,
        tenant: &TenantId,
        id: &CampaignId,
    ) -> Result<Campaign, CampaignError> {
        self.change_flow(tenant, id, Campaign::pause).await
    }

    /// Goes on.
    ///
    /// # Errors
    /// [`CampaignError`].
    pub async fn resume(
        &self,
        tenant: &TenantId,
        id: &CampaignId,
    ) -> Result<Campaign, CampaignError> {
        self.change_flow(tenant, id, Campaign::resume).await
    }

    /// Calls it off: nothing is released or sent any more; the runner ends what is left.
    ///
    /// # Errors
    /// [`CampaignError`].
    pub async fn cancel(
        &self,
        tenant: &TenantId,
        id: &CampaignId,
    ) -> Result<Campaign, CampaignError> {
        self.change_flow(tenant, id, Campaign::cancel).await
    }

    /// Changes the pace, at once.
    ///
    /// # Errors
    /// [`CampaignError`].
    pub async fn set_pace(
        &self,
        tenant: &TenantId,
        id: &CampaignId,
        pace: Pace,
    ) -> Result<Campaign, CampaignError> {
        let goal = self.get(tenant, id).await?.definition.goal;
        let mut errors = Vec::new();
        pace.check(goal, &mut |wrong, pointer, detail| {
            if wrong {
                errors.push(DefinitionError { pointer, detail });
            }
        });
        if !errors.is_empty() {
            return Err(CampaignError::Invalid(errors));
        }
        let changed = self.change(tenant, id, |campaign, _| campaign.set_pace(pace));
        Ok(changed.await?.1)
    }

    /// What the app of a tenant sends for all its tenants together, requests a second, as far as this broker knows.
    async fn app_pace(&self, tenant: &TenantId) -> Result<f64, StoreError> {
        let tenant = self.tenants.find(tenant).await?;
        let status = tenant.and_then(|t| self.status.app(&t.app));
        Ok(status.map_or(APP_PACE_UNKNOWN, |s| s.pace_per_second))
    }

    async fn load(
        &self,
        tenant: &TenantId,
        id: &CampaignId,
    ) -> Result<(u64, Campaign), CampaignError> {
        let name = document(tenant, id);
        let document = self.store.get(&name).await?;
        let document = document.ok_or_else(|| CampaignError::Unknown(id.clone()))?;
        Ok((document.version, read(&name, &document)?))
    }

    /// Changes whether notifications flow, which comes first, and tells the feed.
    async fn change_flow(
        &self,
        tenant: &TenantId,
        id: &CampaignId,
        change: impl Fn(&mut Campaign, Timestamp) -> Result<(), Refusal>,
    ) -> Result<Campaign, CampaignError> {
        let (version, campaign) = self.change(tenant, id, change).await?;
        self.align(tenant, id).await?;
        Ok(self.announce(tenant, version, campaign).await)
    }

    /// Changes the document, again if somebody else was faster. Answers its version, too.
    async fn change(
        &self,
        tenant: &TenantId,
        id: &CampaignId,
        change: impl Fn(&mut Campaign, Timestamp) -> Result<(), Refusal>,
    ) -> Result<(u64, Campaign), CampaignError> {
        for _ in 0..ROUNDS_MAX {
            let (version, old) = self.load(tenant, id).await?;
            let mut campaign = old.clone();
            let changed = change(&mut campaign, self.clock.now());
            if changed.is_err() || campaign == old {
                self.store.confirm_document(&document(tenant, id)).await?;
                return Ok(changed.map(|()| (version, campaign))?);
            }
            if let Some(version) = self.replace(tenant, version, &campaign).await? {
                return Ok((version, campaign));
            }
        }
        Err(contended(id))
    }

    /// Puts the document if it is still of this version; the new version, or `None` when somebody else was faster.
    async fn replace(
        &self,
        tenant: &TenantId,
        version: u64,
        campaign: &Campaign,
    ) -> Result<Option<u64>, StoreError> {
        let name = document(tenant, &campaign.id);
        let put = self
            .store
            .put(&name, write(campaign), Precondition::Version(version), None);
        match put.await? {
            Put::Done(version) => Ok(Some(version)),
            Put::Conflict(_) => Ok(None),
        }
    }

    /// Takes the campaign's queues out of service or puts them back, as its state says; again if that changes meanwhile.
    async fn align(&self, tenant: &TenantId, id: &CampaignId) -> Result<(), CampaignError> {
        let selector = selector(tenant, id);
        for _ in 0..ROUNDS_MAX {
            let parked = self.get(tenant, id).await?.parked();
            if parked {
                self.store.park(&selector).await?;
            } else {
                self.store.unpark(&selector).await?;
            }
            if self.get(tenant, id).await?.parked() == parked {
                return Ok(());
            }
        }
        Err(contended(id))
    }
}

fn new_id(now: Timestamp) -> CampaignId {
    let seconds = u64::try_from(now.as_second()).unwrap_or(0);
    let nanos = u32::try_from(now.subsec_nanosecond()).unwrap_or(0);
    let id = Uuid::new_v7(uuid::Timestamp::from_unix(NoContext, seconds, nanos));
    CampaignId::new(&id.simple().to_string()).expect("32 hexadecimal digits are a campaign id")
}

fn contended(id: &CampaignId) -> CampaignError {
    CampaignError::Store(StoreError::Unavailable {
        detail: format!("campaign {id} is being changed by others"),
        retry_after: None,
    })
}
