//! Turns items into calls of the commit script, and its answer into what became of each.
//!
//! A call may hold items of several shards where these are sure to be on one server; in a cluster it holds those of one.

use std::{collections::HashSet, mem, sync::Arc};

use futures_util::{StreamExt as _, stream};
use redis::Value;
use tokio::sync::oneshot;

use super::{
    Core,
    errors::{damaged, unavailable},
    firsts::Firsts,
    gather::{BATCH, Job},
    queues::queue_of,
    reading::stored_value,
    tables::commit_call,
    whole::{is_plain, read_whole, whole_call},
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
    pub(super) reply: oneshot::Sender<Result<Vec<Committed>, StoreError>>,
}

/// An item, where its answer belongs, its shard, and where the device was found to wait.
pub(super) struct Entry {
    job: usize,
    at: usize,
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
        let mut results: Vec<Result<Vec<Committed>, StoreError>> = jobs
            .iter()
            .map(|job| Ok(vec![Committed::Listed; job.items.len()]))
            .collect();
        let runs = batches(&core, &mut jobs).into_iter().map(async |batch| {
            let concerned: Vec<usize> = batch.entries.iter().map(|entry| entry.job).collect();
            (concerned, run_batch(&core, batch).await)
        });
        let mut runs = stream::iter(runs).buffer_unordered(CALLS_MAX);
        while let Some((concerned, run)) = runs.next().await {
            match run {
                Ok(answers) => {
                    for (job, at, answer) in answers {
                        if let Ok(answers) = &mut results[job] {
                            answers[at] = answer;
                        }
                    }
                }
                Err(error) => {
                    for job in concerned {
                        results[job] = Err(error.clone());
                    }
                }
            }
        }
        drop(runs);
        for (job, result) in jobs.into_iter().zip(results) {
            // The caller may have gone; what was applied stays applied.
            let _gone = job.reply.send(result);
        }
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
                job: number,
                at,
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

/// The job and the place in it, and what became of the item.
type Answer = (usize, usize, Committed);

async fn run_batch(core: &Core, batch: Batch) -> Result<Vec<Answer>, StoreError> {
    let Batch {
        urgency,
        fence,
        entries,
    } = batch;
    let mut answers = Vec::with_capacity(entries.len());
    let mut entries = apply_whole(core, entries, urgency, fence.as_ref(), &mut answers).await?;
    for _search in 0..SEARCHES_MAX {
        if entries.is_empty() {
            return Ok(answers);
        }
        let sections = by_shard(&entries);
        let shards: Vec<usize> = sections.iter().map(|(shard, _)| *shard).collect();
        let (call, queues) = commit_call(core, &sections, urgency, fence.as_ref());
        let answer = core.client.run_durably(shards[0], call).await;
        core.writes.note(Kind::Commits, &answer);
        let parts = answer.and_then(read_answer);
        let parts = parts.map_err(|error| after(&answers, error))?;
        let mut told = Vec::with_capacity(entries.len());
        for ((part, shard), queues) in parts.into_iter().zip(shards).zip(queues) {
            part.firsts.note(core, shard, &queues);
            told.extend(part.told()?);
        }
        let mut misplaced = Vec::new();
        for (mut entry, told) in entries.into_iter().zip(told) {
            match told {
                Told::Committed(committed) => answers.push((entry.job, entry.at, committed)),
                Told::WaitsIn(queue) => {
                    entry.waits_in = Some(queue);
                    misplaced.push(entry);
                }
            }
        }
        entries = misplaced;
    }
    match entries.is_empty() {
        true => Ok(answers),
        false => Err(unavailable("a device moves from queue to queue")),
    }
}

/// An error that comes when some items have been applied already: only one kind may.
fn after(answers: &[Answer], error: StoreError) -> StoreError {
    match answers.is_empty() {
        true => error,
        false => unavailable(format!("some items may have been applied; {error}")),
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
    answers: &mut Vec<Answer>,
) -> Result<Vec<Entry>, StoreError> {
    let (plain, mut left): (Vec<Entry>, Vec<Entry>) = entries.into_iter().partition(is_plain);
    let sections = by_shard(&plain);
    let Some(first) = sections.first() else {
        return Ok(left);
    };
    let (call, queues) = whole_call(core, &sections, urgency, fence);
    let answer = core.client.run_durably(first.0, call).await;
    core.writes.note(Kind::Commits, &answer);
    let parts = read_whole(answer?, sections.len())?;
    let mut applied = Vec::with_capacity(plain.len());
    for (((shard, part), queues), firsts) in sections.iter().zip(queues).zip(parts) {
        applied.extend(part.iter().map(|_| firsts.is_some()));
        if let Some(firsts) = firsts {
            firsts.note(core, *shard, &queues);
        }
    }
    for (entry, applied) in plain.into_iter().zip(applied) {
        match applied {
            true => answers.push((entry.job, entry.at, Committed::Done)),
            false => left.push(entry),
        }
    }
    left.sort_by_key(|entry| entry.shard);
    Ok(left)
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
