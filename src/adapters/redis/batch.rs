//! Turns items of one shard into calls of the commit script, and its answer into what became of each.

use std::{
    collections::{HashMap, HashSet},
    mem,
    sync::Arc,
};

use redis::Value;
use tokio::sync::oneshot;

use super::{
    Core, due_score,
    errors::{damaged, unavailable},
    feed::event_text,
    gather::{BATCH, Job},
    keys::parks_of,
    pack::Pack,
    reading::{revision_text, stored_value},
    script::{COMMIT_OPEN, COMMIT_SETTLE, ScriptCall},
};
use crate::{
    domain::{
        id::DeviceKey,
        queue::{Lane, Queue},
    },
    ports::{
        error::StoreError,
        records::{Change, Committed, Expect, Fence, Item, ListMove, ListName, Urgency},
    },
};

/// Most times that devices are looked for in the queues where they turn out to be.
const SEARCHES_MAX: usize = 4;
/// Keys that every call has: `ready`, `asleep`, `parks`, `feed`, `fences`.
const FIXED_KEYS: [&str; 5] = ["ready", "asleep", "parks", "feed", "fences"];

/// Items of one shard that somebody wants committed.
pub(super) struct CommitJob {
    pub(super) items: Vec<Item>,
    pub(super) urgency: Urgency,
    pub(super) fence: Option<Fence>,
    pub(super) reply: oneshot::Sender<Result<Vec<Committed>, StoreError>>,
}

/// An item, where its answer belongs, and where the device was found to wait.
struct Entry {
    job: usize,
    at: usize,
    item: Item,
    waits_in: Option<Queue>,
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
        for (queue, first) in queues.iter().zip(answer.firsts) {
            if first >= 0 {
                core.announce(shard, queue, first, answer.now);
            }
        }
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

fn kept(value: Value) -> Result<Option<crate::ports::records::Stored>, StoreError> {
    match value {
        Value::BulkString(bytes) if bytes.is_empty() => Ok(None),
        value => stored_value(value).map(Some),
    }
}

struct Answer {
    statuses: Vec<u8>,
    values: Vec<Value>,
    firsts: Vec<i64>,
    now: i64,
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
        let (Some(Value::Array(values)), Some(firsts), Some(Value::Int(now))) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err(strange());
        };
        let firsts = redis::from_redis_value(firsts).map_err(|_| strange())?;
        Ok(Self {
            statuses,
            values,
            firsts,
            now,
        })
    }
}

/// The keys of a call and the tables by which the items name them.
struct Tables<'a> {
    core: &'a Core,
    shard: usize,
    keys: Vec<String>,
    key_index: HashMap<String, usize>,
    queues: Vec<(Queue, usize)>,
    lists: Vec<(usize, usize)>,
    counters: Vec<(usize, String)>,
}

impl<'a> Tables<'a> {
    fn new(core: &'a Core, shard: usize) -> Self {
        let keys = FIXED_KEYS
            .iter()
            .map(|name| core.keys().own(shard, name))
            .collect();
        Self {
            core,
            shard,
            keys,
            key_index: HashMap::new(),
            queues: Vec::new(),
            lists: Vec::new(),
            counters: Vec::new(),
        }
    }

    fn call(
        mut self,
        entries: &[Entry],
        urgency: Urgency,
        fence: Option<&Fence>,
    ) -> (ScriptCall, Vec<Queue>) {
        let mut items = Pack::default();
        items.array(entries.len());
        for entry in entries {
            self.pack_item(&mut items, entry);
        }
        let mut batch = Pack::default();
        let no_fence = (String::new(), 0);
        let fence = fence.map_or(no_fence, |f| (f.name.clone(), f.epoch));
        let events_max = self.core.options.feed_events_max / self.core.shards();
        batch
            .array(7)
            .str(&fence.0)
            .int(i64::try_from(fence.1).unwrap_or(i64::MAX));
        batch.index(events_max.max(1));
        batch.array(self.queues.len());
        for (queue, key) in &self.queues {
            pack_queue(&mut batch, queue, *key);
        }
        batch.array(self.lists.len());
        for (members, texts) in &self.lists {
            batch.array(2).index(*members).index(*texts);
        }
        batch.array(self.counters.len());
        for (key, field) in &self.counters {
            batch.array(2).index(*key).str(field);
        }
        let mut bytes = batch.into_bytes();
        bytes.extend_from_slice(&items.into_bytes());
        let script = match urgency {
            Urgency::Open => &COMMIT_OPEN,
            Urgency::Settle => &COMMIT_SETTLE,
        };
        let mut call = ScriptCall::new(script)
            .arg(bytes)
            .arg(self.core.keys().news(self.shard));
        call.keys = self.keys;
        (
            call,
            self.queues.into_iter().map(|(queue, _)| queue).collect(),
        )
    }

    fn pack_item(&mut self, pack: &mut Pack, entry: &Entry) {
        let item = &entry.item;
        let tenant = &item.key.tenant;
        let devices = self.key(self.core.keys().devices(self.shard, tenant));
        pack.array(12).index(devices).str(item.key.device.as_str());
        match &item.expect {
            Expect::Absent => pack.str(""),
            Expect::Revision(revision) => pack.str(&revision_text(*revision)),
            Expect::NotListed(list) => pack.index(self.list(item, list)),
        };
        match &item.change {
            Change::Put(revision, bytes) => {
                pack.text(&[revision_text(*revision).as_bytes(), b"|", bytes])
            }
            Change::Delete => pack.int(0),
            Change::Keep => pack.int(1),
        };
        let (queue, token) = match &item.lease {
            Some(lease) => (self.queue(&lease.queue), lease.token),
            None => (0, 0),
        };
        pack.index(queue).int(i64::try_from(token).unwrap_or(0));
        if let Some(queue) = &entry.waits_in {
            self.queue(queue);
        }
        let from = item
            .placement
            .from
            .as_ref()
            .map_or(0, |queue| self.queue(queue));
        pack.index(from);
        let (to, at) = match &item.placement.to {
            Some(due) => (self.queue(&due.queue), due_score(due.at)),
            None => (0, 0),
        };
        pack.index(to).int(at);
        self.pack_effects(pack, item);
    }

    fn pack_effects(&mut self, pack: &mut Pack, item: &Item) {
        let tenant = &item.key.tenant;
        pack.array(item.moves.iter().count() * 2);
        for (counter, by) in item.moves.iter() {
            let counter = self.counter(item, counter.to_string());
            pack.index(counter).int(*by);
        }
        let moves = last_of_each_list(&item.lists);
        pack.array(moves.len() * 4);
        for change in moves {
            match change {
                ListMove::Put { list, score, text } => {
                    pack.index(self.list(item, list))
                        .int(1)
                        .int(*score)
                        .str(text);
                }
                ListMove::Remove { list } => {
                    pack.index(self.list(item, list)).int(0).int(0).str("");
                }
            }
        }
        pack.array(item.events.len() * 4);
        if !item.events.is_empty() {
            let events = self.key(self.core.keys().events(self.shard, tenant));
            for event in &item.events {
                pack.index(events).str(tenant.as_str());
                pack.int(event.time.as_millisecond())
                    .str(&event_text(event));
            }
        }
    }

    /// The index of a key, from 1.
    fn key(&mut self, key: String) -> usize {
        if let Some(index) = self.key_index.get(&key) {
            return *index;
        }
        self.keys.push(key.clone());
        self.key_index.insert(key, self.keys.len());
        self.keys.len()
    }

    fn queue(&mut self, queue: &Queue) -> usize {
        if let Some(at) = self.queues.iter().position(|(known, _)| known == queue) {
            return at + 1;
        }
        let key = self.key(self.core.keys().queue(self.shard, queue));
        self.queues.push((queue.clone(), key));
        self.queues.len()
    }

    fn list(&mut self, item: &Item, list: &ListName) -> usize {
        let tenant = &item.key.tenant;
        let members = self.key(self.core.keys().list(self.shard, tenant, list));
        if let Some(at) = self.lists.iter().position(|(known, _)| *known == members) {
            return at + 1;
        }
        let texts = match text_apart(list) {
            true => self.key(self.core.keys().list_texts(self.shard, tenant, list)),
            false => 0,
        };
        self.lists.push((members, texts));
        self.lists.len()
    }

    fn counter(&mut self, item: &Item, field: String) -> usize {
        let key = self.key(self.core.keys().counters(self.shard, &item.key.tenant));
        let known = self
            .counters
            .iter()
            .position(|(k, f)| *k == key && *f == field);
        if let Some(at) = known {
            return at + 1;
        }
        self.counters.push((key, field));
        self.counters.len()
    }
}

/// Whether a list keeps its texts in a hash of their own. Targets all have the same score, so theirs can follow the member,
/// which saves a third of the memory.
pub(super) fn text_apart(list: &ListName) -> bool {
    match list {
        ListName::Channels(_) | ListName::Waiting(_) => true,
        ListName::Targets(_) => false,
    }
}

/// A queue as the scripts read it: key, name, and the parks that would take it out of service.
pub(super) fn pack_queue(pack: &mut Pack, queue: &Queue, key: usize) {
    pack.array(4).index(key).str(&queue.to_string());
    if queue.lane == Lane::Timer {
        pack.str("").str("");
        return;
    }
    let [tenant, flow] = parks_of(queue);
    pack.str(&tenant).str(&flow);
}

fn last_of_each_list(moves: &[ListMove]) -> Vec<&ListMove> {
    let list = |change: &ListMove| match change {
        ListMove::Put { list, .. } | ListMove::Remove { list } => list.clone(),
    };
    let later = |at: usize| {
        moves[at + 1..]
            .iter()
            .any(|other| list(other) == list(&moves[at]))
    };
    (0..moves.len())
        .filter(|at| !later(*at))
        .map(|at| &moves[at])
        .collect()
}
