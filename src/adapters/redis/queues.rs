//! Due queues: claims under a lease, parking, and what is ready.
//!
//! A queue has a sorted set in every shard: the score of an entry is its due time in µs, which is even, or the end of its lease,
//! which is odd and serves as the lease's token; half a µs more says that somebody has changed the record under that lease. A claim
//! asks few shards for much, so that what it got is settled by few commits.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::{sync::broadcast, time::Instant};

use super::{
    Core, RedisStore, claim, due_score,
    errors::damaged,
    firsts::Firsts,
    many::Reading,
    pack::Pack,
    pages::{Place, fill},
    reading::stored,
    records::device,
    script::{BROWSE, HAND_BACK, PARK, ScriptCall},
    tables::pack_queue,
    time_of,
};
use crate::{
    domain::{
        id::{DeviceId, DeviceKey},
        queue::{Flow, Queue},
    },
    ports::{
        error::StoreError,
        queues::{Claimed, Held, Queues, Ready, Selector, Wake, Want},
        records::{Lease, Page, Stored},
    },
};

#[async_trait]
impl Queues for RedisStore {
    async fn ready(&self) -> Result<Vec<Ready>, StoreError> {
        self.core.open()?;
        let shards: Vec<usize> = (0..self.core.shards()).collect();
        let mut earliest: BTreeMap<Queue, i64> = BTreeMap::new();
        for (queue, first) in self.core.refresh_hints(&shards).await? {
            let known = earliest.entry(queue).or_insert(first);
            *known = first.min(*known);
        }
        let ready = earliest.into_iter();
        Ok(ready
            .map(|(queue, first)| Ready {
                queue,
                earliest: time_of(first),
            })
            .collect())
    }

    async fn claim(&self, wants: &[Want]) -> Result<Vec<Claimed>, StoreError> {
        self.core.open()?;
        claim::claim(&self.core, wants).await
    }

    async fn hand_back(
        &self,
        claims: Vec<(DeviceKey, Lease, Timestamp)>,
    ) -> Result<(), StoreError> {
        self.core.open()?;
        let mut parts: BTreeMap<usize, Vec<_>> = BTreeMap::new();
        for claimed in claims {
            parts
                .entry(self.core.keys().shard_of(&claimed.0))
                .or_default()
                .push(claimed);
        }
        let parts = parts
            .into_iter()
            .map(|(shard, claims)| hand_back(&self.core, shard, claims));
        join_all(parts).await.into_iter().collect()
    }

    fn wakes(&self) -> broadcast::Receiver<Wake> {
        self.core.wakes.subscribe()
    }

    async fn park(&self, selector: &Selector) -> Result<(), StoreError> {
        self.core.open()?;
        park(&self.core, selector, "park").await
    }

    async fn unpark(&self, selector: &Selector) -> Result<(), StoreError> {
        self.core.open()?;
        park(&self.core, selector, "unpark").await
    }

    async fn browse(
        &self,
        queue: &Queue,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<(DeviceId, Stored)>, StoreError> {
        self.core.open()?;
        let core = &self.core;
        let part = |place: Place| async move {
            let call = ScriptCall::new(&BROWSE)
                .key(core.keys().queue(place.shard, queue))
                .key(core.keys().devices(place.shard, &queue.tenant))
                .arg(place.at.to_string())
                .arg(limit.to_string());
            let answer = core.client.run(place.shard, call).await?;
            let (at, pairs): (u64, Vec<(String, Vec<u8>)>) =
                redis::from_redis_value(answer).map_err(|_| damaged("queue"))?;
            let found = pairs
                .into_iter()
                .map(|(id, value)| Ok((device(&id)?, stored(value)?)));
            Ok((at, found.collect::<Result<_, StoreError>>()?))
        };
        fill(cursor, core.shards(), limit, part).await
    }

    async fn census(&self) -> Result<Vec<Held>, StoreError> {
        self.core.open()?;
        let core = &self.core;
        let mut sets = core.everywhere(|shard| core.keys().own(shard, "ready"));
        sets.extend(core.everywhere(|shard| core.keys().own(shard, "asleep")));
        let mut queues: Vec<(usize, Queue, i64)> = Vec::new();
        let found = core.read_many(sets.clone(), &SET).await?;
        for ((shard, _), set) in sets.into_iter().zip(found) {
            let found = queues_of(set)?.into_iter();
            queues.extend(found.map(|(queue, first)| (shard, queue, first)));
        }
        let count = async |of: Vec<usize>, name, rest: &[&[u8]]| {
            let keys = of.into_iter().map(|at| {
                let (shard, queue, _) = &queues[at];
                (*shard, core.keys().queue(*shard, queue))
            });
            let reading = Reading { name, rest };
            core.read_many::<u64>(keys.collect(), &reading).await
        };
        let now = core.options.clock.now().as_microsecond();
        let ripe = |at: &usize| queues[*at].2 <= now;
        let ripe: Vec<usize> = (0..queues.len()).filter(ripe).collect();
        let sizes = count((0..queues.len()).collect(), "ZCARD", &[]).await?;
        let until = now.to_string();
        let due = count(ripe.clone(), "ZCOUNT", &[b"-inf", until.as_bytes()]).await?;
        let due: HashMap<usize, u64> = ripe.into_iter().zip(due).collect();
        let mut found: BTreeMap<Queue, Held> = BTreeMap::new();
        for (at, ((_, queue, first), entries)) in queues.iter().zip(sizes).enumerate() {
            let earliest = time_of(*first);
            let queue = queue.clone();
            let held = found.entry(queue.clone()).or_insert(Held {
                ready: Ready { queue, earliest },
                entries: 0,
                due: 0,
            });
            held.ready.earliest = held.ready.earliest.min(earliest);
            held.entries += entries;
            held.due += due.get(&at).copied().unwrap_or(0);
        }
        Ok(found
            .into_values()
            .filter(|held| held.entries > 0)
            .collect())
    }
}

impl Core {
    /// Reads which queues of some shards are in service, with their first scores, and notes it. Shards that are away are left
    /// out.
    pub(super) async fn refresh_hints(
        &self,
        shards: &[usize],
    ) -> Result<Vec<(Queue, i64)>, StoreError> {
        let mut ready = Vec::new();
        let asked = Instant::now();
        let own = |shard: &usize| (*shard, self.keys().own(*shard, "ready"));
        let keys: Vec<_> = shards.iter().map(own).collect();
        for (shard, seen) in self.look(&keys, &SET).await {
            let seen = match seen {
                Err(_) if self.client.is_away(shard) => continue,
                seen => seen?,
            };
            for (place, set) in seen.answers {
                let (shard, queues) = (shards[place], queues_of(set)?);
                self.hints.clock(shard, seen.as_of, asked);
                self.hints.replace(shard, &queues, seen.as_of);
                ready.extend(queues);
            }
        }
        Ok(ready)
    }
}

/// Reads a whole set of queues with their first scores.
const SET: Reading<'_> = Reading {
    name: "ZRANGE",
    rest: &[b"0", b"-1", b"WITHSCORES"],
};

fn queues_of(set: Vec<(String, f64)>) -> Result<Vec<(Queue, i64)>, StoreError> {
    let entries = set.into_iter();
    let queues = entries.map(|(name, first)| Ok((queue_of(&name)?, micros_of(first))));
    queues.collect()
}

pub(super) fn queue_of(name: &str) -> Result<Queue, StoreError> {
    name.parse()
        .map_err(|_| damaged("the name of a queue cannot be read"))
}

/// A score as whole µs.
#[expect(clippy::cast_possible_truncation, reason = "scores are far below 2^53")]
pub(super) fn micros_of(score: f64) -> i64 {
    score.floor() as i64
}

pub(super) async fn hand_back(
    core: &Core,
    shard: usize,
    claims: Vec<(DeviceKey, Lease, Timestamp)>,
) -> Result<(), StoreError> {
    let own = |name| core.keys().own(shard, name);
    let mut call = ScriptCall::new(&HAND_BACK)
        .key(own("ready"))
        .key(own("asleep"))
        .key(own("parks"))
        .arg(core.keys().news(shard));
    let mut queues: Vec<Queue> = Vec::new();
    let mut index: HashMap<Queue, usize> = HashMap::new();
    let mut entries = Pack::default();
    entries.array(claims.len() * 4);
    for (key, lease, at) in claims {
        let queue = *index.entry(lease.queue.clone()).or_insert_with(|| {
            queues.push(lease.queue.clone());
            queues.len()
        });
        let token = i64::try_from(lease.token).unwrap_or(0);
        entries
            .index(queue)
            .str(key.device.as_str())
            .int(token)
            .int(due_score(at));
    }
    let mut pack = Pack::default();
    pack.array(2).array(queues.len());
    for queue in &queues {
        call = call.key(core.keys().queue(shard, queue));
        pack_queue(&mut pack, queue, call.keys.len());
    }
    let mut bytes = pack.into_bytes();
    bytes.extend_from_slice(&entries.into_bytes());
    let answer = core.client.run(shard, call.arg(bytes)).await?;
    Firsts::read(answer)?.note(core, shard, &queues);
    Ok(())
}

async fn park(core: &Core, selector: &Selector, what: &str) -> Result<(), StoreError> {
    let flow = match &selector.flow {
        None => String::new(),
        Some(Flow::Direct) => "direct".to_owned(),
        Some(Flow::Campaign(id)) => format!("c/{id}"),
    };
    let parks = core.by_gate(0..core.shards()).into_values();
    let parks = parks.map(async |shards| {
        let mut call = ScriptCall::new(&PARK)
            .arg(what)
            .arg(selector.tenant.as_str())
            .arg(flow.as_str());
        for shard in &shards {
            for name in ["ready", "asleep", "parks"] {
                call = call.key(core.keys().own(*shard, name));
            }
            call = call.arg(core.keys().news(*shard));
        }
        let answer = core.client.run_durably(shards[0], call).await?;
        let answers: Vec<(i64, Vec<(String, i64)>)> =
            redis::from_redis_value(answer).map_err(|_| damaged("an answer is strange"))?;
        for (shard, (now, changed)) in shards.into_iter().zip(answers) {
            for (name, first) in changed {
                let queue = queue_of(&name)?;
                match first {
                    0 => core.hints.tell(shard, &queue, 0, now),
                    first => core.announce(shard, &queue, first, now),
                }
            }
        }
        Ok::<_, StoreError>(())
    });
    join_all(parks).await.into_iter().collect()
}
