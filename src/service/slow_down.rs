//! A console that is overrun by check-ins asks for less: campaigns of its tenant release and repeat nothing until then.

use std::time::Duration;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    domain::{id::TenantId, schedule::later},
    ports::{
        documents::{Document, Documents, Precondition, Put},
        error::StoreError,
    },
};

/// How often a word is given anew when others give one at the same time.
const ROUNDS_MAX: usize = 16;

#[derive(Serialize, Deserialize)]
struct SlowDown {
    until: Timestamp,
}

/// Asks for less until `within` from `now`. Of several that run the longest counts, so that no node of a console ends what
/// another has asked for; only a `within` of zero does, which takes all of them back. Returns until when.
///
/// # Errors
/// [`StoreError`].
pub async fn ask(
    store: &dyn Documents,
    tenant: &TenantId,
    now: Timestamp,
    within: Duration,
) -> Result<Option<Timestamp>, StoreError> {
    let name = name(tenant);
    if within.is_zero() {
        store.delete(&name).await?;
        return Ok(None);
    }
    let within = SignedDuration::try_from(within).unwrap_or(SignedDuration::MAX);
    let until = later(now, within);
    let bytes = serde_json::to_vec(&SlowDown { until }).expect("a time is plain JSON");
    let bytes = Bytes::from(bytes);
    for _ in 0..ROUNDS_MAX {
        let before = match store.get(&name).await? {
            Some(document) => {
                let running = read(tenant, &document)?.until;
                if running >= until {
                    store.confirm_document(&name).await?;
                    return Ok(Some(running));
                }
                Precondition::Version(document.version)
            }
            None => Precondition::Absent,
        };
        if let Put::Done(_) = store.put(&name, bytes.clone(), before, None).await? {
            return Ok(Some(until));
        }
    }
    Err(StoreError::Unavailable {
        detail: format!("the slow-down of tenant {tenant} is being changed by others"),
        retry_after: None,
    })
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
    let asked = read(tenant, &document)?;
    Ok(Some(asked.until).filter(|until| *until > now))
}

fn read(tenant: &TenantId, document: &Document) -> Result<SlowDown, StoreError> {
    serde_json::from_slice(&document.bytes).map_err(|error| StoreError::Damaged {
        detail: format!("the slow-down of tenant {tenant}: {error}"),
    })
}

fn name(tenant: &TenantId) -> String {
    format!("slow-down/{tenant}")
}
