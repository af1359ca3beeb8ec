//! Pushes that are released and wait to be sent: they hold up the release of more.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use tokio::{sync::Mutex, time::Instant};

use crate::{
    domain::{
        id::{CampaignId, TenantId},
        queue::{Flow, Lane},
    },
    ports::{
        Store,
        error::StoreError,
        queues::{Held, Ready},
    },
};

/// A look at the queues serves all campaigns of this broker for so long.
const LOOK: Duration = Duration::from_millis(500);

/// The queues as they were a moment ago.
#[derive(Clone, Default)]
pub(super) struct Backlogs(Arc<Mutex<Option<Census>>>);

/// When the store was asked, and what it said.
type Census = (Instant, Vec<Held>);

impl Backlogs {
    /// For how long the first released push of a campaign has been due and not been sent.
    pub(super) async fn of(
        &self,
        store: &dyn Store,
        (tenant, id): (&TenantId, &CampaignId),
        now: Timestamp,
    ) -> Result<Duration, StoreError> {
        let mut looked = self.0.lock().await;
        if looked.as_ref().is_none_or(|(at, _)| at.elapsed() >= LOOK) {
            *looked = Some((Instant::now(), store.census().await?));
        }
        let queues = looked.as_ref().map_or(&[][..], |(_, queues)| queues);
        let earliest = queues
            .iter()
            .map(|held| &held.ready)
            .filter(|ready| first_pushes_of(ready, tenant, id))
            .map(|ready| ready.earliest)
            .min();
        let due = earliest.map_or(SignedDuration::ZERO, |at| now.duration_since(at));
        Ok(Duration::try_from(due).unwrap_or(Duration::ZERO))
    }
}

fn first_pushes_of(ready: &Ready, tenant: &TenantId, id: &CampaignId) -> bool {
    let queue = &ready.queue;
    let first = match queue.lane {
        Lane::Urgent | Lane::Normal | Lane::Bulk => true,
        Lane::Repush | Lane::Timer => false,
    };
    first && queue.tenant == *tenant && matches!(&queue.flow, Flow::Campaign(of) if of == id)
}
