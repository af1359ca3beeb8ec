//! Sees to it that every campaign at work has somebody who works at it, and forgets reports that have outlived their time.
//!
//! Owns the shifts of this broker, one task a campaign; which broker has which campaign is settled by leases in the store.
//! Nothing is lost on a restart: the shifts end, and others begin where the store says.

use std::{collections::HashMap, future::pending, sync::Arc, time::Duration};

use actix::{Actor, Addr, Context, Supervised};
use tokio::{
    task::{self, JoinSet},
    time::{Instant, sleep_until},
};

use super::supervise::{self, Watch, live, wait_for};
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
/// Shortest and longest time between two looks at all campaigns; a changed document shortens it, and so does a shift that ends.
const LOOK_MIN: Duration = Duration::from_millis(200);
const LOOK_MAX: Duration = Duration::from_secs(30);
/// Longest time between two looks while no campaign has anything to do.
const LOOK_MAX_WITHOUT: Duration = Duration::from_secs(120);
/// When to offer a shift again where another broker has the campaign.
const ELSEWHERE: Duration = Duration::from_secs(2);
/// When to begin a shift again that the store has ended; doubles with each further time.
const FAILED_MIN: Duration = Duration::from_secs(1);
const FAILED_MAX: Duration = Duration::from_secs(4);
/// Most former owners of a campaign's lease that are remembered: it lasts no longer than so many failures.
const FORMER_MAX: usize = 4;

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
    tasks: JoinSet<Result<Ended, StoreError>>,
    named: HashMap<task::Id, Key>,
    /// Who works at what: the owner of its lease.
    running: HashMap<Key, String>,
    resting: HashMap<Key, Rest>,
}

#[derive(Clone)]
struct Rest {
    until: Instant,
    failures: u32,
    /// Who may not have given the lease back.
    former: Vec<String>,
}

async fn look_after(runner: CampaignRunner) {
    let mut changed = runner.campaigns.changed();
    let mut shifts = Shifts::default();
    loop {
        let began = Instant::now();
        runner.metrics.progressed(began);
        changed.mark_unchanged();
        let mut most = LOOK_MAX;
        // A store that cannot be read now can be read at the next look.
        if let Ok(census) = runner.campaigns.survey(runner.retention).await {
            if census.active.is_empty() {
                most = LOOK_MAX_WITHOUT;
            }
            shifts.begin(&runner, census.active);
            for (tenant, id) in census.outlived {
                runner.campaigns.delete(&tenant, &id).await.ok();
            }
        }
        let wait = shifts.wait(Instant::now()).min(most);
        wait_for(&runner.metrics, wait, async {
            tokio::select! {
                // That nobody can change anything any more is no error.
                _changed = changed.changed() => {}
                () = shifts.end() => {}
            }
        })
        .await;
        sleep_until(began + LOOK_MIN).await;
    }
}

impl Shifts {
    fn begin(&mut self, runner: &CampaignRunner, active: Vec<Key>) {
        let now = Instant::now();
        self.resting.retain(|key, _| active.contains(key));
        for key in active {
            let rest = self.resting.get(&key);
            let rests = rest.is_some_and(|rest| rest.until > now);
            if rests || self.running.contains_key(&key) || self.running.len() >= SHIFTS_MAX {
                continue;
            }
            let former = rest.map(|rest| rest.former.clone()).unwrap_or_default();
            let owner = format!("{}/{:016x}", runner.broker, rand::random::<u64>());
            let desk = runner.campaigns.clone();
            let shift = Shift::new(desk, key.clone(), owner.clone()).after(former);
            let task = self.tasks.spawn_local(shift.work());
            self.named.insert(task.id(), key.clone());
            self.running.insert(key, owner);
        }
    }

    /// How long until one may begin again.
    fn wait(&self, now: Instant) -> Duration {
        let ahead = self.resting.values().filter(|rest| rest.until > now);
        let next = ahead.map(|rest| rest.until - now).min();
        next.unwrap_or(LOOK_MAX_WITHOUT)
    }

    /// Waits until a shift ends and notes how; one that panicked counts as failed.
    ///
    /// # Cancel safety
    /// Safe.
    async fn end(&mut self) {
        let (id, ended) = match self.tasks.join_next_with_id().await {
            None => return pending().await,
            Some(Ok((id, ended))) => (id, ended.ok()),
            Some(Err(panicked)) => (panicked.id(), None),
        };
        let Some(key) = self.named.remove(&id) else {
            return;
        };
        let owner = self.running.remove(&key);
        let before = self.resting.remove(&key);
        let (failures, former) = match ended {
            Some(Ended::Done) => return,
            Some(Ended::Elsewhere) => (0, Vec::new()),
            None => {
                let (failures, former) = before.map_or((0, Vec::new()), |b| (b.failures, b.former));
                // The newest first: the leases of those before them have run out meanwhile.
                let former = owner.into_iter().chain(former).take(FORMER_MAX);
                (failures + 1, former.collect())
            }
        };
        let rest = Rest {
            until: Instant::now() + rest(failures),
            failures,
            former,
        };
        self.resting.insert(key, rest);
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
        assert_eq!(waits, [2, 1, 2, 4, 4, 4, 4, 4]);
    }
}
