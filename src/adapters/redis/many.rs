//! One reading command on a key of every shard, with one command for each server.
//!
//! A cluster accepts a call only if the keys that it declares are of one slot. A script that reads may say that it looks at others of
//! the same server besides (`allow-cross-slot-keys`), and changes nothing if one of them turns out to be elsewhere. Then each slot is
//! asked by itself, and if a server does not hold all of that either each key: while a slot is migrated, a call that names several of
//! its keys is refused as long as one of them does not exist.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use redis::{FromRedisValue, Value};

use super::{
    Core,
    errors::{damaged, unavailable},
    script::{MANY, ScriptCall},
};
use crate::ports::error::StoreError;

/// Keys of one slot that are looked at by themselves at a time.
const SINGLES_MAX: usize = 16;

/// A reading command but for its key: its name and what follows the key.
pub(super) struct Reading<'a> {
    pub(super) name: &'a str,
    pub(super) rest: &'a [&'a [u8]],
}

/// What a server answered for some of the keys, named by their places among those that were asked for.
pub(super) struct Seen<T> {
    /// Its time, in µs.
    pub(super) as_of: i64,
    pub(super) answers: Vec<(usize, T)>,
}

impl Core {
    /// Runs the command on each of these keys, given with their shards; answers in the same order.
    pub(super) async fn read_many<T: FromRedisValue>(
        &self,
        keys: Vec<(usize, String)>,
        reading: &Reading<'_>,
    ) -> Result<Vec<T>, StoreError> {
        let mut found: Vec<(usize, T)> = Vec::with_capacity(keys.len());
        for (_, seen) in self.look(&keys, reading).await {
            found.extend(seen?.answers);
        }
        found.sort_by_key(|(place, _)| *place);
        Ok(found.into_iter().map(|(_, answer)| answer).collect())
    }

    /// The same, but each server's answer or error by itself, with a shard that it is about.
    pub(super) async fn look<T: FromRedisValue>(
        &self,
        keys: &[(usize, String)],
        reading: &Reading<'_>,
    ) -> Vec<(usize, Result<Seen<T>, StoreError>)> {
        let gates = self.by_gate(keys.iter().map(|(shard, _)| *shard));
        let mut servers: BTreeMap<usize, Vec<Vec<usize>>> = BTreeMap::new();
        for places in gates.into_values() {
            let server = self.client.server_of(keys[places[0]].0);
            servers.entry(server).or_default().push(places);
        }
        let looks = servers.into_values().map(async |gates| {
            if gates.len() > 1 {
                let seen = self.look_at(keys, &gates, reading).await.transpose();
                if let Some(seen) = seen {
                    return vec![(keys[gates[0][0]].0, seen)];
                }
            }
            let each = gates.into_iter();
            join_all(each.map(|places| self.look_in(keys, places, reading))).await
        });
        join_all(looks).await.into_iter().flatten().collect()
    }

    /// Looks at keys of one slot.
    async fn look_in<T: FromRedisValue>(
        &self,
        keys: &[(usize, String)],
        places: Vec<usize>,
        reading: &Reading<'_>,
    ) -> (usize, Result<Seen<T>, StoreError>) {
        let shard = keys[places[0]].0;
        let gate = [places];
        let seen = match self.look_at(keys, &gate, reading).await.transpose() {
            Some(seen) => seen,
            None => self.look_singly(keys, &gate[0], reading).await,
        };
        (shard, seen)
    }

    async fn look_singly<T: FromRedisValue>(
        &self,
        keys: &[(usize, String)],
        places: &[usize],
        reading: &Reading<'_>,
    ) -> Result<Seen<T>, StoreError> {
        let (mut as_of, mut answers) = (i64::MAX, Vec::with_capacity(places.len()));
        for places in places.chunks(SINGLES_MAX) {
            let singles: Vec<[Vec<usize>; 1]> = places.iter().map(|p| [vec![*p]]).collect();
            let looks = singles.iter().map(|gate| self.look_at(keys, gate, reading));
            for seen in join_all(looks).await {
                let seen: Seen<T> = seen?.ok_or_else(|| unavailable("a slot is being migrated"))?;
                as_of = as_of.min(seen.as_of);
                answers.extend(seen.answers);
            }
        }
        Ok(Seen { as_of, answers })
    }

    /// Looks at keys of slots; `None` if the server does not hold all of them.
    async fn look_at<T: FromRedisValue>(
        &self,
        keys: &[(usize, String)],
        gates: &[Vec<usize>],
        reading: &Reading<'_>,
    ) -> Result<Option<Seen<T>>, StoreError> {
        let key = |place: &usize| keys[*place].1.clone();
        let mut call = ScriptCall::new(&MANY)
            .arg(reading.name)
            .arg(reading.rest.len().to_string());
        for argument in reading.rest {
            call = call.arg(*argument);
        }
        for place in &gates[0] {
            call = call.key(key(place));
        }
        for place in gates[1..].iter().flatten() {
            call = call.arg(key(place));
        }
        let answer = self.client.look(keys[gates[0][0]].0, call).await?;
        if answer == Value::Nil {
            return Ok(None);
        }
        let strange = |_| damaged("an answer is strange");
        let (as_of, answers): (i64, Vec<T>) = redis::from_redis_value(answer).map_err(strange)?;
        let places = gates.iter().flatten().copied();
        let answers = places.zip(answers).collect();
        Ok(Some(Seen { as_of, answers }))
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
