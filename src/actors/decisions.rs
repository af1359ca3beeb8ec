//! What people have decided about an app, as the pacer follows it.

use crate::{
    domain::{app_state::Decided, id::AppId},
    ports::{documents::Documents, error::StoreError},
    service::apps::decision,
};

/// What people have decided about `app`; the default if they have not.
///
/// # Errors
/// [`StoreError`].
pub(super) async fn decided(store: &dyn Documents, app: &AppId) -> Result<Decided, StoreError> {
    let decision = decision(store, app).await?;
    Ok(Decided {
        paused: decision.paused.is_some(),
        resumed_at: decision.resumed_at,
        start_per_second: decision.pace.start_per_second.map(f64::from),
        ceiling_per_second: decision.pace.ceiling_per_second.map(f64::from),
    })
}
