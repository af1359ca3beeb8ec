//! The last failures of each app, with what Microsoft's support asks for. Kept in memory, bounded, gone after a restart.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use jiff::Timestamp;
use serde::Serialize;

use crate::domain::id::AppId;

/// Failures kept for each app.
pub const RECENT_PER_APP: usize = 50;

/// One failed attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecentFailure {
    /// When it ended.
    pub at: Timestamp,
    /// The outcome's stable name.
    pub outcome: &'static str,
    /// The WNS host.
    pub host: String,
    /// The channel's short hash.
    pub channel: String,
    /// Our correlation vector, or the one that WNS made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ms_cv: Option<String>,
    /// `X-WNS-Msg-ID`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub msg_id: Option<String>,
    /// `X-WNS-Debug-Trace`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub debug_trace: Option<String>,
    /// `X-WNS-Error-Description`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// The last failures, by app.
#[derive(Debug, Default)]
pub(super) struct RecentFailures(Mutex<HashMap<AppId, VecDeque<RecentFailure>>>);

impl RecentFailures {
    pub(super) fn keep(&self, app: &AppId, failure: RecentFailure) {
        let mut apps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = match apps.get_mut(app) {
            Some(kept) => kept,
            None => apps.entry(app.clone()).or_default(),
        };
        if kept.len() == RECENT_PER_APP {
            kept.pop_front();
        }
        kept.push_back(failure);
    }

    /// The failures of `app`, oldest first.
    pub(super) fn of(&self, app: &AppId) -> Vec<RecentFailure> {
        let apps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        apps.get(app)
            .map(|kept| kept.iter().cloned().collect())
            .unwrap_or_default()
    }
}
