//! How an app is: for `/readyz`, the API and whoever wants to know why nothing is sent.

use jiff::Timestamp;

use super::{app::App, tokens::Standing};
use crate::domain::{
    app_state::{Decided, Gate, Hold, Throttle},
    id::AppId,
    pace::Limit,
};

/// How an app's token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenStatus {
    /// None was fetched yet.
    Starting,
    /// There is one, until then.
    Good {
        /// Its end.
        expires_at: Timestamp,
    },
    /// The token endpoint refuses the credential: without a token from before, the app is stopped.
    Refused {
        /// The endpoint's words.
        detail: String,
        /// What to do.
        cure: &'static str,
        /// Since when.
        since: Timestamp,
        /// Until when the token in hand is good, if there is one.
        expires_at: Option<Timestamp>,
    },
    /// The token endpoint is of no use now.
    Unavailable {
        /// Why.
        detail: String,
        /// Since when.
        since: Timestamp,
        /// Until when the token in hand is good, if there is one.
        expires_at: Option<Timestamp>,
    },
}

/// How an app is on this broker.
#[derive(Clone, Debug)]
pub struct AppStatus {
    /// Which.
    pub app: AppId,
    /// Its token.
    pub token: TokenStatus,
    /// Whether pushes go out.
    pub gate: Gate,
    /// A throttle by WNS.
    pub throttle: Option<Throttle>,
    /// A hold by the broker.
    pub hold: Option<Hold>,
    /// What people have decided.
    pub decided: Decided,
    /// The pace of all brokers together, requests a second.
    pub pace_per_second: f64,
    /// This broker's share of it.
    pub share_per_second: f64,
    /// Where WNS throttled last.
    pub limit: Option<Limit>,
    /// Hosts that do not answer and are avoided.
    pub hosts_avoided: Vec<String>,
    /// Whether no host has answered for a while.
    pub outage: bool,
}

impl AppStatus {
    /// How `app` is at `now`.
    #[must_use]
    pub fn of(app: &App, now: Timestamp) -> Self {
        let (state, decided) = app.standing();
        Self {
            app: app.settings.id.clone(),
            token: token_status(app),
            gate: state.gate(&decided, now),
            hold: state.hold(&decided).cloned(),
            throttle: state.throttle,
            decided,
            pace_per_second: app.pace_per_second(),
            share_per_second: app.limiter.per_second(),
            limit: state.limit,
            hosts_avoided: app.hosts_avoided(),
            outage: app.outage(),
        }
    }

    /// What stands in the way in one line, if anything does.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        match &self.token {
            TokenStatus::Refused { detail, cure, .. } => return Some(format!("{detail}; {cure}")),
            TokenStatus::Unavailable {
                detail,
                expires_at: None,
                ..
            } => return Some(detail.clone()),
            TokenStatus::Starting => return Some("no token was fetched yet".to_owned()),
            TokenStatus::Good { .. } | TokenStatus::Unavailable { .. } => {}
        }
        if self.decided.paused {
            return Some("paused by hand".to_owned());
        }
        if let Some(hold) = &self.hold {
            let (reason, probe_at) = (hold.reason.as_str(), hold.probe_at);
            return Some(format!(
                "held since {} ({reason}), one request is tried at {probe_at}",
                hold.since
            ));
        }
        match self.gate {
            Gate::Shut(Some(until)) => Some(format!("throttled by WNS until {until}")),
            Gate::Open | Gate::Probe | Gate::Shut(None) => None,
        }
    }
}

fn token_status(app: &App) -> TokenStatus {
    let expires_at = app.tokens.usable().map(|token| token.expires_at);
    match &*app.tokens.standing() {
        Standing::Refused { failure, since } => TokenStatus::Refused {
            detail: failure.to_string(),
            cure: failure.cure(),
            since: *since,
            expires_at,
        },
        Standing::Unavailable { failure, since } => TokenStatus::Unavailable {
            detail: failure.to_string(),
            since: *since,
            expires_at,
        },
        Standing::Starting | Standing::Granted => expires_at
            .map_or(TokenStatus::Starting, |expires_at| TokenStatus::Good {
                expires_at,
            }),
    }
}
