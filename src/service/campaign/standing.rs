//! How far every campaign has come, for whoever counts them.

use std::collections::{BTreeMap, HashMap};

use super::{PREFIX, named, read};
use crate::{
    domain::{
        campaign::State,
        id::{CampaignId, TenantId},
    },
    ports::{documents::Documents, error::StoreError},
};

/// Documents read at once.
const PAGE: usize = 256;

/// The campaigns of each tenant that has any, and how far they have come.
pub type Standing = HashMap<TenantId, BTreeMap<CampaignId, State>>;

/// Reads all campaigns of all tenants; a document that cannot be read is passed over.
///
/// # Errors
/// The store's.
pub async fn standing(store: &dyn Documents) -> Result<Standing, StoreError> {
    let mut standing = Standing::new();
    let mut cursor = None;
    loop {
        let page = store.list(PREFIX, cursor.as_deref(), PAGE).await?;
        for (name, document) in &page.items {
            if let (Some((tenant, id)), Ok(campaign)) = (named(name), read(name, document)) {
                standing
                    .entry(tenant)
                    .or_default()
                    .insert(id, campaign.state);
            }
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(standing);
        }
    }
}
