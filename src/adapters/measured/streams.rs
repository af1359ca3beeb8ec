//! Streams that are measured, like the store they live on.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use super::Meter;
use crate::{
    domain::id::TenantId,
    ports::{
        error::StoreError,
        feed::Cursor,
        streams::{DeadLetter, Most, Outgoing, Reader, Received, Streams, TakenOver},
    },
    telemetry::{StoreOperation, Telemetry},
};

/// Streams and what tells of them.
pub struct MeasuredStreams {
    streams: Arc<dyn Streams>,
    meter: Meter,
}

impl MeasuredStreams {
    /// Measures `streams` from now on.
    #[must_use]
    pub fn new(streams: Arc<dyn Streams>, telemetry: Telemetry) -> Self {
        Self {
            streams,
            meter: Meter(telemetry),
        }
    }
}

#[async_trait]
impl Streams for MeasuredStreams {
    async fn receive(
        &self,
        tenant: &TenantId,
        reader: Reader<'_>,
        most: Most,
    ) -> Result<Received, StoreError> {
        let call = self.streams.receive(tenant, reader, most);
        self.meter.time(StoreOperation::Streams, call).await
    }

    async fn take_over(
        &self,
        tenant: &TenantId,
        reader: Reader<'_>,
        from: Option<&str>,
        most: Most,
    ) -> Result<TakenOver, StoreError> {
        let call = self.streams.take_over(tenant, reader, from, most);
        self.meter.page(StoreOperation::Streams, from, call).await
    }

    /// Its errors are counted; it takes as long as nothing comes.
    async fn wait(
        &self,
        tenant: &TenantId,
        last: &str,
        within: Duration,
    ) -> Result<(), StoreError> {
        let waited = self.streams.wait(tenant, last, within).await;
        if let Err(error) = &waited {
            self.meter.failed(StoreOperation::Streams, error);
        }
        waited
    }

    async fn settle(
        &self,
        tenant: &TenantId,
        done: Vec<String>,
        dead: Vec<DeadLetter>,
        dead_max: u32,
    ) -> Result<(), StoreError> {
        let call = self.streams.settle(tenant, done, dead, dead_max);
        self.meter.time(StoreOperation::Streams, call).await
    }

    async fn published(&self, tenant: &TenantId) -> Result<Option<Cursor>, StoreError> {
        let call = self.streams.published(tenant);
        self.meter.time(StoreOperation::Streams, call).await
    }

    async fn publish(
        &self,
        tenant: &TenantId,
        (from, to): (Option<&Cursor>, &Cursor),
        events: Vec<Outgoing>,
        length_max: u32,
    ) -> Result<bool, StoreError> {
        let call = self.streams.publish(tenant, (from, to), events, length_max);
        self.meter.time(StoreOperation::Streams, call).await
    }
}
