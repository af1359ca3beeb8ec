//! A console that is overrun by check-ins asks for less: campaigns of its tenant release nothing until then.

use std::time::Duration;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    domain::{id::TenantId, schedule::later},
    ports::{
        documents::{Documents, Precondition},
        error::StoreError,
    },
};

/// Longest time that one request slows a tenant down.
pub const SLOW_DOWN_MAX: Duration = Duration::from_secs(3600);

#[derive(Serialize, Deserialize)]
struct SlowDown {
    until: Timestamp,
}

/// Asks for less until `within` from `now`, at most [`SLOW_DOWN_MAX`]; the latest word counts. Returns until when.
///
/// # Errors
/// [`StoreError`].
pub async fn ask(
    store: &dyn Documents,
    tenant: &TenantId,
    now: Timestamp,
    within: Duration,
) -> Result<Timestamp, StoreError> {
    let within = SignedDuration::try_from(within.min(SLOW_DOWN_MAX));
    let until = later(now, within.expect("an hour fits"));
    let bytes = serde_json::to_vec(&SlowDown { until }).expect("a time is plain JSON");
    store
        .put(&name(tenant), Bytes::from(bytes), Precondition::Any, None)
        .await?;
    Ok(until)
}

/// Until when the tenant wants less; `None` when it does not, or no more.
///
/// # Errors
/// [`StoreError`].
pub async fn until(
    store: &dyn Documents,
    tenant: &TenantId,
    now: Timestamp,
) -> Result<Option<Timestamp>, StoreError> {
    let Some(document) = store.get(&name(tenant)).await? else {
        return Ok(None);
    };
    let asked: SlowDown =
        serde_json::from_slice(&document.bytes).map_err(|error| StoreError::Damaged {
            detail: format!("the slow-down of tenant {tenant}: {error}"),
        })?;
    Ok(Some(asked.until).filter(|until| *until > now))
}

fn name(tenant: &TenantId) -> String {
    format!("slow-down/{tenant}")
}
