//! Due queues: claims under a lease, parking, and what is ready.
//!
//! A queue has a sorted set in every shard: the score of an entry is its due time in µs, which is even, or the end of its lease,
//! which is odd and serves as the lease's token. A claim asks few shards for much, so that what it got is settled by few commits.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use futures_util::future::{join_all, try_join_all};
use jiff::Timestamp;
use redis::Value;
use tokio::sync::broadcast;

use super::{
    Core, RedisStore,
    batch::pack_queue,
    due_score,
    errors::damaged,
    hints::{Open, Share},
    pack::Pack,
    reading::{stored, stored_value},
    records::{device, next_cursor, read_cursor},
    script::{BROWSE, CENSUS, CLAIM, HAND_BACK, PARK, ScriptCall},
    time_of,
};
use crate::{
    domain::{
        id::{DeviceId, DeviceKey},
        queue::{Flow, Queue},
    },
    ports::{
        error::StoreError,
        queues::{Claimed, Queues, Ready, Selector, Wake, Want},
        records::{Lease, Page, Stored},
    },
};

/// Entries that one shard is asked for at least, where there are as many.
const CHUNK: usize = 64;
/// Most entries of one queue in a claim.
const LIMIT_MAX: usize = 256;

#[async_trait]
impl Queues for RedisStore {
    async fn ready(&self) -> Result<Vec<Ready>, StoreError> {
        self.core.open()?;
        let shards = (0..self.core.shards()).map(|shard| self.core.refresh_hints(shard));
        let mut earliest: BTreeMap<Queue, i64> = BTreeMap::new();
        for (queue, first) in try_join_all(shards).await?.into_iter().flatten() {
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
        claim(&self.core, wants).await
    }

    async fn hand_back(
        &self,
        claims: Vec<(DeviceKey, Lease, Timestamp)>,
    ) -> Result<(), StoreError> {
        self.core.open()?;
        let mut parts: BTreeMap<usize, Vec<_>> = BTreeMap::new();
        for claim in claims {
            parts
                .entry(self.core.keys().shard_of(&claim.0))
                .or_default()
                .push(claim);
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
        let shards = self.core.shards();
        let (shard, at) = read_cursor(cursor, shards)?;
        let call = ScriptCall::new(&BROWSE)
            .key(self.core.keys().queue(shard, queue))
            .key(self.core.keys().devices(shard, &queue.tenant))
            .arg(at.to_string())
            .arg(limit.to_string());
        let answer = self.core.client.run(shard, call).await?;
        let (at, pairs): (u64, Vec<(String, Vec<u8>)>) =
            redis::from_redis_value(answer).map_err(|_| damaged("queue"))?;
        let items = pairs
            .into_iter()
            .map(|(id, value)| Ok((device(&id)?, stored(value)?)));
        Ok(Page {
            items: items.collect::<Result<_, StoreError>>()?,
            next: next_cursor(shard, at, shards),
        })
    }

    async fn census(&self) -> Result<Vec<(Ready, u64)>, StoreError> {
        self.core.open()?;
        let shards = (0..self.core.shards()).map(|shard| census(&self.core, shard));
        let mut found: BTreeMap<Queue, (i64, u64)> = BTreeMap::new();
        for (queue, first, count) in try_join_all(shards).await?.into_iter().flatten() {
            let known = found.entry(queue).or_insert((first, 0));
            *known = (first.min(known.0), known.1 + count);
        }
        let found = found.into_iter().filter(|(_, (_, count))| *count > 0);
        Ok(found
            .map(|(queue, (first, count))| {
                (
                    Ready {
                        queue,
                        earliest: time_of(first),
                    },
                    count,
                )
            })
            .collect())
    }
}

impl Core {
    /// Reads which queues of a shard are in service and notes it.
    pub(super) async fn refresh_hints(
        &self,
        shard: usize,
    ) -> Result<Vec<(Queue, i64)>, StoreError> {
        let ready = queues_in(self, shard, "ready").await?;
        self.hints.forget(shard);
        for (queue, first) in &ready {
            self.hints.tell(shard, queue, *first, 0);
        }
        Ok(ready)
    }
}

/// The queues in `ready` or `asleep` of a shard with their first scores.
async fn queues_in(core: &Core, shard: usize, set: &str) -> Result<Vec<(Queue, i64)>, StoreError> {
    let mut command = redis::cmd("ZRANGE");
    command
        .arg(core.keys().own(shard, set))
        .arg(0)
        .arg(-1)
        .arg("WITHSCORES");
    let answer = core.client.run(shard, command).await?;
    let entries: Vec<(String, f64)> =
        redis::from_redis_value(answer).map_err(|_| damaged("ready queues"))?;
    entries
        .into_iter()
        .map(|(name, first)| Ok((queue_of(&name)?, micros_of(first))))
        .collect()
}

pub(super) fn queue_of(name: &str) -> Result<Queue, StoreError> {
    name.parse()
        .map_err(|_| damaged("the name of a queue cannot be read"))
}

/// A score as whole µs; scores are below 2^53, so nothing is lost.
#[expect(
    clippy::cast_possible_truncation,
    reason = "scores are whole and below 2^53"
)]
pub(super) fn micros_of(score: f64) -> i64 {
    score.round() as i64
}

/// The queue, how much is still wanted, and which shards have been asked.
struct Wanted<'a> {
    queue: &'a Queue,
    left: usize,
    asked: Vec<usize>,
}

async fn claim(core: &Core, wants: &[Want]) -> Result<Vec<Claimed>, StoreError> {
    let mut wanted: Vec<Wanted<'_>> = wants
        .iter()
        .map(|want| Wanted {
            queue: &want.queue,
            left: want.limit.min(LIMIT_MAX),
            asked: Vec::new(),
        })
        .collect();
    search(core, &wanted).await?;
    let most = wanted.iter().map(|want| want.left).max().unwrap_or(0);
    let mut width = most.div_ceil(CHUNK).max(1);
    let mut claimed: Vec<(i64, Claimed)> = Vec::new();
    loop {
        let open: Vec<Open<'_>> = wanted
            .iter()
            .enumerate()
            .filter(|(_, want)| want.left > 0)
            .map(|(i, want)| Open {
                want: i,
                queue: want.queue,
                left: want.left,
                asked: &want.asked,
            })
            .collect();
        let plan = core.hints.plan(&open, width);
        if plan.is_empty() {
            break;
        }
        let parts = plan
            .iter()
            .map(|(shard, shares)| claim_part(core, *shard, shares, &wanted));
        let parts = join_all(parts).await;
        for ((shard, shares), part) in plan.iter().zip(parts) {
            let part = match part {
                Ok(part) => part,
                // What has been claimed elsewhere must not be lost with it.
                Err(_) if !claimed.is_empty() => Vec::new(),
                Err(error) if plan.len() == 1 => return Err(error),
                Err(_) => Vec::new(),
            };
            for share in shares {
                wanted[share.want].asked.push(*shard);
            }
            for (want, due, taken) in part {
                wanted[want].left = wanted[want].left.saturating_sub(1);
                claimed.push((due, taken));
            }
        }
        width *= 2;
    }
    claimed.sort_by_key(|(due, _)| *due);
    Ok(claimed.into_iter().map(|(_, taken)| taken).collect())
}

/// Looks in every shard for queues about which nothing is known.
async fn search(core: &Core, wanted: &[Wanted<'_>]) -> Result<(), StoreError> {
    let unknown: Vec<&Queue> = wanted
        .iter()
        .map(|want| want.queue)
        .filter(|queue| core.hints.should_search(queue))
        .collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = unknown.iter().map(ToString::to_string).collect();
    let searches = (0..core.shards()).map(async |shard| {
        let mut command = redis::cmd("ZMSCORE");
        command.arg(core.keys().own(shard, "ready")).arg(&names);
        let answer = core.client.run(shard, command).await?;
        let firsts: Vec<Option<f64>> =
            redis::from_redis_value(answer).map_err(|_| damaged("ready queues"))?;
        for (queue, first) in unknown.iter().zip(firsts) {
            core.hints.tell(shard, queue, first.map_or(0, micros_of), 0);
        }
        Ok::<_, StoreError>(())
    });
    join_all(searches).await.into_iter().collect()
}

/// What a shard gives: the want, the score before, the claim.
async fn claim_part(
    core: &Core,
    shard: usize,
    shares: &[Share],
    wanted: &[Wanted<'_>],
) -> Result<Vec<(usize, i64, Claimed)>, StoreError> {
    let own = |name| core.keys().own(shard, name);
    let lease_micros = i64::try_from(core.options.lease.as_micros()).unwrap_or(i64::MAX);
    let mut call = ScriptCall::new(&CLAIM)
        .key(own("ready"))
        .key(own("asleep"))
        .key(own("parks"))
        .key(own("meta"))
        .number(lease_micros);
    for share in shares {
        let queue = wanted[share.want].queue;
        call = call.key(core.keys().queue(shard, queue));
        call = call.key(core.keys().devices(shard, &queue.tenant));
        let devices = call.keys.len();
        let texts = [
            (devices - 1).to_string(),
            queue.to_string(),
            devices.to_string(),
        ];
        for text in texts {
            call = call.arg(text);
        }
        call = call.arg(share.limit.to_string());
    }
    let answer = core.client.run(shard, call).await?;
    let strange = || damaged("a claim's answer is strange");
    let Value::Array(parts) = answer else {
        return Err(strange());
    };
    let mut parts = parts.into_iter();
    let (Some(Value::Int(now)), Some(Value::Int(step))) = (parts.next(), parts.next()) else {
        return Err(strange());
    };
    core.note_clock(shard, now, step);
    let mut claimed = Vec::new();
    for share in shares {
        let queue = wanted[share.want].queue;
        let (Some(Value::Int(first)), Some(Value::Array(taken))) = (parts.next(), parts.next())
        else {
            return Err(strange());
        };
        core.hints.tell(shard, queue, first, now);
        let mut taken = taken.into_iter();
        while let Some(id) = taken.next() {
            let (Some(value), Some(Value::Int(token)), Some(Value::Int(due))) =
                (taken.next(), taken.next(), taken.next())
            else {
                return Err(strange());
            };
            let id: String = redis::from_redis_value(id).map_err(|_| strange())?;
            let lease = Lease {
                queue: queue.clone(),
                token: u64::try_from(token).map_err(|_| strange())?,
            };
            let key = DeviceKey::new(queue.tenant.clone(), device(&id)?);
            let stored = stored_value(value)?;
            claimed.push((share.want, due, Claimed { key, lease, stored }));
        }
    }
    Ok(claimed)
}

async fn hand_back(
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
    let (now, firsts): (i64, Vec<i64>) =
        redis::from_redis_value(answer).map_err(|_| damaged("an answer is strange"))?;
    for (queue, first) in queues.iter().zip(firsts) {
        core.announce(shard, queue, first, now);
    }
    Ok(())
}

async fn park(core: &Core, selector: &Selector, what: &str) -> Result<(), StoreError> {
    let flow = match &selector.flow {
        None => String::new(),
        Some(Flow::Direct) => "direct".to_owned(),
        Some(Flow::Campaign(id)) => format!("c/{id}"),
    };
    let parks = (0..core.shards()).map(async |shard| {
        let call = ScriptCall::new(&PARK)
            .key(core.keys().own(shard, "ready"))
            .key(core.keys().own(shard, "asleep"))
            .key(core.keys().own(shard, "parks"))
            .arg(core.keys().news(shard))
            .arg(what)
            .arg(selector.tenant.as_str())
            .arg(flow.as_str());
        let answer = core.client.run_durably(shard, call).await?;
        let (now, changed): (i64, Vec<(String, i64)>) =
            redis::from_redis_value(answer).map_err(|_| damaged("an answer is strange"))?;
        for (name, first) in changed {
            core.announce(shard, &queue_of(&name)?, first, now);
        }
        Ok::<_, StoreError>(())
    });
    join_all(parks).await.into_iter().collect()
}

async fn census(core: &Core, shard: usize) -> Result<Vec<(Queue, i64, u64)>, StoreError> {
    let mut queues = queues_in(core, shard, "ready").await?;
    queues.extend(queues_in(core, shard, "asleep").await?);
    if queues.is_empty() {
        return Ok(Vec::new());
    }
    let mut call = ScriptCall::new(&CENSUS);
    for (queue, _) in &queues {
        call = call.key(core.keys().queue(shard, queue));
    }
    let answer = core.client.run(shard, call).await?;
    let counts: Vec<u64> = redis::from_redis_value(answer).map_err(|_| damaged("queue"))?;
    Ok(queues
        .into_iter()
        .zip(counts)
        .map(|((queue, first), n)| (queue, first, n))
        .collect())
}
