//! What a broker asks Redis for when nothing happens: two commands a second, whatever the number of shards and apps.
//!
//! One reads the control epoch, so that a change of documents is seen within a second even if its announcement was lost. The
//! other sweeps one shard after the other for overdue queues, and compares clocks.

use std::{sync::Arc, time::Duration};

use redis::Value;
use tokio::time::{MissedTickBehavior, interval};

use super::{
    Core, claim,
    errors::damaged,
    probe::Subject,
    queues::queue_of,
    script::{SWEEP, ScriptCall},
    step,
};
use crate::ports::error::StoreError;

/// How often.
const PERIOD: Duration = Duration::from_secs(1);
/// Most queues of a shard that one sweep tells of.
const QUEUES_MAX: usize = 64;

/// Ticks for ever.
pub(super) async fn ticking(core: Arc<Core>) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut epoch = None;
    let mut shard = 0;
    loop {
        ticks.tick().await;
        if core.open().is_err() {
            return;
        }
        // A failure shows in every call and in readiness; the next tick tries again.
        if let Ok(now) = read_epoch(&core).await {
            if epoch.is_some_and(|before| before != now) {
                core.changed.send_modify(|count| *count += 1);
            }
            epoch = Some(now);
        }
        let _swept = sweep(&core, shard).await;
        shard = (shard + 1) % core.shards();
    }
}

async fn read_epoch(core: &Core) -> Result<u64, StoreError> {
    let control = core.keys().control();
    let mut command = redis::cmd("HMGET");
    command
        .arg(core.keys().own(control, "store"))
        .arg("id")
        .arg("epoch");
    let answer = core.client.run(control, command).await?;
    let (id, epoch): (Option<String>, Option<u64>) =
        redis::from_redis_value(answer).map_err(|_| damaged("the description of the store"))?;
    let replaced = id.as_deref() != Some(core.store_id.as_str());
    let warning = replaced.then(|| {
        "redis no longer holds the store that this broker opened: its data was lost or replaced; restart the broker"
            .to_owned()
    });
    core.warn(Subject::Replaced, warning);
    Ok(epoch.unwrap_or(0))
}

async fn sweep(core: &Arc<Core>, shard: usize) -> Result<(), StoreError> {
    let call = ScriptCall::new(&SWEEP)
        .key(core.keys().own(shard, "ready"))
        .key(core.keys().own(shard, "lower"))
        .key(core.keys().own(shard, "meta"))
        .arg(QUEUES_MAX.to_string());
    let answer = core.client.run(shard, call).await?;
    let strange = || damaged("a sweep's answer is strange");
    let (now, lower, seen, due): (i64, u64, i64, Vec<Value>) =
        redis::from_redis_value(answer).map_err(|_| strange())?;
    core.hints.clock(shard, now);
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
