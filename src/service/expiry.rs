//! Tells consoles, once for each, which channels will expire soon because their devices have not renewed them.

use std::collections::VecDeque;

use jiff::{ToSpan, civil::Date, tz::TimeZone};

use super::{desk::Desk, edit::Decision};
use crate::{
    domain::{
        counter::Counter,
        event::{Event, EventKind},
        id::{DeviceId, TenantId},
        record::{DeviceRecord, codec},
        transition::Effects,
    },
    ports::{error::StoreError, records::Urgency},
};

/// How many days before its end a channel is told: its device has missed the renewal by then for twelve days.
const NOTICE_DAYS: i64 = 3;
/// Devices read at a time.
const PAGE: usize = 512;

/// A walk through the devices of tenants that have channels which expire on one day.
#[derive(Debug)]
pub struct Reminder {
    day: Date,
    tenants: VecDeque<TenantId>,
    cursor: Option<String>,
}

impl Reminder {
    /// The walk of today.
    #[must_use]
    pub fn of_today(desk: &Desk, tenants: Vec<TenantId>) -> Self {
        let today = desk.clock.now().to_zoned(TimeZone::UTC).date();
        Self {
            day: today.saturating_add(NOTICE_DAYS.days()),
            tenants: tenants.into(),
            cursor: None,
        }
    }

    /// Goes on through at most `entries` devices. Answers whether the walk is through.
    ///
    /// # Errors
    /// [`StoreError`]; going on tells some devices a second time.
    pub async fn go_on(&mut self, desk: &Desk, entries: usize) -> Result<bool, StoreError> {
        let mut seen = 0;
        while let Some(tenant) = self.tenants.front().cloned() {
            if seen >= entries {
                return Ok(false);
            }
            if self.cursor.is_none() && !self.concerns(desk, &tenant).await? {
                self.tenants.pop_front();
                continue;
            }
            let cursor = self.cursor.as_deref();
            let page = desk.store.scan(&tenant, cursor, PAGE).await?;
            seen += page.items.len().max(1);
            let found = page.items.into_iter().filter(|(_, stored)| {
                codec::decode(&stored.bytes).is_ok_and(|record| expires_on(&record, self.day))
            });
            let devices = found.map(|(device, _)| device).collect();
            tell(desk, &tenant, devices, self.day).await?;
            self.cursor = page.next;
            if self.cursor.is_none() {
                self.tenants.pop_front();
            }
        }
        Ok(true)
    }

    /// Whether the tenant has any such channel: its counter knows.
    async fn concerns(&self, desk: &Desk, tenant: &TenantId) -> Result<bool, StoreError> {
        let name = Counter::Expiring(self.day).to_string();
        let counters = desk.store.counters(tenant, &name).await?;
        Ok(counters.get(&name).is_some_and(|count| *count > 0))
    }
}

fn expires_on(record: &DeviceRecord, day: Date) -> bool {
    record.channel.as_ref().is_some_and(|channel| {
        channel.usable() && channel.expires_at().to_zoned(TimeZone::UTC).date() == day
    })
}

async fn tell(
    desk: &Desk,
    tenant: &TenantId,
    devices: Vec<DeviceId>,
    day: Date,
) -> Result<(), StoreError> {
    let jobs = devices.into_iter().map(|device| (device, ())).collect();
    let told = desk.change(tenant, jobs, Urgency::Open, |step, (), record| {
        let Some(record) = record.filter(|record| expires_on(record, day)) else {
            return Decision::Leave(());
        };
        let Some(channel) = &record.channel else {
            return Decision::Leave(());
        };
        let event = Event::of_device(EventKind::ChannelExpiring, step.now, step.device)
            .with("expires_at", channel.expires_at().to_string())
            .with("first_seen", channel.first_seen.to_string())
            .with("host", channel.uri.host());
        let effects = Effects {
            events: vec![event],
            ..Effects::default()
        };
        Decision::Commit(Some(record), effects, ())
    });
    told.await.map(drop)
}
