//! How far delivery has come, kept in a document of its own.

use std::time::Duration;

use super::{ROUNDS_MAX, Webhooks, contended, read, write};
use crate::{
    domain::{
        id::{TenantId, WebhookId},
        webhook::Progress,
    },
    ports::{
        documents::{Precondition, Put},
        error::StoreError,
        feed::{After, Cursor},
    },
};

/// Progress is kept for so long after it was last written. Documents that end by themselves announce no change: otherwise
/// every delivery would wake whoever waits for one.
pub(crate) const PROGRESS_TTL: Duration = Duration::from_secs(400 * 24 * 3_600);

pub(crate) fn progress_document(tenant: &TenantId, id: &WebhookId) -> String {
    format!("webhook-progress/{tenant}/{id}")
}

/// Where to read on.
pub(super) fn after(progress: &Progress) -> After {
    match &progress.cursor {
        Some(cursor) => After::Cursor(Cursor(cursor.clone())),
        None => After::Oldest,
    }
}

impl Webhooks {
    /// How far delivery has come, and the version of the document; none if there is no such document.
    pub(super) async fn progress(
        &self,
        tenant: &TenantId,
        id: &WebhookId,
    ) -> Result<(Option<u64>, Progress), StoreError> {
        let name = progress_document(tenant, id);
        match self.store.get(&name).await? {
            Some(document) => Ok((Some(document.version), read(&name, &document)?)),
            None => Ok((None, Progress::default())),
        }
    }

    pub(super) async fn change_progress(
        &self,
        tenant: &TenantId,
        id: &WebhookId,
        change: impl Fn(&mut Progress),
    ) -> Result<(), StoreError> {
        for _ in 0..ROUNDS_MAX {
            let (version, mut progress) = self.progress(tenant, id).await?;
            change(&mut progress);
            let put = self.put_progress((tenant, id), version, &progress);
            if put.await?.is_some() {
                return Ok(());
            }
        }
        Err(contended(id))
    }

    /// The new version, or `None` when somebody else was faster.
    pub(super) async fn put_progress(
        &self,
        (tenant, id): (&TenantId, &WebhookId),
        version: Option<u64>,
        progress: &Progress,
    ) -> Result<Option<u64>, StoreError> {
        let precondition = version.map_or(Precondition::Absent, Precondition::Version);
        let name = progress_document(tenant, id);
        let ttl = Some(PROGRESS_TTL);
        let put = self.store.put(&name, write(progress), precondition, ttl);
        match put.await? {
            Put::Done(version) => Ok(Some(version)),
            Put::Conflict(_) => Ok(None),
        }
    }
}
