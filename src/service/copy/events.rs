//! The event feed, oldest first, and where webhooks go on in it.

use bytes::Bytes;
use serde_json::Value;

use super::{CopyError, Copying, PAGE, Step};
use crate::{
    domain::{
        event::{Event, EventKind},
        id::{DeviceId, TenantId, WebhookId},
        webhook::Progress,
    },
    ports::{
        Store,
        documents::Precondition,
        error::StoreError,
        feed::{After, Cursor, Entry, FeedError},
    },
    service::webhook::{PROGRESS_TTL, progress_document},
};

impl Copying {
    /// Copies the feed of a tenant, beginning with what the target lacks.
    pub(super) async fn events(&self, tenant: &TenantId, done: &mut u64) -> Result<(), CopyError> {
        let there = count(&*self.target, tenant, After::Oldest).await;
        let mut skip = there.map_err(CopyError::target)?;
        let mut after = After::Oldest;
        loop {
            let read = self.source.events(tenant, &after, PAGE).await;
            let (entries, next) = read.map_err(failed).map_err(CopyError::source)?;
            if entries.is_empty() {
                return Ok(());
            }
            *done += entries.len() as u64;
            let skipped = skip.min(entries.len() as u64);
            skip -= skipped;
            let new = entries
                .iter()
                .skip(usize::try_from(skipped).unwrap_or(PAGE));
            let events: Option<Vec<Event>> = new.map(event).collect();
            let events = events.ok_or_else(|| unreadable(tenant))?;
            if !events.is_empty() {
                let appended = self.target.append(tenant, events).await;
                appended.map_err(CopyError::target)?;
            }
            (self.told)(Step::Events(*done));
            after = After::Cursor(next);
        }
    }

    /// Sets the places of webhooks that have taken everything to the end of the copied feed. One that has not gets everything
    /// that is kept once more, since the places of two feeds cannot be compared.
    pub(super) async fn webhooks(&self, tenant: &TenantId) -> Result<(), CopyError> {
        let prefix = format!("webhook/{tenant}/");
        let page = self.source.list(&prefix, None, PAGE).await;
        let page = page.map_err(CopyError::source)?;
        for (name, _) in page.items {
            let Ok(id) = WebhookId::new(name.trim_start_matches(&prefix)) else {
                continue;
            };
            let document = progress_document(tenant, &id);
            let kept = self
                .source
                .get(&document)
                .await
                .map_err(CopyError::source)?;
            let progress: Option<Progress> =
                kept.and_then(|kept| serde_json::from_slice(&kept.bytes).ok());
            let Some(cursor) = progress.and_then(|progress| progress.cursor) else {
                continue;
            };
            let after = After::Cursor(Cursor(cursor));
            let left = match count(&*self.source, tenant, after).await {
                Ok(left) => left,
                // The place was lost in the source already.
                Err(StoreError::Damaged { .. }) => continue,
                Err(error) => return Err(CopyError::source(error)),
            };
            if left == 0 {
                self.at_the_end(tenant, &document).await?;
            }
        }
        Ok(())
    }

    async fn at_the_end(&self, tenant: &TenantId, document: &str) -> Result<(), CopyError> {
        let newest = self.target.events(tenant, &After::Newest, 1).await;
        let (_, end) = newest.map_err(failed).map_err(CopyError::target)?;
        let progress = Progress {
            cursor: Some(end.0),
            ..Progress::default()
        };
        let bytes = serde_json::to_vec(&progress).expect("a place is plain JSON");
        let ttl = Some(PROGRESS_TTL);
        let put = self
            .target
            .put(document, Bytes::from(bytes), Precondition::Any, ttl);
        put.await.map(drop).map_err(CopyError::target)
    }
}

/// How many events come after a place.
pub(super) async fn count(
    store: &dyn Store,
    tenant: &TenantId,
    mut after: After,
) -> Result<u64, StoreError> {
    let mut count = 0;
    loop {
        let (entries, next) = store.events(tenant, &after, PAGE).await.map_err(failed)?;
        if entries.is_empty() {
            return Ok(count);
        }
        count += entries.len() as u64;
        after = After::Cursor(next);
    }
}

fn failed(error: FeedError) -> StoreError {
    match error {
        FeedError::Store(error) => error,
        FeedError::Trimmed | FeedError::UnknownCursor => StoreError::Damaged {
            detail: "the feed was trimmed or replaced meanwhile".to_owned(),
        },
    }
}

/// The event of an entry; `None` for one that only a newer broker knows.
fn event(entry: &Entry) -> Option<Event> {
    let mut json: Value = serde_json::from_slice(&entry.json).ok()?;
    let kind = json["type"].as_str()?;
    let kind = EventKind::ALL
        .into_iter()
        .find(|known| known.as_str() == kind)?;
    let time = json["time"].as_str()?.parse().ok()?;
    let mut data = match json["data"].take() {
        Value::Object(data) => data,
        _ => return None,
    };
    let device = match data.remove("device") {
        Some(Value::String(device)) => Some(DeviceId::new(&device).ok()?),
        Some(_) => return None,
        None => None,
    };
    let event = Event::new(kind, time).with_all(&data);
    Some(Event { device, ..event })
}

fn unreadable(tenant: &TenantId) -> CopyError {
    CopyError::source(StoreError::Damaged {
        detail: format!("an event of tenant {tenant} is of a newer broker"),
    })
}
