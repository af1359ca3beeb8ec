//! What a commit does in one shard, gathered by key, as `whole.lua` reads it.

use std::mem;

use super::{
    Core, due_score,
    feed::event_text,
    pack::{Pack, Row},
    reading::{REVISION_BYTES, revision_text},
    script::ScriptCall,
    tables::{FIXED_KEYS, last_of_each_list, text_apart, write_queue},
};
use crate::{
    domain::{counter::Counter, id::TenantId, queue::Queue, record::Revision},
    ports::records::{Change, Expect, Item, Lease, ListMove, ListName},
};

/// The records of a tenant.
#[derive(Default)]
struct Records {
    key: usize,
    ids: Row,
    begins: Row,
    set: Row,
    values: Vec<Vec<u8>>,
    dropped: Row,
}

#[derive(Default)]
struct Moved {
    key: usize,
    held: Row,
    tokens: Row,
    free: Row,
    leave: Row,
    enter: Row,
    least: i64,
}

/// A list; `texts` is 0 where they follow the member.
#[derive(Default)]
struct Listed {
    key: usize,
    texts: usize,
    absent: Row,
    enter: Row,
    leave: Row,
    text_set: Row,
    text_dropped: Row,
    replaced: Row,
}

struct Events {
    key: usize,
    texts: Row,
}

/// What is done in a shard. Everything is named by its index among the keys, from 1.
pub(super) struct Section<'a> {
    core: &'a Core,
    shard: usize,
    keys: Vec<String>,
    records: Vec<(&'a TenantId, Records)>,
    queues: Vec<(&'a Queue, Moved)>,
    lists: Vec<((&'a TenantId, &'a ListName), Listed)>,
    counters: Vec<((&'a TenantId, &'a Counter), i64)>,
    events: Vec<(&'a TenantId, Events)>,
    ids: Row,
    least_token: Option<i64>,
}

/// The value under a name, made if there is none.
fn part<N: PartialEq, V>(parts: &mut Vec<(N, V)>, name: N, new: impl FnOnce() -> V) -> &mut V {
    let at = parts.iter().position(|(known, _)| *known == name);
    let at = at.unwrap_or_else(|| {
        parts.push((name, new()));
        parts.len() - 1
    });
    &mut parts[at].1
}

/// Adds a key; returns its index.
fn name(keys: &mut Vec<String>, key: String) -> usize {
    keys.push(key);
    keys.len()
}

impl<'a> Section<'a> {
    pub(super) fn new(core: &'a Core, shard: usize) -> Self {
        let fixed = FIXED_KEYS.iter().map(|name| core.keys().own(shard, name));
        Self {
            core,
            shard,
            keys: fixed.collect(),
            records: Vec::new(),
            queues: Vec::new(),
            lists: Vec::new(),
            counters: Vec::new(),
            events: Vec::new(),
            ids: Row::default(),
            least_token: None,
        }
    }

    pub(super) fn add(&mut self, item: &'a Item) {
        let (tenant, id) = (&item.key.tenant, item.key.device.as_str());
        self.ids.str(id);
        self.add_record(item, id);
        match &item.lease {
            Some(lease) => self.add_held(item, lease, id),
            None => self.add_free(item, id),
        }
        if let Some(due) = &item.placement.to {
            let score = due_score(due.at);
            let queue = self.queue(&due.queue);
            queue.least = match queue.enter.is_empty() {
                true => score,
                false => score.min(queue.least),
            };
            queue.enter.str(&score.to_string()).str(id);
        }
        for (counter, by) in item.moves.iter() {
            *part(&mut self.counters, (tenant, counter), || 0) += *by;
        }
        for change in last_of_each_list(&item.lists) {
            self.add_list(tenant, change, id, &item.expect);
        }
        if !item.events.is_empty() {
            self.add_events(item);
        }
    }

    /// A value of a device that nobody holds must not name a queue, since the caller knows of none. Who holds one proves by the lease
    /// that the record is as it was claimed.
    fn add_record(&mut self, item: &'a Item, id: &str) {
        if let Expect::NotListed(list) = &item.expect {
            self.list(&item.key.tenant, list).absent.str(id);
            return;
        }
        let (core, shard, keys) = (self.core, self.shard, &mut self.keys);
        let tenant = &item.key.tenant;
        let records = part(&mut self.records, tenant, || Records {
            key: name(keys, core.keys().devices(shard, tenant)),
            ..Records::default()
        });
        match (&item.expect, &item.lease) {
            (Expect::Revision(_), Some(_)) => {}
            (Expect::Revision(revision), None) => {
                records.ids.str(id);
                let revision = revision_text(*revision);
                records.begins.text(&[revision.as_bytes(), b"|"]);
            }
            (Expect::Absent | Expect::NotListed(_), _) => {
                records.ids.str(id);
                records.begins.str("");
            }
        }
        match &item.change {
            Change::Put(revision, bytes) => {
                records.set.str(id);
                records.values.push(value(*revision, bytes));
            }
            Change::Delete => {
                records.dropped.str(id);
            }
            Change::Keep => {}
        }
    }

    fn add_held(&mut self, item: &'a Item, lease: &'a Lease, id: &str) {
        let token = i64::try_from(lease.token).unwrap_or(0);
        self.least_token = Some(self.least_token.map_or(token, |least| least.min(token)));
        let queue = self.queue(&lease.queue);
        queue.held.str(id);
        queue.tokens.str(&token.to_string());
        if !stays(item, &lease.queue) {
            queue.leave.str(id);
        }
    }

    fn add_free(&mut self, item: &'a Item, id: &str) {
        let Some(from) = &item.placement.from else {
            return;
        };
        let moves = item.placement.to.is_some() && item.change != Change::Delete;
        let queue = self.queue(from);
        if moves {
            queue.free.str(id);
        }
        if !stays(item, from) {
            queue.leave.str(id);
        }
    }

    fn add_list(&mut self, tenant: &'a TenantId, change: &'a ListMove, id: &str, expect: &Expect) {
        let list = match change {
            ListMove::Put { list, .. } | ListMove::Remove { list } => list,
        };
        let new = matches!(expect, Expect::NotListed(absent) if absent == list);
        let listed = self.list(tenant, list);
        match change {
            ListMove::Put { score, text, .. } if listed.texts > 0 => {
                listed.enter.str(&score.to_string()).str(id);
                match text.as_str() {
                    "" => listed.text_dropped.str(id),
                    text => listed.text_set.str(id).str(text),
                };
            }
            ListMove::Put { score, text, .. } if new => {
                let member = [id.as_bytes(), b" ", text.as_bytes()];
                listed.enter.str(&score.to_string()).text(&member);
            }
            ListMove::Put { score, text, .. } => {
                listed.replaced.str(id).str(&score.to_string()).str(text);
            }
            ListMove::Remove { .. } if listed.texts > 0 => {
                listed.leave.str(id);
                listed.text_dropped.str(id);
            }
            ListMove::Remove { .. } => {
                listed.replaced.str(id).str("").str("");
            }
        }
    }

    fn add_events(&mut self, item: &'a Item) {
        let (core, shard, keys) = (self.core, self.shard, &mut self.keys);
        let tenant = &item.key.tenant;
        let events = part(&mut self.events, tenant, || Events {
            key: name(keys, core.keys().events(shard, tenant)),
            texts: Row::default(),
        });
        for event in &item.events {
            let text = event_text(event);
            events.texts.int(event.time.as_millisecond()).str(&text);
        }
    }

    fn queue(&mut self, queue: &'a Queue) -> &mut Moved {
        let (core, shard, keys) = (self.core, self.shard, &mut self.keys);
        part(&mut self.queues, queue, || Moved {
            key: name(keys, core.keys().queue(shard, queue)),
            ..Moved::default()
        })
    }

    fn list(&mut self, tenant: &'a TenantId, list: &'a ListName) -> &mut Listed {
        let (core, shard, keys) = (self.core, self.shard, &mut self.keys);
        part(&mut self.lists, (tenant, list), || Listed {
            key: name(keys, core.keys().list(shard, tenant, list)),
            texts: match text_apart(list) {
                true => name(keys, core.keys().list_texts(shard, tenant, list)),
                false => 0,
            },
            ..Listed::default()
        })
    }

    /// Writes it for keys that begin after those of the call, which gets its keys and values; returns the queues, in the order
    /// of the answer.
    pub(super) fn write(mut self, pack: &mut Pack, call: &mut ScriptCall) -> Vec<Queue> {
        let news = self.core.keys().news(self.shard);
        pack.array(11).index(call.keys.len()).str(&news);
        // The pack is the first argument, but comes when it is complete.
        let mut before = 1 + call.arguments.len();
        pack.array(self.records.len() * 5);
        let all = mem::take(&mut self.ids);
        for (_, records) in &mut self.records {
            pack.index(records.key)
                .row_or_all(&records.ids, &all)
                .row(&records.begins)
                .row_or_all(&records.set, &all)
                .index(before);
            before += records.values.len();
            call.arguments.append(&mut records.values);
        }
        let absent = self
            .lists
            .iter()
            .filter(|(_, list)| !list.absent.is_empty());
        pack.array(absent.clone().count() * 2);
        for (_, list) in absent {
            pack.index(list.key).row(&list.absent);
        }
        pack.int(self.least_token.unwrap_or(0));
        pack.array(self.queues.len());
        for (queue, moved) in &self.queues {
            pack.array(10);
            write_queue(pack, queue, moved.key);
            pack.row_or_all(&moved.held, &all).row(&moved.tokens);
            pack.row(&moved.free).row_or_all(&moved.leave, &all);
            pack.row(&moved.enter);
            pack.str(&moved.least.to_string());
        }
        self.write_commands(pack);
        self.write_counters(pack);
        pack.array(self.events.len() * 3);
        for (tenant, events) in &self.events {
            pack.index(events.key)
                .str(tenant.as_str())
                .row(&events.texts);
        }
        pack.row(&all);
        call.keys.append(&mut self.keys);
        let queues = self.queues.into_iter().map(|(queue, _)| queue.clone());
        queues.collect()
    }

    fn write_commands(&self, pack: &mut Pack) {
        let mut commands: Vec<(&str, usize, &Row)> = Vec::new();
        for (_, records) in &self.records {
            commands.push(("HDEL", records.key, &records.dropped));
        }
        for (_, list) in &self.lists {
            commands.push(("ZREM", list.key, &list.leave));
            commands.push(("ZADD", list.key, &list.enter));
            commands.push(("HDEL", list.texts, &list.text_dropped));
            commands.push(("HSET", list.texts, &list.text_set));
        }
        commands.retain(|(_, _, arguments)| !arguments.is_empty());
        pack.array(commands.len());
        for (name, key, arguments) in commands {
            pack.command(name, key, arguments);
        }
        let replaced = self.lists.iter().filter(|(_, l)| !l.replaced.is_empty());
        pack.array(replaced.clone().count() * 2);
        for (_, list) in replaced {
            pack.index(list.key).row(&list.replaced);
        }
    }

    fn write_counters(&mut self, pack: &mut Pack) {
        let mut tenants: Vec<(&TenantId, Row)> = Vec::new();
        for ((tenant, counter), by) in self.counters.iter().filter(|(_, by)| *by != 0) {
            let fields = part(&mut tenants, *tenant, Row::default);
            fields.str(&counter.to_string()).int(*by);
        }
        pack.array(tenants.len() * 3);
        for (tenant, fields) in &tenants {
            let key = self.core.counters_for(self.shard, tenant);
            let key = name(&mut self.keys, key);
            pack.index(key).str(tenant.as_str()).row(fields);
        }
    }
}

/// A record as it is kept.
fn value(revision: Revision, record: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(REVISION_BYTES + 1 + record.len());
    value.extend_from_slice(revision_text(revision).as_bytes());
    value.push(b'|');
    value.extend_from_slice(record);
    value
}

/// Whether the device waits in this queue afterwards.
fn stays(item: &Item, queue: &Queue) -> bool {
    let to = item.placement.to.as_ref();
    to.is_some_and(|due| due.queue == *queue)
}
