//! How many sessions repeated pushes may open: what the cap of their campaign leaves, and none while the console wants less.

use jiff::Timestamp;

use super::{document, read};
use crate::{
    domain::{
        campaign::Counts,
        id::{CampaignId, TenantId},
    },
    ports::{Store, error::StoreError},
    service::slow_down,
};

/// Sessions that pushes of a campaign may open now, beside those that are; `None` if nothing bounds them.
///
/// # Errors
/// The store's.
pub async fn session_room(
    store: &dyn Store,
    (tenant, id): (&TenantId, &CampaignId),
    now: Timestamp,
) -> Result<Option<u64>, StoreError> {
    if slow_down::until(store, tenant, now).await?.is_some() {
        return Ok(Some(0));
    }
    let name = document(tenant, id);
    let Some(document) = store.get(&name).await? else {
        return Ok(None);
    };
    let pace = read(&name, &document)?.definition.pace;
    let Some(max) = pace.open_sessions_max else {
        return Ok(None);
    };
    let prefix = Counts::prefix_of_sessions(id);
    let counters = store.counters(tenant, &prefix).await?;
    let open = Counts::read(id, &counters).sessions(now);
    Ok(Some(max.saturating_sub(open)))
}
