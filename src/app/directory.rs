//! The tenants as the dispatchers ask for them.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    actors::roster::{Directory, Membership},
    domain::id::{AppId, TenantId},
    ports::error::StoreError,
    service::tenants::Tenants,
};

/// Answers from the tenants of the store and the configuration.
pub(super) struct TenantDirectory(pub(super) Arc<Tenants>);

#[async_trait]
impl Directory for TenantDirectory {
    async fn membership(&self, tenant: &TenantId) -> Result<Option<Membership>, StoreError> {
        let found = self.0.find(tenant).await?;
        Ok(found.map(|t| Membership {
            app: t.app,
            share: t.share,
        }))
    }

    async fn tenants_of(&self, app: &AppId) -> Result<Vec<TenantId>, StoreError> {
        let tenants = self.0.of_app(app).await?;
        Ok(tenants.into_iter().map(|t| t.id).collect())
    }
}
