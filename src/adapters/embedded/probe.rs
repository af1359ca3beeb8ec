//! The probe port.

use async_trait::async_trait;
use tokio::sync::oneshot;

use super::{EmbeddedStore, closed, jobs::Job, segment::SCHEMA};
use crate::{
    domain::counted::counted,
    ports::{
        error::{Probe, StoreError, StoreHealth},
        records::Urgency,
    },
};

#[async_trait]
impl Probe for EmbeddedStore {
    async fn probe(&self) -> Result<StoreHealth, StoreError> {
        let round_trip = self.change("probe".to_owned(), Urgency::Settle, |_| Ok(()));
        round_trip.await?;
        let devices = self.shared.state().devices.len();
        Ok(StoreHealth {
            description: format!(
                "embedded store, schema {SCHEMA}, {}, in {}",
                counted(devices as u64, "device"),
                self.path.display()
            ),
            durability: "a 202 survives kill -9 and a power cut: it is given after fsync"
                .to_owned(),
            failing: None,
            warnings: self.shared.warnings(),
        })
    }

    async fn broken(&self) -> String {
        let mut broken = self.shared.broken.subscribe();
        match broken
            .wait_for(Option::is_some)
            .await
            .map(|why| why.clone())
        {
            Ok(Some(why)) => why,
            // The sender lives as long as `self`.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    async fn close(&self) -> Result<(), StoreError> {
        if self.shared.side.swap(None).is_none() {
            return Ok(());
        }
        let (reply, closing) = oneshot::channel();
        let sent = self.jobs.send(Job::Close(reply)).await;
        sent.map_err(|_| closed())?;
        closing.await.map_err(|_| closed())?
    }
}
