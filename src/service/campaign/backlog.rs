//! What slows releasing down: pushes that wait to be sent, and consoles that ask for time.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use tokio::{sync::Mutex, time::Instant};

use super::Campaigns;
use crate::{
    domain::{
        id::{CampaignId, TenantId},
        queue::{Flow, Lane},
        schedule::later,
    },
    ports::{Store, documents::Precondition, error::StoreError, queues::Ready},
};

/// A look at the queues serves all campaigns of this broker for so long.
const LOOK: Duration = Duration::from_millis(500);
/// Longest time that a console may ask for at once.
pub const SLOW_DOWN_MAX: Duration = Duration::from_secs(3_600);

/// The queues as they were a moment ago.
#[derive(Clone, Default)]
pub(super) struct Backlogs(Arc<Mutex<Option<(Instant, Vec<(Ready, u64)>)>>>);

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
            .filter(|(ready, _)| first_pushes_of(ready, tenant, id))
            .map(|(ready, _)| ready.earliest)
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

fn document(tenant: &TenantId) -> String {
    format!("slow-down/{tenant}")
}

impl Campaigns {
    /// The console asks that nothing is released to its devices for this long; at most [`SLOW_DOWN_MAX`] counts. A shorter
    /// time than one that is running changes nothing.
    ///
    /// # Errors
    /// The store's.
    pub async fn slow_down(&self, tenant: &TenantId, time: Duration) -> Result<(), StoreError> {
        let time = time.min(SLOW_DOWN_MAX);
        let now = self.clock.now();
        let asked = SignedDuration::try_from(time).unwrap_or(SignedDuration::ZERO);
        let until = later(now, asked);
        // Every check-in of a fleet may ask the same: only what adds at least a second is written.
        let running = self.slowed_until(tenant).await?;
        let adds = running.is_none_or(|at| later(at, SignedDuration::from_secs(1)) <= until);
        if adds && until > now {
            let bytes = until.to_string().into_bytes().into();
            let ttl = Some(time + Duration::from_secs(1));
            let name = document(tenant);
            self.store.put(&name, bytes, Precondition::Any, ttl).await?;
        }
        Ok(())
    }

    /// Whether a console has asked for time that is not over.
    pub(super) async fn slowed(&self, tenant: &TenantId) -> Result<bool, StoreError> {
        let until = self.slowed_until(tenant).await?;
        Ok(until.is_some_and(|at| at > self.clock.now()))
    }

    async fn slowed_until(&self, tenant: &TenantId) -> Result<Option<Timestamp>, StoreError> {
        let document = self.store.get(&document(tenant)).await?;
        Ok(document.and_then(|d| std::str::from_utf8(&d.bytes).ok()?.parse().ok()))
    }
}
