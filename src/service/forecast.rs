//! Which channels will expire unless their devices renew them.

use std::collections::BTreeMap;

use jiff::{civil::Date, tz::TimeZone};

use crate::{
    domain::{
        channel::{CHANNEL_LIFE, CHANNEL_RENEWAL},
        id::TenantId,
    },
    ports::{clock::Clock, error::StoreError, tally::Tally},
};

/// What the day counters of channels begin with.
const PREFIX: &str = "expiring.";

/// Channels by the day on which WNS is expected to expire them: 30 days after each was first seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forecast {
    /// Live channels whose day has passed: renewed without a word to us, or dead without a push that would have shown it.
    pub overdue: u64,
    /// Live channels that their devices should have renewed before today: 15 days after each was first seen. Those that are
    /// overdue are among them.
    pub renewal_overdue: u64,
    /// From today on, the next day first; days without any are left out.
    pub days: BTreeMap<Date, u64>,
}

/// Reads the forecast of a tenant.
///
/// # Errors
/// [`StoreError`].
pub async fn forecast(
    store: &dyn Tally,
    clock: &dyn Clock,
    tenant: &TenantId,
) -> Result<Forecast, StoreError> {
    let today = clock.now().to_zoned(TimeZone::UTC).date();
    // A channel whose renewal was due yesterday expires one day before this one.
    let renewed = today.saturating_add(CHANNEL_LIFE - CHANNEL_RENEWAL);
    let counters = store.counters(tenant, PREFIX).await?;
    let mut forecast = Forecast::default();
    for (name, count) in counters {
        let day = name.strip_prefix(PREFIX).and_then(|d| d.parse().ok());
        let (Some(day), Ok(count)) = (day, u64::try_from(count)) else {
            continue;
        };
        if day < renewed {
            forecast.renewal_overdue += count;
        }
        if day < today {
            forecast.overdue += count;
        } else if count > 0 {
            forecast.days.insert(day, count);
        }
    }
    Ok(forecast)
}
