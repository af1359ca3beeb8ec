//! Writes items of one shard as a call of the commit script.

use std::collections::HashMap;

use super::{
    Core,
    batch::Entry,
    due_score,
    feed::event_text,
    keys::parks_of,
    pack::Pack,
    reading::revision_text,
    script::{COMMIT_OPEN, COMMIT_SETTLE, ScriptCall},
};
use crate::{
    domain::queue::{Lane, Queue},
    ports::records::{Change, Expect, Fence, Item, ListMove, ListName, Urgency},
};

/// Keys that every call has: `ready`, `asleep`, `parks`, `feed`, `fences`.
pub(super) const FIXED_KEYS: [&str; 5] = ["ready", "asleep", "parks", "feed", "fences"];

/// Writes a call that commits entries, those of a shard together; returns the queues of each shard in it.
pub(super) fn commit_call(
    core: &Core,
    sections: &[(usize, &[Entry])],
    urgency: Urgency,
    fence: Option<&Fence>,
) -> (ScriptCall, Vec<Vec<Queue>>) {
    let mut pack = Pack::default();
    pack_header(&mut pack, core, fence, sections.len());
    let mut call = ScriptCall::new(match urgency {
        Urgency::Open => &COMMIT_OPEN,
        Urgency::Settle => &COMMIT_SETTLE,
    });
    let mut queues = Vec::with_capacity(sections.len());
    for (shard, entries) in sections {
        let tables = Tables::new(core, *shard, call.keys.len());
        let (keys, touched) = tables.section(&mut pack, entries);
        call.keys.extend(keys);
        queues.push(touched);
    }
    (call.arg(pack.into_bytes()), queues)
}

/// Begins a batch of so many sections.
pub(super) fn pack_header(pack: &mut Pack, core: &Core, fence: Option<&Fence>, sections: usize) {
    let (name, epoch) = fence.map_or(("", 0), |fence| (fence.name.as_str(), fence.epoch));
    let events_max = core.options.feed_events_max / core.shards();
    pack.array(4)
        .str(name)
        .int(i64::try_from(epoch).unwrap_or(i64::MAX));
    pack.index(events_max.max(1)).array(sections);
}

/// The keys of a shard and the tables by which the items name them.
struct Tables<'a> {
    core: &'a Core,
    shard: usize,
    base: usize,
    keys: Vec<String>,
    key_index: HashMap<String, usize>,
    queues: Vec<(Queue, usize)>,
    lists: Vec<(usize, usize)>,
    counters: Vec<(usize, String)>,
}

impl<'a> Tables<'a> {
    fn new(core: &'a Core, shard: usize, base: usize) -> Self {
        let keys = FIXED_KEYS
            .iter()
            .map(|name| core.keys().own(shard, name))
            .collect();
        Self {
            core,
            shard,
            base,
            keys,
            key_index: HashMap::new(),
            queues: Vec::new(),
            lists: Vec::new(),
            counters: Vec::new(),
        }
    }

    /// Writes the section of this shard; returns its keys and queues.
    fn section(mut self, pack: &mut Pack, entries: &[Entry]) -> (Vec<String>, Vec<Queue>) {
        let mut items = Pack::default();
        items.array(entries.len());
        for entry in entries {
            self.pack_item(&mut items, entry);
        }
        pack.array(6)
            .index(self.base)
            .str(&self.core.keys().news(self.shard));
        pack.array(self.queues.len());
        for (queue, key) in &self.queues {
            pack_queue(pack, queue, *key);
        }
        pack.array(self.lists.len());
        for (members, texts) in &self.lists {
            pack.array(2).index(*members).index(*texts);
        }
        pack.array(self.counters.len());
        for (key, field) in &self.counters {
            pack.array(2).index(*key).str(field);
        }
        pack.append(items);
        let queues = self.queues.into_iter().map(|(queue, _)| queue);
        (self.keys, queues.collect())
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
        let key = self.key(self.core.counters_for(self.shard, &item.key.tenant));
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
    pack.array(4);
    write_queue(pack, queue, key);
}

/// The values of [`pack_queue`], as part of a longer array.
pub(super) fn write_queue(pack: &mut Pack, queue: &Queue, key: usize) {
    pack.index(key).str(&queue.to_string());
    if queue.lane == Lane::Timer {
        pack.str("").str("");
        return;
    }
    let [tenant, flow] = parks_of(queue);
    pack.str(&tenant).str(&flow);
}

pub(super) fn last_of_each_list(moves: &[ListMove]) -> Vec<&ListMove> {
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
