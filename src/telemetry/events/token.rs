//! Access tokens and the secrets behind them.

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use tokio::time::Instant;

use crate::{
    domain::wns::token::TokenFailure,
    telemetry::{AppMetrics, Telemetry, TokenResult},
};

impl Telemetry {
    /// There is a new token, valid until `expires`.
    pub fn token_granted(&self, app: &AppMetrics, expires: Timestamp) {
        app.token_refreshes[&TokenResult::Granted].inc();
        app.token_expiry.set(expires.as_second());
        app.credential_refused.set(0);
        tracing::info!(app = %app.app, %expires, "got an access token");
    }

    /// A request for a token failed. A token that is still valid stays in use.
    pub fn token_failed(&self, app: &AppMetrics, failure: &TokenFailure, now: Instant) {
        let result = match failure {
            TokenFailure::Credential { .. } => TokenResult::Refused,
            TokenFailure::Unavailable { .. } => TokenResult::Unavailable,
        };
        app.token_refreshes[&result].inc();
        if result == TokenResult::Refused {
            app.credential_refused.set(1);
        }
        let class = match failure {
            TokenFailure::Credential { .. } => "credential_refused",
            TokenFailure::Unavailable { .. } => "token_endpoint_unavailable",
        };
        self.failure(class, app.app.as_str(), now, |suppressed| match failure {
            TokenFailure::Credential { .. } => {
                tracing::error!(app = %app.app, cure = failure.cure(), suppressed, "{failure}");
            }
            TokenFailure::Unavailable { .. } => {
                tracing::warn!(app = %app.app, cure = failure.cure(), suppressed, "{failure}");
            }
        });
    }

    /// The token has ended or was refused, and there is no other one yet.
    pub fn token_lost(&self, app: &AppMetrics) {
        app.token_expiry.set(0);
        tracing::info!(app = %app.app, "gave up an access token");
    }

    /// The configuration names the last day of the app's secret.
    pub fn secret_expires(&self, app: &AppMetrics, last_day: Date) {
        let end = last_day
            .tomorrow()
            .and_then(|day| day.to_zoned(TimeZone::UTC));
        if let Ok(end) = end {
            app.secret_expiry.set(end.timestamp().as_second());
        }
    }

    /// The app's secret expires soon, or has.
    pub fn secret_expiry_near(&self, app: &AppMetrics, last_day: Date, days_left: i32) {
        tracing::warn!(
            app = %app.app, %last_day, days_left,
            "the secret expires; make a new one and configure it as secret_next_env or secret_next_file"
        );
    }
}
