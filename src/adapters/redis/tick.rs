//! What a broker asks Redis for when nothing happens, whatever the number of shards and apps: less than two commands a second
//! together with the renewal of shares.
//!
//! The control epoch is read about once a second, so that a change of documents is seen even if its announcement was lost. One
//! shard after the other is swept for overdue queues, and clocks are compared.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use redis::Value;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{
    Core, claim,
    errors::damaged,
    probe::Subject,
    queues::queue_of,
    script::{SWEEP, ScriptCall},
    step,
};
use crate::ports::error::StoreError;

/// How often it is looked what is to be asked.
const GRID: Duration = Duration::from_millis(250);
/// Age at which the control epoch is read again; renewing shares reads it too, every second.
const EPOCH_AGE: Duration = Duration::from_millis(1_100);
/// Time from sweep to sweep.
const SWEEP_INTERVAL: Duration = Duration::from_secs(4);
/// Most queues of a shard that one sweep tells of.
const QUEUES_MAX: usize = 64;

/// The id and the control epoch of the store, where it is still described.
pub(super) type Described = (Option<String>, Option<u64>);

/// The control epoch as it was last read, and when.
#[derive(Default)]
pub(super) struct Epoch(Mutex<Option<(u64, Instant)>>);

/// Ticks for ever.
pub(super) async fn ticking(core: Arc<Core>) {
    let mut ticks = interval(GRID);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut swept = Instant::now();
    let mut shard = 0;
    loop {
        ticks.tick().await;
        if core.open().is_err() {
            return;
        }
        // A failure shows in every call and in readiness; the next tick tries again.
        if swept.elapsed() >= SWEEP_INTERVAL {
            swept = Instant::now();
            let _swept = sweep(&core, shard).await;
            shard = (shard + 1) % core.shards();
        }
        if core.epoch.is_old() {
            let _read = read_epoch(&core).await;
        }
    }
}

impl Epoch {
    fn is_old(&self) -> bool {
        let read = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        read.is_none_or(|(_, at)| at.elapsed() >= EPOCH_AGE)
    }

    /// Notes what was read; whether it is another than before.
    fn note(&self, epoch: u64) -> bool {
        let mut read = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = read.replace((epoch, Instant::now()));
        before.is_some_and(|(before, _)| before != epoch)
    }
}

impl Core {
    /// Notes how the store describes itself: tells of changes, and warns when it is another store.
    pub(super) fn note_description(&self, (id, epoch): Described) {
        if self.epoch.note(epoch.unwrap_or(0)) {
            self.changed.send_modify(|count| *count += 1);
        }
        let replaced = id.as_deref() != Some(self.store_id.as_str());
        let warning = replaced.then(|| {
            "redis no longer holds the store that this broker opened: its data was lost or replaced; restart the broker"
                .to_owned()
        });
        self.warn(Subject::Replaced, warning);
    }
}

async fn read_epoch(core: &Core) -> Result<(), StoreError> {
    let control = core.keys().control();
    let mut command = redis::cmd("HMGET");
    command
        .arg(core.keys().own(control, "store"))
        .arg("id")
        .arg("epoch");
    let answer = core.client.run(control, command).await?;
    let described =
        redis::from_redis_value(answer).map_err(|_| damaged("the description of the store"))?;
    core.note_description(described);
    Ok(())
}

/// The time, queues to be lowered, the last time seen, overdue queues, the store's description.
type Swept = (i64, u64, i64, Vec<Value>, Value);

async fn sweep(core: &Arc<Core>, shard: usize) -> Result<(), StoreError> {
    let mut call = ScriptCall::new(&SWEEP)
        .key(core.keys().own(shard, "ready"))
        .key(core.keys().own(shard, "lower"))
        .key(core.keys().own(shard, "meta"))
        .arg(QUEUES_MAX.to_string());
    let with_epoch = !core.client.is_cluster();
    if with_epoch {
        call = call.key(core.keys().own(core.keys().control(), "store"));
    }
    let asked = Instant::now();
    let answer = core.client.run(shard, call).await?;
    let strange = || damaged("a sweep's answer is strange");
    let (now, lower, seen, due, described): Swept =
        redis::from_redis_value(answer).map_err(|_| strange())?;
    if with_epoch {
        core.note_description(redis::from_redis_value(described).map_err(|_| strange())?);
    }
    core.hints.clock(shard, now, asked);
    core.compare_clocks(now);
    let mut due = due.into_iter();
    while let (Some(name), Some(first)) = (due.next(), due.next()) {
        let name: String = redis::from_redis_value(name).map_err(|_| strange())?;
        let first: i64 = redis::from_redis_value(first).map_err(|_| strange())?;
        let queue = queue_of(&name)?;
        if core.hints.found(shard, &queue, first, now) {
            core.wake(&queue, first);
        }
    }
    if step::is_step(seen, now) {
        claim::notice_step(core, shard).await?;
    } else if lower > 0 {
        step::lower(core, shard).await?;
    }
    Ok(())
}
