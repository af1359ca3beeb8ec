//! Turns items into calls of the commit script, and its answer into what became of each.
//!
//! A call may hold items of several shards where these are sure to be on one server; in a cluster it holds those of one.

use std::{collections::HashSet, mem, sync::Arc};

use futures_util::{StreamExt as _, stream};
use redis::Value;
use tokio::sync::oneshot;

use super::{
    Core,
    answers::{Answers, Place, Settled},
    errors::{damaged, unavailable},
    firsts::Firsts,
    gather::{BATCH, Job},
    queues::queue_of,
    reading::stored_value,
    tables::commit_call,
    whole::{applied_any, is_plain, read_whole, whole_call},
    writes::Kind,
};
use crate::{
    domain::{id::DeviceKey, queue::Queue},
    ports::{
        error::StoreError,
        records::{Committed, Fence, Item, Stored, Urgency},
    },
};

/// Most times that devices are looked for in the queues where they turn out to be.
const SEARCHES_MAX: usize = 4;

/// Calls of one flush that are under way at a time.
const CALLS_MAX: usize = 2;

/// Items of one gate that somebody wants committed.
pub(super) struct CommitJob {
    pub(super) items: Vec<Item>,
    pub(super) urgency: Urgency,
    pub(super) fence: Option<Fence>,
    pub(super) reply: oneshot::Sender<Settled>,
}

/// An item, where its answer belongs, its shard, and where the device was found to wait.
pub(super) struct Entry {
    place: Place,
    shard: usize,
    pub(super) item: Item,
    pub(super) waits_in: Option<Queue>,
}

struct Batch {
    urgency: Urgency,
    fence: Option<Fence>,
    entries: Vec<Entry>,
}

impl Job for CommitJob {
    fn weight(&self) -> usize {
        self.items.len()
    }

    async fn flush(core: Arc<Core>, mut jobs: Vec<Self>) {
        let sizes: Vec<usize> = jobs.iter().map(Self::weight).collect();
        let batches = batches(&core, &mut jobs);
        let replies = jobs.into_iter().map(|job| job.reply);
        let answers = Answers::new(sizes.into_iter().zip(replies));
        stream::iter(batches)
            .for_each_concurrent(CALLS_MAX, |batch| run_batch(&core, batch, &answers))
            .await;
    }
}

/// Divides jobs into calls: equal urgency and fence, at most [`BATCH`] items, no device twice, and those of a shard together,
/// since each shard has its price.
fn batches(core: &Core, jobs: &mut [CommitJob]) -> Vec<Batch> {
    let mut batches = Vec::new();
    for mut batch in alike(core, jobs) {
        batch.entries.sort_by_key(|entry| entry.shard);
        while !batch.entries.is_empty() {
            let rest = batch.entries.split_off(batch.entries.len().min(BATCH));
            batches.push(Batch {
                urgency: batch.urgency,
                fence: batch.fence.clone(),
                entries: mem::replace(&mut batch.entries, rest),
            });
        }
    }
    batches
}

/// Puts together what one call might do, were it not too long.
fn alike(core: &Core, jobs: &mut [CommitJob]) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    let mut devices: HashSet<DeviceKey> = HashSet::new();
    for (number, job) in jobs.iter_mut().enumerate() {
        for (at, item) in mem::take(&mut job.items).into_iter().enumerate() {
            let fits = |batch: &Batch| batch.urgency == job.urgency && batch.fence == job.fence;
            let fits = batches.last().is_some_and(fits) && !devices.contains(&item.key);
            if !fits {
                devices.clear();
                batches.push(Batch {
                    urgency: job.urgency,
                    fence: job.fence.clone(),
                    entries: Vec::new(),
                });
            }
            devices.insert(item.key.clone());
            let entry = Entry {
                place: (number, at),
                shard: core.keys().shard_of(&item.key),
                item,
                waits_in: None,
            };
            if let Some(batch) = batches.last_mut() {
                batch.entries.push(entry);
            }
        }
    }
    batches
}

async fn run_batch(core: &Core, batch: Batch, answers: &Answers) {
    let Batch {
        urgency,
        fence,
        entries,
    } = batch;
    let fence = fence.as_ref();
    let mut entries = apply_whole(core, entries, urgency, fence, answers).await;
    for _search in 0..SEARCHES_MAX {
        if entries.is_empty() {
            return;
        }
        match apply_each(core, &entries, urgency, fence).await {
            Ok(told) => entries = settle_told(entries, told, answers),
            Err(error) => return settle_all(&entries, &Err(error), answers),
        }
    }
    let error = Err(unavailable("a device moves from queue to queue"));
    settle_all(&entries, &error, answers);
}

fn settle_all<'a>(
    entries: impl IntoIterator<Item = &'a Entry>,
    result: &Result<Committed, StoreError>,
    answers: &Answers,
) {
    let entries = entries.into_iter();
    answers.settle(entries.map(|entry| (entry.place, result.clone())));
}

/// Notes what became of entries; returns those that wait elsewhere.
fn settle_told(entries: Vec<Entry>, told: Vec<Told>, answers: &Answers) -> Vec<Entry> {
    let mut misplaced = Vec::new();
    let mut settled = Vec::with_capacity(entries.len());
    for (mut entry, told) in entries.into_iter().zip(told) {
        match told {
            Told::Committed(committed) => settled.push((entry.place, Ok(committed))),
            Told::WaitsIn(queue) => {
                entry.waits_in = Some(queue);
                misplaced.push(entry);
            }
        }
    }
    answers.settle(settled);
    misplaced
}

/// Applies entries, each whole or not at all; returns what is said of each.
async fn apply_each(
    core: &Core,
    entries: &[Entry],
    urgency: Urgency,
    fence: Option<&Fence>,
) -> Result<Vec<Told>, StoreError> {
    let sections = by_shard(entries);
    let (call, queues) = commit_call(core, &sections, urgency, fence);
    let answer = core.client.run_durably(sections[0].0, call).await;
    core.writes.note(Kind::Commits, &answer);
    let parts = read_answer(answer?)?;
    let mut told = Vec::with_capacity(entries.len());
    for ((part, (shard, _)), queues) in parts.into_iter().zip(&sections).zip(queues) {
        part.firsts.note(core, *shard, &queues);
        told.extend(part.told()?);
    }
    match told.len() == entries.len() {
        true => Ok(told),
        false => Err(strange()),
    }
}

/// Entries in the order of their shards, those of a shard together.
fn by_shard(entries: &[Entry]) -> Vec<(usize, &[Entry])> {
    entries
        .chunk_by(|a, b| a.shard == b.shard)
        .map(|part| (part[0].shard, part))
        .collect()
}

/// Applies what is as expected; returns what was left alone.
async fn apply_whole(
    core: &Core,
    entries: Vec<Entry>,
    urgency: Urgency,
    fence: Option<&Fence>,
    answers: &Answers,
) -> Vec<Entry> {
    let (plain, mut left): (Vec<Entry>, Vec<Entry>) = entries.into_iter().partition(is_plain);
    if plain.is_empty() {
        return left;
    }
    match try_whole(core, &plain, urgency, fence).await {
        Ok(applied) => {
            let (done, rest) = partition(plain, applied);
            settle_all(&done, &Ok(Committed::Done), answers);
            left.extend(rest);
            left.sort_by_key(|entry| entry.shard);
            left
        }
        // What has not been asked about would fare no better.
        Err(error) => {
            settle_all(plain.iter().chain(&left), &Err(error), answers);
            Vec::new()
        }
    }
}

/// Tries to apply the part of each shard whole; returns which entries were applied.
async fn try_whole(
    core: &Core,
    plain: &[Entry],
    urgency: Urgency,
    fence: Option<&Fence>,
) -> Result<Vec<bool>, StoreError> {
    let sections = by_shard(plain);
    let (call, queues) = whole_call(core, &sections, urgency, fence);
    let place = sections[0].0;
    // What was left alone is committed by another call, which waits for the replicas.
    let answer = core.client.run_durably_if(place, call, applied_any).await;
    if answer.as_ref().map_or(true, applied_any) {
        core.writes.note(Kind::Commits, &answer);
    }
    let parts = read_whole(answer?, sections.len())?;
    let mut applied = Vec::with_capacity(plain.len());
    for (((shard, part), queues), firsts) in sections.iter().zip(queues).zip(parts) {
        applied.extend(part.iter().map(|_| firsts.is_some()));
        if let Some(firsts) = firsts {
            firsts.note(core, *shard, &queues);
        }
    }
    Ok(applied)
}

/// Those for which it holds, and the others.
fn partition(entries: Vec<Entry>, holds: Vec<bool>) -> (Vec<Entry>, Vec<Entry>) {
    let mut holds = holds.into_iter();
    entries
        .into_iter()
        .partition(|_| holds.next().unwrap_or(false))
}

/// What a script says of one item.
enum Told {
    Committed(Committed),
    /// Nothing was applied, because the device waits in a queue that the call did not name.
    WaitsIn(Queue),
}

/// What a script says of one shard.
struct Part {
    statuses: Vec<u8>,
    values: Vec<Value>,
    firsts: Firsts,
}

fn strange() -> StoreError {
    damaged("a commit's answer is strange")
}

fn read_answer(answer: Value) -> Result<Vec<Part>, StoreError> {
    match answer {
        Value::BulkString(fenced) if fenced == b"F" => Err(StoreError::Fenced),
        Value::Array(parts) => parts.into_iter().map(Part::read).collect(),
        _ => Err(strange()),
    }
}

impl Part {
    fn read(value: Value) -> Result<Self, StoreError> {
        let Value::Array(parts) = value else {
            return Err(strange());
        };
        let mut parts = parts.into_iter();
        let (Some(Value::BulkString(statuses)), Some(Value::Array(values)), Some(firsts)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err(strange());
        };
        let firsts = Firsts::read(firsts)?;
        Ok(Self {
            statuses,
            values,
            firsts,
        })
    }

    fn told(self) -> Result<Vec<Told>, StoreError> {
        let mut values = self.values.into_iter();
        let mut value = || values.next().ok_or_else(strange);
        let statuses = self.statuses.into_iter();
        let told = statuses.map(|status| {
            Ok(Told::Committed(match status {
                b'D' => Committed::Done,
                b'I' => Committed::Listed,
                b'C' => Committed::Conflict(kept(value()?)?),
                b'L' => Committed::LeaseLost(kept(value()?)?),
                b'M' => {
                    let name: String = redis::from_redis_value(value()?).map_err(|_| strange())?;
                    return Ok(Told::WaitsIn(queue_of(&name)?));
                }
                _ => return Err(strange()),
            }))
        });
        told.collect()
    }
}

fn kept(value: Value) -> Result<Option<Stored>, StoreError> {
    match value {
        Value::BulkString(bytes) if bytes.is_empty() => Ok(None),
        value => stored_value(value).map(Some),
    }
}
