//! Webhooks over the store: what consoles set, and how far delivery has come.
//!
//! The webhook is one document, its progress another: the first changes when somebody wants it to, the second all the time.

mod progress;
mod round;
mod run;

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use uuid::{NoContext, Uuid};

use crate::{
    domain::{
        id::{TenantId, WebhookId},
        webhook::{
            Allowed, Patience, Progress, SECRET_BYTES, Secret, Settings, WEBHOOKS_MAX, Webhook,
        },
    },
    ports::{
        Store,
        clock::Clock,
        documents::{Document, Precondition, Put},
        error::StoreError,
        feed::{After, FeedError},
        webhooks::Courier,
    },
    telemetry::Telemetry,
};

pub(crate) use progress::{PROGRESS_TTL, progress_document};
pub use run::Delivering;

/// Prefix of the documents of all webhooks.
const PREFIX: &str = "webhook/";
/// Documents read at once.
const PAGE: usize = 256;
/// How often a change is decided anew when others change the same webhook.
const ROUNDS_MAX: usize = 16;

/// Why a webhook could not be changed or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// There is no such webhook.
    #[error("no webhook {0}")]
    Unknown(WebhookId),
    /// A value is wrong.
    #[error("{detail}")]
    Invalid {
        /// JSON pointer to it.
        pointer: &'static str,
        /// What is wrong.
        detail: String,
    },
    /// The tenant has as many as it may.
    #[error("a tenant has at most {WEBHOOKS_MAX} webhooks")]
    TooMany,
    /// The cursor cannot be replayed from.
    #[error(transparent)]
    Feed(#[from] FeedError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A webhook and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The webhook.
    pub webhook: Webhook,
    /// How far delivery has come.
    pub progress: Progress,
}

/// All webhooks of all tenants, by whether events go there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Those that are not switched off.
    pub active: Vec<(TenantId, WebhookId)>,
    /// How many of a tenant are switched off; a tenant without any is not there.
    pub disabled: BTreeMap<TenantId, u64>,
}

/// The use cases.
#[derive(Clone)]
pub struct Webhooks {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    allowed: Allowed,
}

/// What delivering needs beside the store.
#[derive(Clone)]
pub struct Means {
    /// Calls the endpoints.
    pub courier: Arc<dyn Courier>,
    /// When to try again, and for how long.
    pub patience: Patience,
    /// Through which failures are told.
    pub telemetry: Telemetry,
}

fn document(tenant: &TenantId, id: &WebhookId) -> String {
    format!("{PREFIX}{tenant}/{id}")
}

fn read<T: serde::de::DeserializeOwned>(name: &str, document: &Document) -> Result<T, StoreError> {
    serde_json::from_slice(&document.bytes).map_err(|e| StoreError::Damaged {
        detail: format!("document {name}: {e}"),
    })
}

fn write(value: &impl serde::Serialize) -> bytes::Bytes {
    let json = serde_json::to_vec(value).expect("webhooks are plain JSON");
    json.into()
}

fn new_secret() -> Secret {
    let mut random = [0; SECRET_BYTES];
    rand::Rng::fill_bytes(&mut rand::rng(), &mut random);
    Secret::new(&random)
}

impl Webhooks {
    /// Joins what the use cases need.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, allowed: Allowed) -> Self {
        Self {
            store,
            clock,
            allowed,
        }
    }

    /// Makes a webhook with a new secret; it gets what happens from now on.
    ///
    /// # Errors
    /// [`WebhookError`].
    pub async fn create(
        &self,
        tenant: &TenantId,
        settings: Settings,
    ) -> Result<Webhook, WebhookError> {
        self.check(&settings)?;
        if self.list(tenant).await?.len() >= WEBHOOKS_MAX {
            return Err(WebhookError::TooMany);
        }
        let now = self.clock.now();
        let webhook = Webhook {
            id: new_id(now),
            settings,
            secret: new_secret(),
            former_secret: None,
            created_at: now,
            disabled: None,
        };
        let (_, cursor) = self.store.events(tenant, &After::Newest, 1).await?;
        let progress = Progress {
            cursor: Some(cursor.0),
            ..Progress::default()
        };
        // The place first: a webhook without one would begin with what is oldest.
        let name = progress_document(tenant, &webhook.id);
        let ttl = Some(PROGRESS_TTL);
        self.store
            .put(&name, write(&progress), Precondition::Absent, ttl)
            .await?;
        let name = document(tenant, &webhook.id);
        self.store
            .put(&name, write(&webhook), Precondition::Absent, None)
            .await?;
        Ok(webhook)
    }

    fn check(&self, settings: &Settings) -> Result<(), WebhookError> {
        settings
            .check(self.allowed)
            .map_err(|(pointer, detail)| WebhookError::Invalid { pointer, detail })
    }

    /// The webhooks of a tenant, oldest first; there are at most [`WEBHOOKS_MAX`], or a few more if made at once.
    ///
    /// # Errors
    /// The store's.
    pub async fn list(&self, tenant: &TenantId) -> Result<Vec<Webhook>, StoreError> {
        let prefix = format!("{PREFIX}{tenant}/");
        let mut webhooks = Vec::new();
        let mut cursor = None;
        loop {
            let page = self.store.list(&prefix, cursor.as_deref(), PAGE).await?;
            for (name, document) in &page.items {
                webhooks.push(read(name, document)?);
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(webhooks);
            }
        }
    }

    /// A webhook and how far it has come.
    ///
    /// # Errors
    /// [`WebhookError::Unknown`], or the store's.
    pub async fn get(&self, tenant: &TenantId, id: &WebhookId) -> Result<Standing, WebhookError> {
        let (_, webhook) = self.load(tenant, id).await?;
        let (_, progress) = self.progress(tenant, id).await?;
        Ok(Standing { webhook, progress })
    }

    /// Replaces what the console said; one that was switched off goes on where it stopped.
    ///
    /// # Errors
    /// [`WebhookError`].
    pub async fn set(
        &self,
        tenant: &TenantId,
        id: &WebhookId,
        settings: Settings,
    ) -> Result<Webhook, WebhookError> {
        self.check(&settings)?;
        self.load(tenant, id).await?;
        // Before the webhook: whoever delivers begins anew when that changes, and would deliver twice if this changed later.
        self.change_progress(tenant, id, |progress| {
            progress.failing_since = None;
            progress.failures = 0;
        })
        .await?;
        self.change(tenant, id, |webhook| {
            webhook.settings = settings.clone();
            webhook.disabled = None;
        })
        .await
    }

    /// Signs with a new secret from now on; the former one goes on for a day.
    ///
    /// # Errors
    /// [`WebhookError`].
    pub async fn rotate(&self, tenant: &TenantId, id: &WebhookId) -> Result<Webhook, WebhookError> {
        let now = self.clock.now();
        let secret = new_secret();
        self.change(tenant, id, |webhook| webhook.rotate(secret.clone(), now))
            .await
    }

    /// Delivers again from a place in the feed.
    ///
    /// # Errors
    /// [`WebhookError::Feed`] when the feed cannot be read from there.
    pub async fn replay(
        &self,
        tenant: &TenantId,
        id: &WebhookId,
        after: &After,
    ) -> Result<Standing, WebhookError> {
        self.load(tenant, id).await?;
        let cursor = match after {
            After::Oldest => None,
            After::Newest => Some(self.store.events(tenant, after, 1).await?.1.0),
            After::Cursor(cursor) => {
                self.store.events(tenant, after, 1).await?;
                Some(cursor.0.clone())
            }
        };
        self.change_progress(tenant, id, |progress| {
            progress.cursor.clone_from(&cursor);
            progress.gap_at = None;
            progress.gap_untold = false;
        })
        .await?;
        self.get(tenant, id).await
    }

    /// Forgets a webhook.
    ///
    /// # Errors
    /// [`WebhookError::Unknown`], or the store's.
    pub async fn delete(&self, tenant: &TenantId, id: &WebhookId) -> Result<(), WebhookError> {
        match self.load(tenant, id).await {
            Err(unknown @ WebhookError::Unknown(_)) => {
                self.store.confirm_document(&document(tenant, id)).await?;
                return Err(unknown);
            }
            known => known?,
        };
        self.store.delete(&document(tenant, id)).await?;
        self.store.delete(&progress_document(tenant, id)).await?;
        Ok(())
    }

    /// All webhooks of all tenants. A document that cannot be read is passed over.
    ///
    /// # Errors
    /// The store's.
    pub async fn survey(&self) -> Result<Survey, StoreError> {
        let mut survey = Survey::default();
        let mut cursor = None;
        loop {
            let page = self.store.list(PREFIX, cursor.as_deref(), PAGE).await?;
            for (name, document) in &page.items {
                let tenant = name
                    .strip_prefix(PREFIX)
                    .and_then(|rest| TenantId::new(rest.split_once('/')?.0).ok());
                let webhook: Option<Webhook> = read(name, document).ok();
                let (Some(tenant), Some(webhook)) = (tenant, webhook) else {
                    continue;
                };
                if webhook.disabled.is_none() {
                    survey.active.push((tenant, webhook.id));
                } else {
                    *survey.disabled.entry(tenant).or_default() += 1;
                }
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(survey);
            }
        }
    }

    /// Changes whenever some document has changed: a webhook perhaps.
    #[must_use]
    pub fn changed(&self) -> tokio::sync::watch::Receiver<u64> {
        self.store.changed()
    }

    async fn load(
        &self,
        tenant: &TenantId,
        id: &WebhookId,
    ) -> Result<(u64, Webhook), WebhookError> {
        let name = document(tenant, id);
        let document = self.store.get(&name).await?;
        let document = document.ok_or_else(|| WebhookError::Unknown(id.clone()))?;
        Ok((document.version, read(&name, &document)?))
    }

    async fn change(
        &self,
        tenant: &TenantId,
        id: &WebhookId,
        change: impl Fn(&mut Webhook),
    ) -> Result<Webhook, WebhookError> {
        let name = document(tenant, id);
        for _ in 0..ROUNDS_MAX {
            let (version, mut webhook) = self.load(tenant, id).await?;
            change(&mut webhook);
            let put = self
                .store
                .put(&name, write(&webhook), Precondition::Version(version), None);
            if let Put::Done(_) = put.await? {
                return Ok(webhook);
            }
        }
        Err(contended(id).into())
    }
}

fn new_id(now: Timestamp) -> WebhookId {
    let seconds = u64::try_from(now.as_second()).unwrap_or(0);
    let nanos = u32::try_from(now.subsec_nanosecond()).unwrap_or(0);
    let id = Uuid::new_v7(uuid::Timestamp::from_unix(NoContext, seconds, nanos));
    WebhookId::new(&id.simple().to_string()).expect("32 hexadecimal digits are a webhook id")
}

fn contended(id: &WebhookId) -> StoreError {
    StoreError::Unavailable {
        detail: format!("webhook {id} is being changed by others"),
        retry_after: None,
    }
}
