//! Writes one tenant's events to its outbox for as long as this broker holds the lease.
//!
//! The place in the feed moves in the same step as the events are added, and only from where it was, so brokers that both
//! believe to have the lease do not write an event twice.

use std::time::Duration;

use bytes::BytesMut;
use tokio::time::{sleep, timeout};

use super::{Parts, lease::Lease};
use crate::{
    domain::{event, id::TenantId},
    ports::{
        error::StoreError,
        feed::{After, Cursor, Entry, FeedError},
        streams::Outgoing,
    },
};

/// Events written at a time.
const PAGE: usize = 256;
/// Events that come within this time are written together.
const GATHER: Duration = Duration::from_millis(20);

/// Writes until another broker has the outbox, or this one stops. What happened before the outbox was first written is not
/// in it.
///
/// # Errors
/// [`StoreError`]; begin again after a while.
///
/// # Cancel safety
/// May be dropped at any moment.
pub(super) async fn write(parts: &Parts, tenant: &TenantId) -> Result<(), StoreError> {
    let name = format!("outbox/{tenant}");
    let Some(mut lease) = Lease::take(parts, name).await? else {
        return Ok(());
    };
    let written = pages(parts, tenant, &mut lease).await;
    let released = lease.release().await;
    written.and(released)
}

async fn pages(parts: &Parts, tenant: &TenantId, lease: &mut Lease<'_>) -> Result<(), StoreError> {
    let mut appended = parts.desk.store.appended();
    let mut place = begin(parts, tenant).await?;
    while !parts.stop.is_cancelled() && lease.keep().await? {
        appended.mark_unchanged();
        let (events, next) = read(parts, tenant, &place).await?;
        if !events.is_empty() {
            let written = publish(parts, tenant, (Some(&place), &next), events).await?;
            place = if written {
                next
            } else {
                begin(parts, tenant).await?
            };
            continue;
        }
        tokio::select! {
            // Neither news nor the end of the time is an error.
            _woken = timeout(lease.pause(), appended.changed()) => sleep(GATHER).await,
            () = parts.stop.cancelled() => {}
        }
    }
    Ok(())
}

/// The outbox's place in the feed; set to its end when there is none.
async fn begin(parts: &Parts, tenant: &TenantId) -> Result<Cursor, StoreError> {
    loop {
        if let Some(place) = parts.streams.published(tenant).await? {
            return Ok(place);
        }
        let newest = parts.desk.store.events(tenant, &After::Newest, 1).await;
        let (_, end) = newest.map_err(feed_error)?;
        publish(parts, tenant, (None, &end), Vec::new()).await?;
    }
}

/// What comes after `place`. Where events are missing, because they were trimmed before they were written or because the
/// store is another one, a first event says so.
async fn read(
    parts: &Parts,
    tenant: &TenantId,
    place: &Cursor,
) -> Result<(Vec<Outgoing>, Cursor), StoreError> {
    let store = &parts.desk.store;
    let after = After::Cursor(place.clone());
    match store.events(tenant, &after, PAGE).await {
        Ok((entries, next)) => Ok((entries.iter().map(outgoing).collect(), next)),
        Err(FeedError::Trimmed | FeedError::UnknownCursor) => {
            let oldest = store.events(tenant, &After::Oldest, PAGE).await;
            let (entries, next) = oldest.map_err(feed_error)?;
            let gap = event::gap(tenant, parts.desk.clock.now()).to_string();
            let gap = Outgoing {
                kind: event::GAP.to_owned(),
                json: gap.into(),
            };
            let events = std::iter::once(gap).chain(entries.iter().map(outgoing));
            Ok((events.collect(), next))
        }
        Err(error @ FeedError::Store(_)) => Err(feed_error(error)),
    }
}

async fn publish(
    parts: &Parts,
    tenant: &TenantId,
    places: (Option<&Cursor>, &Cursor),
    events: Vec<Outgoing>,
) -> Result<bool, StoreError> {
    let count = events.len();
    let most = parts.settings.outbox_length_max;
    let written = parts.streams.publish(tenant, places, events, most).await?;
    if written {
        let telemetry = &parts.desk.telemetry;
        telemetry.outbox_written(&telemetry.tenant(tenant), count);
    }
    Ok(written)
}

fn outgoing(entry: &Entry) -> Outgoing {
    let mut json = BytesMut::with_capacity(entry.json.len() + entry.id.0.len() + 16);
    entry.write(&mut json);
    Outgoing {
        kind: entry.kind().unwrap_or_default(),
        json: json.freeze(),
    }
}

fn feed_error(error: FeedError) -> StoreError {
    match error {
        FeedError::Store(error) => error,
        FeedError::Trimmed | FeedError::UnknownCursor => StoreError::Damaged {
            detail: "the ends of a feed cannot be read".to_owned(),
        },
    }
}
