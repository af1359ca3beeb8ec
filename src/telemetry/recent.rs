//! The last failures of each app, with what Microsoft's support asks for. Kept in memory, bounded, gone after a restart.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::domain::id::AppId;

/// Failures kept for each app and outcome.
pub const RECENT_PER_OUTCOME: usize = 10;
/// Least time from one to the next, once as many are kept.
const SPACING: SignedDuration = SignedDuration::from_secs(1);

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

/// The last failures, by app and outcome, so that many of one outcome leave those of the others.
#[derive(Debug, Default)]
pub(super) struct RecentFailures(Mutex<HashMap<AppId, BTreeMap<&'static str, Kept>>>);

/// Oldest first.
type Kept = VecDeque<RecentFailure>;

impl RecentFailures {
    /// Keeps a failure that `make` gives. In a storm it is not asked for: the newest that is kept is a second old at most.
    pub(super) fn keep(
        &self,
        app: &AppId,
        (outcome, at): (&'static str, Timestamp),
        make: impl FnOnce() -> RecentFailure,
    ) {
        let mut apps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let outcomes = match apps.get_mut(app) {
            Some(outcomes) => outcomes,
            None => apps.entry(app.clone()).or_default(),
        };
        let kept = outcomes.entry(outcome).or_default();
        if kept.len() == RECENT_PER_OUTCOME {
            let fresh = |last: &RecentFailure| at.duration_since(last.at) < SPACING;
            if kept.back().is_some_and(fresh) {
                return;
            }
            kept.pop_front();
        }
        kept.push_back(make());
    }

    /// The failures of `app`, oldest first.
    pub(super) fn of(&self, app: &AppId) -> Vec<RecentFailure> {
        let apps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = apps.get(app).into_iter().flat_map(BTreeMap::values);
        let mut failures: Vec<RecentFailure> = kept.flatten().cloned().collect();
        failures.sort_by_key(|failure| failure.at);
        failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(at: Timestamp) -> RecentFailure {
        RecentFailure {
            at,
            outcome: "dropped",
            host: String::new(),
            channel: String::new(),
            ms_cv: None,
            msg_id: None,
            debug_trace: None,
            description: None,
        }
    }

    #[test]
    fn the_oldest_go_first_and_a_storm_moves_them_once_a_second() {
        let (recent, app) = (RecentFailures::default(), AppId::new("contoso").unwrap());
        let second = |n: i64| Timestamp::from_second(n).unwrap();
        for n in 0..100 {
            for _ in 0..3 {
                let at = second(n);
                recent.keep(&app, ("dropped", at), || failure(at));
            }
        }
        let kept: Vec<Timestamp> = recent.of(&app).iter().map(|kept| kept.at).collect();
        assert_eq!(kept, (90..100).map(second).collect::<Vec<_>>());
    }
}
