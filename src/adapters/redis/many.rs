//! One reading command on a key of every shard, in as few commands as the servers allow.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use redis::FromRedisValue;

use super::{
    Core,
    errors::damaged,
    script::{MANY, ScriptCall},
};
use crate::ports::error::StoreError;

/// A reading command but for its key: its name and what follows the key.
pub(super) struct Reading<'a> {
    pub(super) name: &'a str,
    pub(super) rest: &'a [&'a [u8]],
}

impl Core {
    /// Runs the command on each of these keys, given with their shards; answers in the same order.
    pub(super) async fn read_many<T: FromRedisValue>(
        &self,
        keys: Vec<(usize, String)>,
        reading: &Reading<'_>,
    ) -> Result<Vec<T>, StoreError> {
        let places = self.by_gate(keys.iter().map(|(shard, _)| *shard));
        let keys = &keys;
        let calls = places.into_values().map(async |places| {
            let strange = |_| damaged("an answer is strange");
            let mut call = ScriptCall::new(&MANY).arg(reading.name);
            for place in &places {
                call = call.key(keys[*place].1.clone());
            }
            for argument in reading.rest {
                call = call.arg(*argument);
            }
            let answer = self.client.run(keys[places[0]].0, call).await?;
            let answers: Vec<T> = redis::from_redis_value(answer).map_err(strange)?;
            Ok::<_, StoreError>(places.into_iter().zip(answers))
        });
        let mut found: Vec<(usize, T)> = try_join_all(calls).await?.into_iter().flatten().collect();
        found.sort_by_key(|(place, _)| *place);
        Ok(found.into_iter().map(|(_, answer)| answer).collect())
    }

    /// The places of shards, those together that one command can reach.
    pub(super) fn by_gate(
        &self,
        shards: impl Iterator<Item = usize>,
    ) -> BTreeMap<usize, Vec<usize>> {
        let mut places: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (place, shard) in shards.enumerate() {
            places
                .entry(self.client.gate_of(shard))
                .or_default()
                .push(place);
        }
        places
    }

    /// A key of each shard.
    pub(super) fn everywhere(&self, key: impl Fn(usize) -> String) -> Vec<(usize, String)> {
        (0..self.shards())
            .map(|shard| (shard, key(shard)))
            .collect()
    }
}
