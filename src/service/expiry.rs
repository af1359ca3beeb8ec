//! Tells consoles, once for each, which channels will expire soon because their devices have not renewed them.

use std::{collections::VecDeque, ops::RangeInclusive, time::Duration};

use jiff::{ToSpan, civil::Date, tz::TimeZone};

use super::{desk::Desk, edit::Decision};
use crate::{
    domain::{
        event::{Event, EventKind},
        id::{DeviceId, TenantId},
        record::{DeviceRecord, codec},
        transition::Effects,
    },
    ports::{documents::Precondition, error::StoreError, records::Urgency},
    service::forecast::forecast,
};

/// How many days before its end a channel is told: its device has missed the renewal by then for twelve days.
const NOTICE_DAYS: i64 = 3;
/// Devices read at a time.
const PAGE: usize = 512;
/// The document that has the last day on which all was told. It ends by itself, so that it wakes nobody; by then what it says
/// is of no use.
const TOLD: &str = "expiry/told";
const TOLD_TTL: Duration = Duration::from_secs(40 * 24 * 3_600);

/// Tells once a day. The day is noted when all were told; a broker that takes over in between tells some a second time, and
/// one that comes after days without any tells what these days were for.
#[derive(Debug, Default)]
pub struct Reminders {
    /// The last day on which all was told, once that is known.
    told: Option<Date>,
    walk: Option<Walk>,
}

/// A walk through the devices of tenants that have channels which expire on some days.
#[derive(Debug)]
struct Walk {
    today: Date,
    days: RangeInclusive<Date>,
    tenants: VecDeque<TenantId>,
    cursor: Option<String>,
}

impl Reminders {
    /// Goes on through at most about `entries` devices of `tenants`, if today is not over with.
    ///
    /// # Errors
    /// [`StoreError`]; going on tells some devices a second time.
    pub async fn go_on(
        &mut self,
        desk: &Desk,
        tenants: impl AsyncFnOnce() -> Result<Vec<TenantId>, StoreError>,
        entries: usize,
    ) -> Result<(), StoreError> {
        let mut walk = match self.walk.take() {
            Some(walk) => walk,
            None => {
                let today = desk.clock.now().to_zoned(TimeZone::UTC).date();
                if self.told.is_none() {
                    self.told = told(desk).await?;
                }
                if self.told.is_some_and(|told| told >= today) {
                    return Ok(());
                }
                Walk::of(today, self.told, tenants().await?)
            }
        };
        let through = walk.go_on(desk, entries).await?;
        if !through {
            self.walk = Some(walk);
            return Ok(());
        }
        let (day, any, ttl) = (walk.today.to_string(), Precondition::Any, Some(TOLD_TTL));
        desk.store.put(TOLD, day.into(), any, ttl).await?;
        self.told = Some(walk.today);
        Ok(())
    }
}

async fn told(desk: &Desk) -> Result<Option<Date>, StoreError> {
    let told = desk.store.get(TOLD).await?;
    Ok(told.and_then(|told| std::str::from_utf8(&told.bytes).ok()?.parse().ok()))
}

impl Walk {
    fn of(today: Date, told: Option<Date>, tenants: Vec<TenantId>) -> Self {
        let untold = told.map_or(today, |day| day.saturating_add((NOTICE_DAYS + 1).days()));
        Self {
            today,
            days: untold.max(today)..=today.saturating_add(NOTICE_DAYS.days()),
            tenants: tenants.into(),
            cursor: None,
        }
    }

    /// Answers whether it is through.
    async fn go_on(&mut self, desk: &Desk, entries: usize) -> Result<bool, StoreError> {
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
                codec::decode(&stored.bytes).is_ok_and(|record| expires_on(&record, &self.days))
            });
            let devices = found.map(|(device, _)| device).collect();
            tell(desk, &tenant, devices, &self.days).await?;
            self.cursor = page.next;
            if self.cursor.is_none() {
                self.tenants.pop_front();
            }
        }
        Ok(true)
    }

    /// Whether the tenant has any such channel: its counters know.
    async fn concerns(&self, desk: &Desk, tenant: &TenantId) -> Result<bool, StoreError> {
        let found = forecast(&*desk.store, &*desk.clock, tenant).await?;
        Ok(found.days.range(self.days.clone()).next().is_some())
    }
}

fn expires_on(record: &DeviceRecord, days: &RangeInclusive<Date>) -> bool {
    record.channel.as_ref().is_some_and(|channel| {
        channel.usable() && days.contains(&channel.expires_at().to_zoned(TimeZone::UTC).date())
    })
}

async fn tell(
    desk: &Desk,
    tenant: &TenantId,
    devices: Vec<DeviceId>,
    days: &RangeInclusive<Date>,
) -> Result<(), StoreError> {
    let jobs = devices.into_iter().map(|device| (device, ())).collect();
    let told = desk.change(tenant, jobs, Urgency::Open, |step, (), record| {
        let Some(record) = record.filter(|record| expires_on(record, days)) else {
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
