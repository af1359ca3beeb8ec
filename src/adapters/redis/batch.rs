//! Turns items of one shard into calls of the commit script, and its answer into what became of each.

use std::{collections::HashSet, mem, sync::Arc};

use redis::Value;
use tokio::sync::oneshot;

use super::{
    Core,
    errors::{damaged, unavailable},
    firsts::Firsts,
    gather::{BATCH, Job},
    reading::stored_value,
    tables::Tables,
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

/// Items of one shard that somebody wants committed.
pub(super) struct CommitJob {
    pub(super) items: Vec<Item>,
    pub(super) urgency: Urgency,
    pub(super) fence: Option<Fence>,
    pub(super) reply: oneshot::Sender<Result<Vec<Committed>, StoreError>>,
}

/// An item, where its answer belongs, and where the device was found to wait.
pub(super) struct Entry {
    job: usize,
    at: usize,
    pub(super) item: Item,
    pub(super) waits_in: Option<Queue>,
}

struct Batch {
    urgency: Urgency,
    fence: Option<Fence>,
    entries: Vec<Entry>,
    devices: HashSet<DeviceKey>,
}

impl Job for CommitJob {
    fn weight(&self) -> usize {
        self.items.len()
    }

    async fn flush(core: Arc<Core>, shard: usize, mut jobs: Vec<Self>) {
        let mut results: Vec<Result<Vec<Committed>, StoreError>> = jobs
            .iter()
            .map(|job| Ok(vec![Committed::Listed; job.items.len()]))
            .collect();
        for batch in batches(&mut jobs) {
            let concerned: Vec<usize> = batch.entries.iter().map(|entry| entry.job).collect();
            match run_batch(&core, shard, batch).await {
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
        for (job, result) in jobs.into_iter().zip(results) {
            // The caller may have gone; what was applied stays applied.
            let _gone = job.reply.send(result);
        }
    }
}

/// Divides jobs into calls: equal urgency and fence, at most [`BATCH`] items, no device twice.
fn batches(jobs: &mut [CommitJob]) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    for (number, job) in jobs.iter_mut().enumerate() {
        for (at, item) in mem::take(&mut job.items).into_iter().enumerate() {
            let fits = |batch: &Batch| {
                batch.entries.len() < BATCH
                    && batch.urgency == job.urgency
                    && batch.fence == job.fence
                    && !batch.devices.contains(&item.key)
            };
            if !batches.last().is_some_and(fits) {
                batches.push(Batch {
                    urgency: job.urgency,
                    fence: job.fence.clone(),
                    entries: Vec::new(),
                    devices: HashSet::new(),
                });
            }
            let batch = batches
                .last_mut()
                .expect("one was pushed if there was none");
            batch.devices.insert(item.key.clone());
            batch.entries.push(Entry {
                job: number,
                at,
                item,
                waits_in: None,
            });
        }
    }
    batches
}

async fn run_batch(
    core: &Core,
    shard: usize,
    batch: Batch,
) -> Result<Vec<(usize, usize, Committed)>, StoreError> {
    let Batch {
        urgency,
        fence,
        mut entries,
        ..
    } = batch;
    let mut answers = Vec::with_capacity(entries.len());
    for _search in 0..SEARCHES_MAX {
        let (call, queues) = Tables::new(core, shard).call(&entries, urgency, fence.as_ref());
        let answer = core.client.run_durably(shard, call).await?;
        let answer = Answer::read(answer)?;
        answer.firsts.note(core, shard, &queues);
        let mut values = answer.values.into_iter();
        let mut value = || {
            values
                .next()
                .ok_or_else(|| damaged("a commit's answer is short"))
        };
        let mut misplaced = Vec::new();
        for (mut entry, status) in entries.into_iter().zip(answer.statuses) {
            let committed = match status {
                b'D' => Committed::Done,
                b'I' => Committed::Listed,
                b'C' => Committed::Conflict(kept(value()?)?),
                b'L' => Committed::LeaseLost(kept(value()?)?),
                b'M' => {
                    let name: String = redis::from_redis_value(value()?)
                        .map_err(|_| damaged("a device's queue is not text"))?;
                    let queue = name
                        .parse()
                        .map_err(|_| damaged("a device's queue has no name"))?;
                    entry.waits_in = Some(queue);
                    misplaced.push(entry);
                    continue;
                }
                _ => return Err(damaged("a commit's answer is strange")),
            };
            answers.push((entry.job, entry.at, committed));
        }
        if misplaced.is_empty() {
            return Ok(answers);
        }
        entries = misplaced;
    }
    Err(unavailable("a device moves from queue to queue"))
}

fn kept(value: Value) -> Result<Option<Stored>, StoreError> {
    match value {
        Value::BulkString(bytes) if bytes.is_empty() => Ok(None),
        value => stored_value(value).map(Some),
    }
}

struct Answer {
    statuses: Vec<u8>,
    values: Vec<Value>,
    firsts: Firsts,
}

impl Answer {
    fn read(value: Value) -> Result<Self, StoreError> {
        let strange = || damaged("a commit's answer is strange");
        let Value::Array(parts) = value else {
            return Err(strange());
        };
        let mut parts = parts.into_iter();
        let statuses = match parts.next() {
            Some(Value::BulkString(fenced)) if fenced == b"F" && parts.len() == 0 => {
                return Err(StoreError::Fenced);
            }
            Some(Value::BulkString(statuses)) => statuses,
            _ => return Err(strange()),
        };
        let (Some(Value::Array(values)), Some(firsts)) = (parts.next(), parts.next()) else {
            return Err(strange());
        };
        let firsts = Firsts::read(firsts)?;
        Ok(Self {
            statuses,
            values,
            firsts,
        })
    }
}
