//! Reads one tenant's inbox for as long as this broker holds its lease.
//!
//! First comes what was given to somebody and never settled, for example to a broker that has died; then what is new. While
//! the store has no room or cannot be reached, the messages at hand wait, and so do those behind them.
//!
//! A reader that was frozen may go on after its lease has ended, while another one does its messages: what it commits then is
//! refused, and it is given nothing new.

use std::time::Duration;

use jiff::SignedDuration;
use tokio::time::sleep;

use super::{
    Parts,
    lease::Lease,
    message::{Bounds, came_at},
    work::{Run, Settled, runs},
};
use crate::{
    domain::id::TenantId,
    ports::{
        error::StoreError,
        streams::{Message, Most},
    },
    telemetry::ActorMetrics,
};

/// Messages received at a time.
const BATCH: usize = 128;
/// Deliveries from which on what was left is taken one by one.
const SUSPICIOUS: u64 = 4;
/// When to do again what the store refused.
const REPEAT: Duration = Duration::from_secs(1);

/// One broker's work at one inbox.
pub(super) struct Reader<'a> {
    pub(super) parts: &'a Parts,
    pub(super) tenant: &'a TenantId,
    pub(super) metrics: &'a ActorMetrics,
}

impl Reader<'_> {
    /// Works until another broker has the inbox, or this one stops.
    ///
    /// # Errors
    /// [`StoreError`]; begin again after a while.
    ///
    /// # Cancel safety
    /// May be dropped at any moment; what was not settled is done again.
    pub(super) async fn work(&self) -> Result<(), StoreError> {
        let name = format!("inbox/{}", self.tenant);
        let Some(mut lease) = Lease::take(self.parts, name).await? else {
            return Ok(());
        };
        let worked = self.fenced(&mut lease).await;
        // What failed is told; the lease ends by itself if it cannot be given back. Taken again, it has a higher epoch.
        let released = lease.release().await;
        worked.and(released)
    }

    async fn fenced(&self, lease: &mut Lease<'_>) -> Result<(), StoreError> {
        let mut parts = self.parts.clone();
        parts.desk.fence = Some(lease.fence().await?);
        let reader = Reader {
            parts: &parts,
            ..*self
        };
        match reader.messages(lease).await {
            // Another broker has the inbox.
            Err(StoreError::Fenced) => Ok(()),
            worked => worked,
        }
    }

    async fn messages(&self, lease: &mut Lease<'_>) -> Result<(), StoreError> {
        if !self.left_over(lease).await? {
            return Ok(());
        }
        let (streams, stop) = (&self.parts.streams, &self.parts.stop);
        while !stop.is_cancelled() && lease.keep().await? {
            self.metrics.progressed(tokio::time::Instant::now());
            let received = streams
                .receive(self.tenant, lease.reader(), self.most())
                .await?;
            if received.messages.is_empty() {
                self.told_lag(None);
                let waiting = streams.wait(self.tenant, &received.last, lease.pause());
                tokio::select! {
                    waited = waiting => waited?,
                    () = stop.cancelled() => {}
                }
            } else if !self.take(received.messages, lease).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Does what others have left. False when the lease is another's now, or the broker stops.
    ///
    /// The oldest comes alone, and so do those behind it where one has been given to many brokers: if it is the one that ends them,
    /// it takes no others along to the dead letters.
    async fn left_over(&self, lease: &mut Lease<'_>) -> Result<bool, StoreError> {
        let streams = &self.parts.streams;
        let (mut from, mut messages) = (None::<String>, 1);
        loop {
            let most = Most {
                messages,
                ..self.most()
            };
            let taken = streams.take_over(self.tenant, lease.reader(), from.as_deref(), most);
            let taken = taken.await?;
            let suspicious = taken.messages.iter().any(|m| m.deliveries > SUSPICIOUS);
            messages = if suspicious { 1 } else { BATCH };
            if !self.take(taken.messages, lease).await? {
                return Ok(false);
            }
            from = taken.next;
            if from.is_none() {
                return Ok(true);
            }
        }
    }

    fn most(&self) -> Most {
        Most {
            messages: BATCH,
            body_bytes: self.parts.settings.message_bytes_max,
        }
    }

    /// Does messages and settles what was done. False when not all was.
    async fn take(
        &self,
        messages: Vec<Message>,
        lease: &mut Lease<'_>,
    ) -> Result<bool, StoreError> {
        self.told_lag(messages.first());
        let mut settled = Settled::default();
        let mut all = true;
        for run in runs(messages, Bounds::of(self.parts)) {
            let Some(more) = self.surely(run, &mut settled, lease).await? else {
                all = false;
                break;
            };
            settled.absorb(more);
        }
        self.settle(settled).await?;
        Ok(all)
    }

    /// Does a run, however often it has to be tried. `None` when the lease is another's now, or the broker stops.
    async fn surely(
        &self,
        run: Run,
        before: &mut Settled,
        lease: &mut Lease<'_>,
    ) -> Result<Option<Settled>, StoreError> {
        let stop = &self.parts.stop;
        loop {
            if stop.is_cancelled() || !lease.keep().await? {
                return Ok(None);
            }
            match run.apply(self.parts, self.tenant).await {
                Ok(settled) => return Ok(Some(settled)),
                Err(StoreError::Damaged { .. }) => {
                    return run.apply_each(self.parts, self.tenant).await.map(Some);
                }
                Err(StoreError::Fenced) => return Ok(None),
                // Receiving the messages anew would count as one more delivery, and after some they would be given up.
                Err(StoreError::Full { .. } | StoreError::Unavailable { .. }) => {
                    // What is done need not wait.
                    self.settle(std::mem::take(before)).await?;
                    tokio::select! {
                        () = sleep(REPEAT.min(lease.pause())) => {}
                        () = stop.cancelled() => {}
                    }
                    self.metrics.progressed(tokio::time::Instant::now());
                }
            }
        }
    }

    async fn settle(&self, settled: Settled) -> Result<(), StoreError> {
        if settled.is_empty() {
            return Ok(());
        }
        let telemetry = &self.parts.desk.telemetry;
        let metrics = telemetry.tenant(self.tenant);
        let (done, dead) = (settled.done.len(), settled.dead.clone());
        let most = self.parts.settings.dead_letters_max;
        let streams = &self.parts.streams;
        let settling = streams.settle(self.tenant, settled.done, settled.dead, most);
        settling.await?;
        telemetry.inbox_done(&metrics, done);
        for letter in dead {
            let now = tokio::time::Instant::now();
            telemetry.inbox_refused(&metrics, &letter.message.id, &letter.reason, now);
        }
        Ok(())
    }

    /// How long the oldest message has waited.
    fn told_lag(&self, oldest: Option<&Message>) {
        let came = oldest.and_then(came_at);
        let now = self.parts.desk.clock.now();
        let lag = came.map_or(SignedDuration::ZERO, |came| now.duration_since(came));
        let lag = Duration::try_from(lag).unwrap_or(Duration::ZERO);
        let telemetry = &self.parts.desk.telemetry;
        telemetry.inbox_lags(&telemetry.tenant(self.tenant), lag);
    }
}
