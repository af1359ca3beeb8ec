//! Whether what is written anyway succeeds: shares are renewed every second, pushes are committed, channels are listened to.
//! Nothing is asked for it.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::ports::error::StoreError;

/// Failures for so long, without a success in between, are no passing trouble.
const FAILING: Duration = Duration::from_secs(3);
/// What failed so long ago, and was not tried since, may work again.
const FORGOTTEN: Duration = Duration::from_secs(10);

/// What is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Renewing shares.
    Shares,
    /// Committing what became of devices.
    Commits,
    /// Listening to announcements.
    News,
}

/// Failures of one kind since its last success.
struct Failures {
    since: Instant,
    last: Instant,
    why: String,
}

/// See the module.
#[derive(Default)]
pub(super) struct Writes(Mutex<BTreeMap<Kind, Failures>>);

impl Writes {
    /// Notes how something ended. A server that is full or refuses what is out of date does write.
    pub(super) fn note<T>(&self, kind: Kind, ended: &Result<T, StoreError>) {
        let mut failures = self.lock();
        let why = match ended {
            Err(StoreError::Unavailable { detail, .. }) => detail,
            Ok(_)
            | Err(StoreError::Full { .. } | StoreError::Damaged { .. } | StoreError::Fenced) => {
                failures.remove(&kind);
                return;
            }
        };
        let now = Instant::now();
        let known = failures.remove(&kind);
        let known = known.filter(|known| now.duration_since(known.last) < FORGOTTEN);
        let failed = Failures {
            since: known.map_or(now, |known| known.since),
            last: now,
            why: why.clone(),
        };
        failures.insert(kind, failed);
    }

    /// Why one of the kinds has been failing for some seconds, if one has.
    pub(super) fn complaint(&self) -> Option<String> {
        let failures = self.lock();
        let failing = failures.values().find(|failed| {
            let lasting = failed.last.duration_since(failed.since) >= FAILING;
            lasting && failed.last.elapsed() < FORGOTTEN
        });
        failing.map(|failed| failed.why.clone())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Kind, Failures>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::redis::errors::unavailable;

    fn refused(why: &str) -> Result<(), StoreError> {
        Err(unavailable(why))
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_told_when_they_last_and_until_one_succeeds() {
        let writes = Writes::default();
        writes.note(Kind::Shares, &refused("lost"));
        tokio::time::advance(FAILING).await;
        assert_eq!(writes.complaint(), None, "it failed once");
        writes.note(Kind::Shares, &refused("a replica"));
        writes.note(Kind::Commits, &Ok::<_, StoreError>(()));
        assert_eq!(writes.complaint().unwrap(), "a replica");
        writes.note(Kind::Shares, &Ok::<_, StoreError>(()));
        assert_eq!(writes.complaint(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_has_tried_for_long_is_not_told() {
        let writes = Writes::default();
        writes.note(Kind::Commits, &refused("a replica"));
        tokio::time::advance(FAILING).await;
        writes.note(Kind::Commits, &refused("a replica"));
        tokio::time::advance(FORGOTTEN).await;
        assert_eq!(writes.complaint(), None);
        writes.note(Kind::Commits, &refused("a replica"));
        assert_eq!(writes.complaint(), None, "that is another trouble");
    }
}
