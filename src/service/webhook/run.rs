//! Delivering to one endpoint: as long as this broker holds the lease, it sends what is new in the feed.
//!
//! The cursor moves when a page of events has been taken whole, so a broker that dies repeats at most a page. Nothing here
//! waits for another endpoint.

use std::{collections::VecDeque, time::Duration};

use jiff::{SignedDuration, Timestamp};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    Means, WebhookError, Webhooks,
    progress::after,
    round::{Bounds, Round, Waiting, send},
};
use crate::{
    domain::{
        id::{TenantId, WebhookId},
        webhook::{Disabled, Next, Progress, Receipt, Webhook},
    },
    ports::{
        error::StoreError,
        feed::{Cursor, FeedError},
    },
    telemetry::WebhookLag,
};

/// Events read at a time.
const PAGE: usize = 256;
/// Events that come within this time are read together.
const GATHER: Duration = Duration::from_millis(100);
/// How long the lease lasts without being prolonged; longer than the slowest request.
const TERM: Duration = Duration::from_secs(30);
/// How often it is prolonged, and the webhook looked at though no document has changed.
const PROLONG: Duration = Duration::from_secs(5);

/// One broker's work at one endpoint.
pub struct Delivering {
    desk: Webhooks,
    means: Means,
    tenant: TenantId,
    id: WebhookId,
    owner: String,
    appended: watch::Receiver<u64>,
    changed: watch::Receiver<u64>,
    page: Option<Page>,
    retry_at: Option<Instant>,
    /// The version of the webhook that is delivered to.
    version: Option<u64>,
    lag: WebhookLag,
}

/// Events that were read and have not all been taken.
struct Page {
    version: Option<u64>,
    progress: Progress,
    next: Cursor,
    waiting: VecDeque<Waiting>,
}

impl Delivering {
    /// Delivers as `owner`, a name that nobody else has.
    #[must_use]
    pub fn new(
        desk: Webhooks,
        means: Means,
        (tenant, id): (TenantId, WebhookId),
        owner: String,
    ) -> Self {
        let (appended, changed) = (desk.store.appended(), desk.store.changed());
        let lag = means.telemetry.webhook_lag(&tenant);
        Self {
            desk,
            means,
            tenant,
            id,
            owner,
            appended,
            changed,
            page: None,
            retry_at: None,
            version: None,
            lag,
        }
    }

    /// Delivers until the webhook is gone or switched off, or another broker delivers to it.
    ///
    /// # Errors
    /// [`StoreError`]; begin again after a while.
    ///
    /// # Cancel safety
    /// May be dropped at any moment; what was on its way is sent again.
    pub async fn work(mut self) -> Result<(), StoreError> {
        let lease = format!("webhook/{}/{}", self.tenant, self.id);
        let result = self.rounds(&lease).await;
        self.desk.store.release(&lease, &self.owner).await?;
        result
    }

    async fn rounds(&mut self, lease: &str) -> Result<(), StoreError> {
        let store = self.desk.store.clone();
        while store.hold(lease, &self.owner, TERM).await?.is_some() {
            let until = Instant::now() + PROLONG;
            self.changed.mark_unchanged();
            let webhook = match self.desk.load(&self.tenant, &self.id).await {
                Ok((version, webhook)) if webhook.disabled.is_none() => {
                    self.begin_anew_if_changed(version).await?;
                    webhook
                }
                Ok(_) | Err(WebhookError::Unknown(_)) => return Ok(()),
                Err(WebhookError::Store(error)) => return Err(error),
                Err(
                    WebhookError::Invalid { .. } | WebhookError::TooMany | WebhookError::Feed(_),
                ) => return Ok(()),
            };
            // A new secret or address, or the end of the webhook, holds from the next event on.
            while Instant::now() < until && !self.changed.has_changed().unwrap_or(false) {
                if !self.step(&webhook, until).await? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Whoever mends a webhook, or sets another place to deliver from, does not wait for the next retry.
    async fn begin_anew_if_changed(&mut self, version: u64) -> Result<(), StoreError> {
        let mended = self
            .version
            .replace(version)
            .is_some_and(|old| old != version);
        let replayed = match &self.page {
            Some(page) if self.retry_at.is_some() => {
                let (now, _) = self.desk.progress(&self.tenant, &self.id).await?;
                now != page.version
            }
            Some(_) | None => false,
        };
        if mended || replayed {
            self.retry_at = None;
            self.page = None;
        }
        Ok(())
    }

    /// Waits, reads or sends. False when the webhook was switched off.
    async fn step(&mut self, webhook: &Webhook, until: Instant) -> Result<bool, StoreError> {
        if let Some(at) = self.retry_at {
            let now = Instant::now();
            sleep(at.min(until).saturating_duration_since(now)).await;
            if Instant::now() < at {
                return Ok(true);
            }
            self.retry_at = None;
        }
        let Some(mut page) = self.page.take() else {
            self.read(webhook, until).await?;
            return Ok(true);
        };
        let now = self.desk.clock.now();
        let probe = page.progress.failures > 0;
        let courier = &*self.means.courier;
        let bounds = Bounds { now, until, probe };
        let round = send(courier, webhook, &mut page.waiting, bounds).await;
        self.settle(page, round, now).await
    }

    /// Reads the next page, or waits for one.
    async fn read(&mut self, webhook: &Webhook, until: Instant) -> Result<(), StoreError> {
        self.appended.mark_unchanged();
        let (version, progress) = self.desk.progress(&self.tenant, &self.id).await?;
        let place = after(&progress);
        let (entries, next) = match self.desk.store.events(&self.tenant, &place, PAGE).await {
            Ok(read) => read,
            Err(FeedError::Trimmed | FeedError::UnknownCursor) => {
                return self.step_over_gap(version, progress).await;
            }
            Err(FeedError::Store(error)) => return Err(error),
        };
        if entries.is_empty() && !progress.gap_untold {
            self.lag.set(Duration::ZERO);
            let left = until.saturating_duration_since(Instant::now());
            tokio::select! {
                // That the sender is gone is for the next call to the store to tell.
                _ = self.appended.changed() => sleep(GATHER).await,
                _ = self.changed.changed() => self.changed.mark_changed(),
                () = sleep(left) => {}
            }
            return Ok(());
        }
        let events = entries.into_iter().filter_map(Waiting::new);
        let mut waiting: VecDeque<Waiting> = events.filter(|e| webhook.wants(e.kind())).collect();
        if progress.gap_untold {
            let now = self.desk.clock.now();
            waiting.push_front(Waiting::gap(&self.tenant, now));
        }
        self.page = Some(Page {
            version,
            progress,
            next,
            waiting,
        });
        Ok(())
    }

    /// Events were trimmed before they were taken: goes on with the oldest that is kept, and tells the endpoint.
    async fn step_over_gap(
        &mut self,
        version: Option<u64>,
        mut progress: Progress,
    ) -> Result<(), StoreError> {
        progress.cursor = None;
        progress.gap_at = Some(self.desk.clock.now());
        progress.gap_untold = true;
        let key = (&self.tenant, &self.id);
        self.desk.put_progress(key, version, &progress).await?;
        Ok(())
    }

    /// Notes what became of a round. False when the webhook was switched off.
    async fn settle(
        &mut self,
        mut page: Page,
        round: Round,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let telemetry = &self.means.telemetry;
        let metrics = telemetry.tenant(&self.tenant);
        let moment = (now, rand::random());
        let patience = &self.means.patience;
        if round.taken > 0 {
            let events = usize::try_from(round.taken).unwrap_or(usize::MAX);
            telemetry.webhook_delivered(&metrics, round.requests, events);
            page.progress
                .note(&Receipt::Taken, round.taken, patience, moment);
        }
        let next = match &round.failed {
            None => Next::GoOn,
            Some(failed) => page.progress.note(failed, 0, patience, moment),
        };
        if round.failures > 0 {
            let failure = page.progress.last_failure.as_deref().unwrap_or_default();
            telemetry.webhook_failed(&metrics, round.failures, (failure, Instant::now()));
        }
        let oldest = page.waiting.front().and_then(Waiting::time);
        let lag = oldest.map_or(SignedDuration::ZERO, |at| now.duration_since(at));
        self.lag
            .set(Duration::try_from(lag).unwrap_or(Duration::ZERO));
        if page.waiting.is_empty() {
            page.progress.cursor = Some(page.next.0.clone());
            page.progress.gap_untold = false;
        }
        let key = (&self.tenant, &self.id);
        let put = self.desk.put_progress(key, page.version, &page.progress);
        let Some(version) = put.await? else {
            // Somebody set another place to deliver from.
            return Ok(true);
        };
        page.version = Some(version);
        match next {
            Next::GoOn => {}
            Next::Retry(wait) => {
                let wait = Duration::try_from(wait).unwrap_or(Duration::ZERO);
                self.retry_at = Some(Instant::now() + wait);
            }
            Next::Disable { reason } => {
                self.disable(reason, now).await?;
                return Ok(false);
            }
        }
        if !page.waiting.is_empty() {
            self.page = Some(page);
        }
        Ok(true)
    }

    async fn disable(&self, reason: String, since: Timestamp) -> Result<(), StoreError> {
        let disabled = Disabled { since, reason };
        let changed = self.desk.change(&self.tenant, &self.id, |webhook| {
            webhook.disabled = Some(disabled.clone());
        });
        match changed.await {
            Err(WebhookError::Store(error)) => return Err(error),
            Ok(_)
            | Err(
                WebhookError::Unknown(_)
                | WebhookError::Invalid { .. }
                | WebhookError::TooMany
                | WebhookError::Feed(_),
            ) => {}
        }
        let telemetry = &self.means.telemetry;
        let tenant = telemetry.tenant(&self.tenant);
        telemetry.webhook_disabled(&tenant, self.id.as_str(), &disabled.reason);
        Ok(())
    }
}
