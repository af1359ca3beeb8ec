//! Told when an actor dies; tells the process when one cannot be kept alive.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use crate::{
    actors::supervise::{Exit, Watch},
    service::status::ActorStatus,
    telemetry::{ActorKind, Telemetry},
};

/// More than so many restarts within [`LOOP_SPAN`] are a loop, as the alert has it.
const LOOP_RESTARTS: usize = 5;
const LOOP_SPAN: Duration = Duration::from_secs(15 * 60);

/// Counts restarts and remembers who was given up.
pub(super) struct Watchman {
    telemetry: Telemetry,
    given_up: watch::Sender<Option<&'static str>>,
    restarts: Mutex<BTreeMap<ActorKind, Restarts>>,
}

/// The restarts of one kind of actor.
#[derive(Debug, Default)]
struct Restarts {
    count: u64,
    /// The last ones, as many as make a loop.
    last: VecDeque<Instant>,
}

impl Restarts {
    fn note(&mut self, now: Instant) {
        self.count += 1;
        self.last.push_back(now);
        if self.last.len() > LOOP_RESTARTS + 1 {
            self.last.pop_front();
        }
    }

    fn are_a_loop(&self, now: Instant) -> bool {
        let recent = self.last.iter().filter(|at| now - **at <= LOOP_SPAN);
        recent.count() > LOOP_RESTARTS
    }
}

impl Watchman {
    pub(super) fn new(telemetry: Telemetry) -> Self {
        let given_up = watch::Sender::new(None);
        Self {
            telemetry,
            given_up,
            restarts: Mutex::default(),
        }
    }

    /// Waits until an actor was given up; gives its name.
    pub(super) async fn gave_up(&self) -> &'static str {
        let mut seen = self.given_up.subscribe();
        match seen.wait_for(Option::is_some).await.map(|name| *name) {
            Ok(Some(name)) => name,
            // The sender lives as long as `self`.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// The actors that were restarted or given up.
    pub(super) fn actors(&self) -> Vec<ActorStatus> {
        let dead = *self.given_up.borrow();
        let (restarts, now) = (self.restarts(), Instant::now());
        let status = |kind: ActorKind| {
            let of_kind = restarts.get(&kind);
            ActorStatus {
                name: kind.as_str().to_owned(),
                running: dead != Some(kind.as_str()),
                restarts: of_kind.map_or(0, |restarts| restarts.count),
                looping: of_kind.is_some_and(|restarts| restarts.are_a_loop(now)),
            }
        };
        ActorKind::ALL.iter().copied().map(status).collect()
    }

    fn restarts(&self) -> MutexGuard<'_, BTreeMap<ActorKind, Restarts>> {
        self.restarts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch for Watchman {
    fn exited(&self, kind: ActorKind, _exit: Exit, restarts: u32, backoff: Duration) {
        let now = Instant::now();
        self.telemetry.actor_restarted(kind, restarts, backoff, now);
        self.restarts().entry(kind).or_default().note(now);
    }

    fn gave_up(&self, kind: ActorKind, restarts: u32) {
        self.telemetry.actor_given_up(kind, restarts);
        self.given_up.send_replace(Some(kind.as_str()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: ActorKind = ActorKind::Janitor;

    fn looping(watchman: &Watchman) -> Vec<ActorStatus> {
        let mut actors = watchman.actors();
        actors.retain(|actor| actor.looping);
        actors
    }

    #[tokio::test]
    async fn an_actor_that_is_given_up_ends_the_wait_for_it_and_no_longer_runs() {
        let watchman = Watchman::new(Telemetry::new(LOOP_SPAN));
        let waiting = watchman.gave_up();
        tokio::pin!(waiting);
        watchman.exited(KIND, Exit::Panicked, 1, Duration::ZERO);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        assert!(watchman.actors().iter().all(|actor| actor.running));

        Watch::gave_up(&watchman, KIND, 20);
        assert_eq!(waiting.await, KIND.as_str());
        assert_eq!(
            watchman.gave_up().await,
            KIND.as_str(),
            "whoever asks later, too"
        );
        let dead: Vec<_> = watchman
            .actors()
            .into_iter()
            .filter(|a| !a.running)
            .collect();
        assert_eq!((dead.len(), dead[0].name.as_str()), (1, KIND.as_str()));
    }

    #[tokio::test(start_paused = true)]
    async fn an_actor_is_in_a_loop_after_many_restarts_in_a_quarter_of_an_hour() {
        let watchman = Watchman::new(Telemetry::new(LOOP_SPAN));
        for _ in 0..LOOP_RESTARTS {
            watchman.exited(KIND, Exit::Panicked, 1, Duration::ZERO);
        }
        assert_eq!(looping(&watchman), []);

        tokio::time::advance(LOOP_SPAN).await;
        watchman.exited(KIND, Exit::Panicked, 1, Duration::ZERO);
        let [actor] = &looping(&watchman)[..] else {
            panic!("one actor is in a loop")
        };
        assert_eq!((actor.name.as_str(), actor.restarts), (KIND.as_str(), 6));

        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(looping(&watchman), [], "those before are long ago");
    }
}
