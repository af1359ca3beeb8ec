//! Sees to it that every campaign at work has somebody who works at it, and forgets reports that have outlived their time.
//!
//! Owns the shifts of this broker, one task a campaign; which broker has which campaign is settled by leases in the store.
//! Nothing is lost on a restart: the shifts end, and others begin where the store says.

use std::{collections::HashMap, sync::Arc, time::Duration};

use actix::{Actor, Addr, Context, Supervised};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};

use super::supervise::{self, Watch, live};
use crate::{
    domain::id::{CampaignId, TenantId},
    ports::error::StoreError,
    service::campaign::{Campaigns, Ended, Shift},
    telemetry::{ActorKind, ActorMetrics},
};

/// Messages that may wait; it has none.
pub const CAPACITY: usize = 1;
/// Most campaigns that one broker works at; others wait, or are another broker's.
pub const SHIFTS_MAX: usize = 1024;
/// Shortest and longest time between two looks at all campaigns; a changed document shortens it.
const LOOK_MIN: Duration = Duration::from_millis(200);
const LOOK_MAX: Duration = Duration::from_secs(30);
/// When to offer a shift again where another broker has the campaign.
const ELSEWHERE: Duration = Duration::from_secs(5);
/// When to begin a shift again that the store has ended; doubles with each further time.
const FAILED_MIN: Duration = Duration::from_secs(1);
const FAILED_MAX: Duration = Duration::from_secs(30);

/// Runs campaigns.
#[derive(Clone)]
pub struct CampaignRunner {
    /// The use cases.
    pub campaigns: Campaigns,
    /// This broker's name, unlike that of any other.
    pub broker: String,
    /// How long reports are kept after the end of a campaign.
    pub retention: Duration,
    /// Its sign of life.
    pub metrics: Arc<ActorMetrics>,
}

impl CampaignRunner {
    /// Starts it on the current arbiter.
    pub fn start(self, watch: Arc<dyn Watch>) -> Addr<Self> {
        supervise::start(ActorKind::CampaignRunner, CAPACITY, watch, |_| self)
    }
}

impl Actor for CampaignRunner {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        live(ctx, look_after(self.clone()));
    }
}

impl Supervised for CampaignRunner {}

type Key = (TenantId, CampaignId);

/// The shifts that run, and when those that ended may begin again. Dropping it ends them.
#[derive(Default)]
struct Shifts {
    running: HashMap<Key, JoinHandle<Result<Ended, StoreError>>>,
    resting: HashMap<Key, Rest>,
}

#[derive(Clone, Copy)]
struct Rest {
    until: Instant,
    failures: u32,
}

impl Drop for Shifts {
    fn drop(&mut self) {
        self.running.values().for_each(JoinHandle::abort);
    }
}

async fn look_after(runner: CampaignRunner) {
    let mut changed = runner.campaigns.changed();
    let mut shifts = Shifts::default();
    loop {
        let began = Instant::now();
        runner.metrics.progressed(began);
        changed.mark_unchanged();
        shifts.reap(began).await;
        // A store that cannot be read now can be read at the next look.
        if let Ok(census) = runner.campaigns.survey(runner.retention).await {
            shifts.begin(&runner, census.active);
            for (tenant, id) in census.outlived {
                runner.campaigns.delete(&tenant, &id).await.ok();
            }
        }
        let wait = if shifts.resting.is_empty() {
            LOOK_MAX
        } else {
            FAILED_MIN
        };
        // Neither a change nor the end of the time is an error.
        let _woken = timeout(wait, changed.changed()).await;
        sleep_until(began + LOOK_MIN).await;
    }
}

impl Shifts {
    fn begin(&mut self, runner: &CampaignRunner, active: Vec<Key>) {
        let now = Instant::now();
        self.resting.retain(|key, _| active.contains(key));
        for key in active {
            let rests = self.resting.get(&key).is_some_and(|rest| rest.until > now);
            if rests || self.running.contains_key(&key) || self.running.len() >= SHIFTS_MAX {
                continue;
            }
            let owner = format!("{}/{:016x}", runner.broker, rand::random::<u64>());
            let shift = Shift::new(runner.campaigns.clone(), key.clone(), owner);
            self.running.insert(key, actix_rt::spawn(shift.work()));
        }
    }

    /// Notes how shifts have ended; one that panicked counts as failed.
    async fn reap(&mut self, now: Instant) {
        let ended = self.running.iter().filter(|(_, task)| task.is_finished());
        let ended: Vec<Key> = ended.map(|(key, _)| key.clone()).collect();
        for key in ended {
            let Some(task) = self.running.remove(&key) else {
                continue;
            };
            let failures = match task.await {
                Ok(Ok(Ended::Done)) => {
                    self.resting.remove(&key);
                    continue;
                }
                Ok(Ok(Ended::Elsewhere)) => 0,
                Ok(Err(_)) | Err(_) => self.resting.get(&key).map_or(0, |r| r.failures) + 1,
            };
            let until = now + rest(failures);
            self.resting.insert(key, Rest { until, failures });
        }
    }
}

fn rest(failures: u32) -> Duration {
    match failures.checked_sub(1) {
        None => ELSEWHERE,
        Some(more) => FAILED_MIN.saturating_mul(1 << more.min(16)).min(FAILED_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_shifts_begin_again_ever_later() {
        let waits: Vec<u64> = (0..8).map(|n| rest(n).as_secs()).collect();
        assert_eq!(waits, [5, 1, 2, 4, 8, 16, 30, 30]);
    }
}
