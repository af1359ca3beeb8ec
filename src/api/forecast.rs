//! How many channels will expire soon unless their devices renew them.

use actix_web::{HttpResponse, http::Method};
use jiff::{ToSpan, civil::Date, tz::TimeZone};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    call::{Call, ok},
    problem::{Problem, ProblemBody},
    route::{Endpoint, Entry},
};
use crate::{domain::api_key::Scope, service::forecast::forecast};

/// Days of a forecast that names no number.
const DAYS_DEFAULT: u8 = 7;
/// Most days: a channel lives for thirty.
const DAYS_MAX: u8 = 30;

pub(super) fn endpoints() -> Vec<Endpoint> {
    let path = "/v1/tenants/{tenant}/channels/forecast";
    vec![Endpoint::new(Entry::Bounded, Method::GET, path, get)]
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ForecastQuery {
    days: Option<u8>,
}

/// Channels that WNS will expire unless their devices renew them.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ForecastView {
    /// Live channels that should have expired before today.
    overdue: u64,
    /// Live channels that their devices should have renewed before today, 15 days after each was first seen; those that are
    /// `overdue` are among them. More than a few say that renewals fail, two weeks before the channels expire.
    renewal_overdue: u64,
    /// Channels that expire within the days asked for.
    expiring: u64,
    /// The same by day (UTC), the next day first; days without any are left out.
    days: Vec<DayView>,
}

/// One day.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DayView {
    /// The day.
    #[schema(value_type = String, format = Date)]
    day: Date,
    /// Channels that expire on it.
    channels: u64,
}

/// Tells how many channels expire in the next days without renewal: 30 days after each was first seen.
#[utoipa::path(
    get, path = "/v1/tenants/{tenant}/channels/forecast", tag = "channels", operation_id = "forecast_channels",
    params(("tenant" = String, Path), ("days" = Option<u8>, Query, description = "1 to 30, default 7: what is left of today (UTC), and so many whole days after it")),
    responses((status = 200, body = ForecastView), (status = "default", body = ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn get(call: Call) -> Result<HttpResponse, Problem> {
    let tenant = call.tenant(Scope::Read).await?;
    let query: ForecastQuery = call.query()?;
    let days = query.days.unwrap_or(DAYS_DEFAULT);
    if !(1..=DAYS_MAX).contains(&days) {
        let detail = format!("days is a number from 1 to {DAYS_MAX}");
        return Err(Problem::parameter("days", detail));
    }
    let desk = &call.state.desk;
    let found = forecast(&*desk.store, &*desk.clock, &tenant.id).await?;
    let today = desk.clock.now().to_zoned(TimeZone::UTC).date();
    let last = today.saturating_add(i64::from(days).days());
    let soon: Vec<DayView> = found
        .days
        .range(..=last)
        .map(|(day, channels)| DayView {
            day: *day,
            channels: *channels,
        })
        .collect();
    Ok(ok(&ForecastView {
        overdue: found.overdue,
        renewal_overdue: found.renewal_overdue,
        expiring: soon.iter().map(|d| d.channels).sum(),
        days: soon,
    }))
}
