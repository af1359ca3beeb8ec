//! What happens when the server's clock steps back: an alarm, and the queues' scores are lowered by the step.
//!
//! A claim notices, because each shard keeps the last time that it has seen. What lay ahead by the old clock would come late by
//! the new one, leases included; lowered, it comes in time or early, and the fences that this breaks cost a repeat. Deadlines are
//! in the records and stay as they are. The work is done in batches, and its progress is in Redis, so any broker goes on with it.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    Core,
    errors::damaged,
    probe::Subject,
    queues::queue_of,
    script::{LOWER, ScriptCall},
};
use crate::ports::error::StoreError;

/// Entries lowered in one call.
const BATCH: usize = 256;
/// A step back that is not what keeping a clock right takes; `claim.lua` has the same.
const STEP_MICROS: i64 = 5_000_000;
/// Difference between the clocks of Redis and of this broker that an operator should know of.
const DIFFERENCE_MAX: Duration = Duration::from_secs(5);

impl Core {
    /// Notes the time in a shard, as the answer to a question of that moment told it; `step_micros` is how far its clock was
    /// found to have stepped back.
    pub(super) fn note_clock(
        self: &Arc<Self>,
        shard: usize,
        (now_micros, asked): (i64, Instant),
        step_micros: i64,
    ) {
        self.hints.clock(shard, now_micros, asked);
        if step_micros == 0 {
            return;
        }
        let seconds = step_micros / 1_000_000;
        (self.options.alarm)(&format!(
            "redis's clock has stepped back by {seconds} s in shard {shard}: some pushes are repeated"
        ));
        let core = self.clone();
        self.client.home().spawn(async move {
            // If it fails, a sweep of any broker goes on with it.
            let _lowered = lower(&core, shard).await;
        });
    }

    /// Alarms while the server's time of day is not this broker's.
    pub(super) fn compare_clocks(&self, redis_micros: i64) {
        let ours = self.options.clock.now().as_microsecond();
        let difference = Duration::from_micros(ours.abs_diff(redis_micros));
        let warning = (difference > DIFFERENCE_MAX).then(|| {
            format!(
                "the clocks of redis and of this broker differ by {} s",
                difference.as_secs()
            )
        });
        self.warn(Subject::Clocks, warning);
    }
}

/// Whether a time that a shard has seen lies too far ahead of now.
pub(super) fn is_step(seen_micros: i64, now_micros: i64) -> bool {
    seen_micros.saturating_sub(now_micros) > STEP_MICROS
}

/// Lowers what is still to be lowered in a shard.
pub(super) async fn lower(core: &Core, shard: usize) -> Result<(), StoreError> {
    let own = |name| core.keys().own(shard, name);
    let mut command = redis::cmd("HKEYS");
    command.arg(own("lower"));
    let answer = core.client.run(shard, command).await?;
    let names: Vec<String> = redis::from_redis_value(answer).map_err(|_| damaged("lower"))?;
    for name in names {
        let queue = queue_of(&name)?;
        loop {
            let call = ScriptCall::new(&LOWER)
                .key(own("ready"))
                .key(own("asleep"))
                .key(own("parks"))
                .key(own("lower"))
                .key(core.keys().queue(shard, &queue))
                .arg(core.keys().news(shard))
                .arg(name.as_str())
                .arg(BATCH.to_string());
            let answer = core.client.run(shard, call).await?;
            if answer == redis::Value::Int(0) {
                break;
            }
        }
    }
    Ok(())
}
