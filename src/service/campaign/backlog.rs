//! Pushes that are released and wait to be sent: they hold up the release of more.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::{sync::Mutex, time::Instant};

use crate::{
    domain::{
        id::{CampaignId, TenantId},
        queue::{Flow, Lane},
    },
    ports::{Store, error::StoreError, queues::Held},
};

/// A look at the queues serves all campaigns of this broker for so long.
const LOOK: Duration = Duration::from_millis(500);

/// The queues as they were a moment ago.
#[derive(Clone, Default)]
pub(super) struct Backlogs(Arc<Mutex<Option<Census>>>);

/// What waits to be sent for a campaign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Backlog {
    /// For how long the first released push has been due.
    pub(super) first: Duration,
    /// Whether re-pushes are due.
    pub(super) repush: bool,
}

/// When the store was asked, and what it said.
type Census = (Instant, Vec<Held>);

impl Backlogs {
    /// For how long the first released push of a campaign has been due and not been sent, and whether re-pushes are due.
    pub(super) async fn of(
        &self,
        store: &dyn Store,
        (tenant, id): (&TenantId, &CampaignId),
        now: Timestamp,
    ) -> Result<Backlog, StoreError> {
        let mut looked = self.0.lock().await;
        if looked.as_ref().is_none_or(|(at, _)| at.elapsed() >= LOOK) {
            *looked = Some((Instant::now(), store.census().await?));
        }
        let queues = looked.as_ref().map_or(&[][..], |(_, queues)| queues);
        let mut backlog = Backlog::default();
        let ours = queues.iter().map(|held| &held.ready).filter(|ready| {
            let queue = &ready.queue;
            queue.tenant == *tenant && matches!(&queue.flow, Flow::Campaign(of) if of == id)
        });
        for ready in ours {
            match ready.queue.lane {
                Lane::Urgent | Lane::Normal | Lane::Bulk => {
                    let late = Duration::try_from(now.duration_since(ready.earliest));
                    backlog.first = backlog.first.max(late.unwrap_or_default());
                }
                Lane::Repush => backlog.repush |= ready.earliest <= now,
                Lane::Timer => {}
            }
        }
        Ok(backlog)
    }
}
