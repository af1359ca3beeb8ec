//! What a script says of the queues that it has changed.

use redis::Value;

use super::{Core, errors::damaged};
use crate::{domain::queue::Queue, ports::error::StoreError};

/// The time, for each queue its first score (0 if nothing can be claimed, -1 if it
/// was not touched), and which of them have moved forward, counted from 1.
pub(super) struct Firsts {
    now: i64,
    firsts: Vec<i64>,
    forward: Vec<usize>,
}

impl Firsts {
    pub(super) fn read(value: Value) -> Result<Self, StoreError> {
        let (now, firsts, forward) =
            redis::from_redis_value(value).map_err(|_| damaged("an answer is strange"))?;
        Ok(Self {
            now,
            firsts,
            forward,
        })
    }

    /// Of scores that are negative where they have moved forward; all queues were touched.
    pub(super) fn signed(now: i64, scores: Vec<i64>) -> Self {
        let forward = |(_, score): &(usize, &i64)| **score < 0;
        let forward = scores.iter().enumerate().filter(forward);
        Self {
            now,
            forward: forward.map(|(at, _)| at + 1).collect(),
            firsts: scores.iter().map(|score| score.abs()).collect(),
        }
    }

    /// Passes it on to listeners and to later claims.
    pub(super) fn note(&self, core: &Core, shard: usize, queues: &[Queue]) {
        for (at, (queue, first)) in queues.iter().zip(&self.firsts).enumerate() {
            match *first {
                -1 => {}
                first if self.forward.contains(&(at + 1)) => {
                    core.announce(shard, queue, first, self.now)
                }
                first => core.hints.tell(shard, queue, first, self.now),
            }
        }
    }
}
