//! Gathers small calls of many callers into few commands.
//!
//! There is a gate for each server's worth of shards: one in all, in a cluster one a shard. A job goes out at once when its gate is
//! idle. While commands are under way others gather, small ones for 2 ms at most; large ones, which would fill a command by
//! themselves, for 8 ms, since a command costs less the more devices of a shard it has. The work goes on when a caller goes away.

use std::{
    future::Future,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::Core;

/// Longest time that a small job waits for company.
const WINDOW: Duration = Duration::from_millis(2);
/// Longest time that a large job waits for company.
const LARGE_WINDOW: Duration = Duration::from_millis(8);
/// Weight from which on a job is large.
const LARGE: usize = 64;
/// Most devices of a command.
pub(super) const BATCH: usize = 256;
/// Weight at which gathered jobs go out without waiting longer.
const WEIGHT_MAX: usize = 16 * BATCH;

/// Something that several callers can have done together.
pub(super) trait Job: Send + Sized + 'static {
    /// What it adds to a batch.
    fn weight(&self) -> usize;

    /// Does all jobs and answers each.
    fn flush(core: Arc<Core>, jobs: Vec<Self>) -> impl Future<Output = ()> + Send;
}

/// Where jobs gather.
pub(super) struct Gate<J>(Mutex<Gathered<J>>);

struct Gathered<J> {
    waiting: Vec<(Instant, J)>,
    weight: usize,
    under_way: usize,
    timer: bool,
}

impl<J> Default for Gate<J> {
    fn default() -> Self {
        Self(Mutex::new(Gathered {
            waiting: Vec::new(),
            weight: 0,
            under_way: 0,
            timer: false,
        }))
    }
}

impl<J: Job> Gate<J> {
    /// Adds a job; it is answered through itself.
    pub(super) fn submit(self: &Arc<Self>, core: &Arc<Core>, job: J) {
        let mut gathered = self.lock();
        gathered.weight += job.weight();
        gathered.waiting.push((Instant::now(), job));
        if gathered.under_way == 0 || gathered.weight >= WEIGHT_MAX {
            let jobs = gathered.take();
            drop(gathered);
            core.client
                .home()
                .spawn(self.clone().flush(core.clone(), jobs));
        } else if !gathered.timer {
            gathered.timer = true;
            drop(gathered);
            core.client
                .home()
                .spawn(self.clone().flush_later(core.clone()));
        }
    }

    async fn flush(self: Arc<Self>, core: Arc<Core>, mut jobs: Vec<J>) {
        loop {
            J::flush(core.clone(), jobs).await;
            let mut gathered = self.lock();
            gathered.under_way -= 1;
            if gathered.under_way > 0 || gathered.waiting.is_empty() {
                return;
            }
            jobs = gathered.take();
        }
    }

    async fn flush_later(self: Arc<Self>, core: Arc<Core>) {
        let mut more = true;
        while more {
            tokio::time::sleep(WINDOW).await;
            let jobs = {
                let mut gathered = self.lock();
                let jobs = gathered.take_pressing();
                more = !gathered.waiting.is_empty();
                gathered.timer = more;
                jobs
            };
            if !jobs.is_empty() {
                core.client
                    .home()
                    .spawn(self.clone().flush(core.clone(), jobs));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Gathered<J>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<J: Job> Gathered<J> {
    fn take(&mut self) -> Vec<J> {
        self.under_way += 1;
        self.weight = 0;
        let waiting = mem::take(&mut self.waiting);
        waiting.into_iter().map(|(_, job)| job).collect()
    }

    /// Takes what must not wait any longer.
    fn take_pressing(&mut self) -> Vec<J> {
        let pressing = |(since, job): &mut (Instant, J)| {
            job.weight() < LARGE || since.elapsed() >= LARGE_WINDOW
        };
        let jobs: Vec<J> = self
            .waiting
            .extract_if(.., pressing)
            .map(|(_, job)| job)
            .collect();
        if !jobs.is_empty() {
            self.under_way += 1;
            self.weight -= jobs.iter().map(Job::weight).sum::<usize>();
        }
        jobs
    }
}
