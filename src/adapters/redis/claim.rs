//! Claims: which shards are asked for how much, and what they give.
//!
//! What has been taken must be given to the caller or back, whatever goes wrong elsewhere: until its lease ends nobody else gets it.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::future::join_all;
use redis::Value;
use tokio::time::Instant;

use super::{
    Core,
    errors::damaged,
    hints::{Open, Share},
    pack::Pack,
    queues::hand_back,
    reading::{read_hash, stored},
    records::{commit, device},
    script::{CLAIM, ScriptCall},
    time_of,
};
use crate::{
    domain::{counter::Moves, id::DeviceKey, queue::Queue},
    ports::{
        error::StoreError,
        queues::{Claimed, Want},
        records::{Change, Expect, Item, Lease, Placement, Urgency},
    },
};

/// Entries that one shard is asked for at least, where there are as many.
const CHUNK: usize = 64;
/// Most entries of one queue in a claim.
const LIMIT_MAX: usize = 256;

/// The queue, how much is still wanted, and which shards have been asked.
struct Wanted<'a> {
    queue: &'a Queue,
    left: usize,
    asked: Vec<usize>,
}

pub(super) async fn claim(core: &Arc<Core>, wants: &[Want]) -> Result<Vec<Claimed>, StoreError> {
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
    let mut failed = Failed::default();
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
        let away = |shard| core.client.is_away(shard);
        let plan = core.hints.plan(&open, width, away);
        if plan.is_empty() {
            break;
        }
        let mut servers: BTreeMap<usize, Vec<(usize, Vec<Share>)>> = BTreeMap::new();
        for (shard, shares) in plan {
            for share in &shares {
                wanted[share.want].asked.push(shard);
            }
            servers
                .entry(core.client.gate_of(shard))
                .or_default()
                .push((shard, shares));
        }
        let parts = servers
            .values()
            .map(|plan| claim_parts(core, plan, &wanted));
        let parts = join_all(parts).await;
        for (part, plan) in parts.into_iter().zip(servers.values()) {
            match part {
                Ok((part, error)) => {
                    failed.answered |= error.is_none() || !part.is_empty();
                    failed.error = error.or(failed.error);
                    for (want, due, taken) in part {
                        wanted[want].left = wanted[want].left.saturating_sub(1);
                        claimed.push((due, taken));
                    }
                }
                // The others go on without a server that is away; it announces itself when it is back.
                Err(_) if away(plan[0].0) => {}
                Err(error) => failed.error = Some(error),
            }
        }
        width *= 2;
    }
    failed.verdict()?;
    claimed.sort_by_key(|(due, _)| *due);
    Ok(claimed.into_iter().map(|(_, taken)| taken).collect())
}

/// How asking shards has failed.
#[derive(Default)]
struct Failed {
    answered: bool,
    error: Option<StoreError>,
}

impl Failed {
    fn verdict(self) -> Result<(), StoreError> {
        match self.error {
            Some(error) if !self.answered => Err(error),
            Some(_) | None => Ok(()),
        }
    }
}

/// Looks at all shards if nothing is known about one of the queues.
async fn search(core: &Core, wanted: &[Wanted<'_>]) -> Result<(), StoreError> {
    if wanted
        .iter()
        .any(|want| core.hints.should_search(want.queue))
    {
        let shards: Vec<usize> = (0..core.shards()).collect();
        core.refresh_hints(&shards).await?;
    }
    Ok(())
}

/// What a shard gives: the want, the score before, the claim.
type Taken = (usize, i64, Claimed);

/// Keys that every section of a call has.
const FIXED_KEYS: [&str; 5] = ["ready", "asleep", "parks", "meta", "lower"];

/// Claims nothing, which notices a step of the clock.
pub(super) async fn notice_step(core: &Arc<Core>, shard: usize) -> Result<(), StoreError> {
    claim_parts(core, &[(shard, Vec::new())], &[])
        .await
        .map(drop)
}

/// Claims from shards that are on one server. Tells besides why some of what was taken cannot be given.
async fn claim_parts(
    core: &Arc<Core>,
    plan: &[(usize, Vec<Share>)],
    wanted: &[Wanted<'_>],
) -> Result<(Vec<Taken>, Option<StoreError>), StoreError> {
    let lease_micros = i64::try_from(core.options.lease.as_micros()).unwrap_or(i64::MAX);
    let mut call = ScriptCall::new(&CLAIM);
    let mut pack = Pack::default();
    pack.array(2).int(lease_micros).array(plan.len());
    for (shard, shares) in plan {
        let base = call.keys.len();
        pack.array(1 + shares.len()).index(base);
        call.keys
            .extend(FIXED_KEYS.iter().map(|name| core.keys().own(*shard, name)));
        for share in shares {
            let queue = wanted[share.want].queue;
            call.keys.push(core.keys().queue(*shard, queue));
            call.keys.push(core.keys().devices(*shard, &queue.tenant));
            let devices = call.keys.len() - base;
            pack.array(4).index(devices - 1).str(&queue.to_string());
            pack.index(devices).index(share.limit);
        }
    }
    let asked = Instant::now();
    let answer = core
        .client
        .run(plan[0].0, call.arg(pack.into_bytes()))
        .await?;
    let Value::Array(parts) = answer else {
        return Err(strange());
    };
    let mut found = Vec::new();
    for ((shard, shares), part) in plan.iter().zip(parts) {
        let shares = (*shard, shares.as_slice());
        found.extend(read_part(core, shares, wanted, (part, asked))?);
    }
    let read = found.into_iter().map(|entries| with_values(core, entries));
    let (mut taken, mut error) = (Vec::new(), None);
    for (some, wrong) in join_all(read).await {
        taken.extend(some);
        error = wrong.or(error);
    }
    Ok((taken, error))
}

fn strange() -> StoreError {
    damaged("a claim's answer is strange")
}

/// A device, its lease, and the score before.
type Entry = (DeviceKey, Lease, i64);

/// What was taken from a queue in a shard.
struct Entries<'a> {
    shard: usize,
    want: usize,
    queue: &'a Queue,
    entries: Vec<Entry>,
    /// None where they have to be read yet.
    values: Option<Vec<Option<Vec<u8>>>>,
}

fn read_part<'a>(
    core: &Arc<Core>,
    (shard, shares): (usize, &[Share]),
    wanted: &[Wanted<'a>],
    (part, asked): (Value, Instant),
) -> Result<Vec<Entries<'a>>, StoreError> {
    let Value::Array(parts) = part else {
        return Err(strange());
    };
    let mut parts = parts.into_iter();
    let (Some(Value::Int(now)), Some(Value::Int(step))) = (parts.next(), parts.next()) else {
        return Err(strange());
    };
    core.note_clock(shard, (now, asked), step);
    let mut found = Vec::with_capacity(shares.len());
    for share in shares {
        let queue = wanted[share.want].queue;
        let (Some(Value::Int(first)), Some(Value::Array(taken)), Some(values)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err(strange());
        };
        core.hints.tell(shard, queue, first, now);
        let mut taken = taken.into_iter();
        let mut entries = Vec::with_capacity(taken.len() / 3);
        while let Some(id) = taken.next() {
            let (Some(Value::Int(token)), Some(Value::Int(due))) = (taken.next(), taken.next())
            else {
                return Err(strange());
            };
            let id: String = redis::from_redis_value(id).map_err(|_| strange())?;
            let lease = Lease {
                queue: queue.clone(),
                token: u64::try_from(token).map_err(|_| strange())?,
            };
            let key = DeviceKey::new(queue.tenant.clone(), device(&id)?);
            entries.push((key, lease, due));
        }
        let values = match values {
            Value::Int(_) => None,
            values => Some(redis::from_redis_value(values).map_err(|_| strange())?),
        };
        found.push(Entries {
            shard,
            want: share.want,
            queue,
            entries,
            values,
        });
    }
    Ok(found)
}

/// Gives what was taken with its values. Tells besides why something cannot be given.
async fn with_values(core: &Arc<Core>, taken: Entries<'_>) -> (Vec<Taken>, Option<StoreError>) {
    let Entries {
        shard,
        want,
        queue,
        entries,
        values,
    } = taken;
    let (values, held) = match values {
        // They were told by the call that took them.
        Some(values) => (values, vec![true; entries.len()]),
        None => match read_held(core, shard, queue, &entries).await {
            Ok(read) => read,
            Err(error) => {
                core.hand_back_soon(shard, entries);
                return (Vec::new(), Some(error));
            }
        },
    };
    let (mut claimed, mut strays, mut changed, mut unreadable) = (vec![], vec![], vec![], None);
    for ((entry, value), held) in entries.into_iter().zip(values).zip(held) {
        if !held {
            changed.push(entry);
            continue;
        }
        let (key, lease, due) = entry;
        match value.map(stored).transpose() {
            Ok(Some(stored)) => claimed.push((want, due, Claimed { key, lease, stored })),
            Ok(None) => strays.push((key, lease)),
            // It comes again when its lease ends.
            Err(error) => unreadable = Some(error),
        }
    }
    core.hand_back_soon(shard, changed);
    if !strays.is_empty() {
        core.client.home().spawn(take_out(core.clone(), strays));
    }
    (claimed, unreadable)
}

/// Reads the values of what was taken where the script has not told them, and then whether each is still under the lease that it was
/// taken under: only then is its value the one that was claimed.
async fn read_held(
    core: &Core,
    shard: usize,
    queue: &Queue,
    entries: &[Entry],
) -> Result<(Vec<Option<Vec<u8>>>, Vec<bool>), StoreError> {
    let ids = || entries.iter().map(|(key, ..)| key.device.as_str());
    let part = ((shard, &queue.tenant), ids().enumerate().collect());
    let values = read_hash(core, &part).await?;
    let mut command = redis::cmd("ZMSCORE");
    command
        .arg(core.keys().queue(shard, queue))
        .arg(ids().collect::<Vec<_>>());
    let answer = core.client.run(shard, command).await?;
    let scores: Vec<Option<String>> = redis::from_redis_value(answer).map_err(|_| strange())?;
    let scores = scores.into_iter().zip(entries);
    let held = scores.map(|(score, (_, lease, _))| score == Some(lease.token.to_string()));
    Ok((values, held.collect()))
}

impl Core {
    /// Makes due again what was taken and cannot be given. What fails comes again when its lease ends.
    fn hand_back_soon(self: &Arc<Self>, shard: usize, entries: Vec<Entry>) {
        if entries.is_empty() {
            return;
        }
        let core = self.clone();
        self.client.home().spawn(async move {
            let entries = entries.into_iter();
            let claims = entries.map(|(key, lease, due)| (key, lease, time_of(due)));
            let _given_back = hand_back(&core, shard, claims.collect()).await;
        });
    }
}

/// Takes entries that have no record out of their queue. What fails comes again when its lease ends.
async fn take_out(core: Arc<Core>, strays: Vec<(DeviceKey, Lease)>) {
    let items = strays.into_iter().map(|(key, lease)| Item {
        key,
        expect: Expect::Absent,
        lease: Some(lease),
        change: Change::Keep,
        placement: Placement::default(),
        moves: Moves::default(),
        lists: Vec::new(),
        events: Vec::new(),
    });
    let _taken_out = commit(&core, items.collect(), Urgency::Settle, None).await;
}
