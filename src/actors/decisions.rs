//! What people have decided about an app, read from its document.

use jiff::Timestamp;
use serde::Deserialize;

use crate::{
    domain::{app_state::Decided, id::AppId},
    ports::{documents::Documents, error::StoreError},
};

#[derive(Default, Deserialize)]
#[serde(default)]
struct Decision {
    paused: Option<serde_json::Value>,
    pace: Pace,
    resumed_at: Option<Timestamp>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Pace {
    start_per_second: Option<u32>,
    ceiling_per_second: Option<u32>,
}

/// What people have decided about `app`; the default if they have not.
///
/// # Errors
/// [`StoreError`].
pub(super) async fn decided(
    store: &(impl Documents + ?Sized),
    app: &AppId,
) -> Result<Decided, StoreError> {
    let name = format!("app/{app}");
    let Some(document) = store.get(&name).await? else {
        return Ok(Decided::default());
    };
    let decision: Decision =
        serde_json::from_slice(&document.bytes).map_err(|error| StoreError::Damaged {
            detail: format!("document {name}: {error}"),
        })?;
    Ok(Decided {
        paused: decision.paused.is_some(),
        resumed_at: decision.resumed_at,
        start_per_second: decision.pace.start_per_second.map(f64::from),
        ceiling_per_second: decision.pace.ceiling_per_second.map(f64::from),
    })
}
