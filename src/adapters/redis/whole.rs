//! Writes items as a call that applies the part of each shard whole, as one command of each kind, if all of it is as expected.
//!
//! Nearly all commits are of this kind. What is left alone goes to `commit.lua`, which judges item by item and costs Redis twice
//! as much.

use redis::Value;

use super::{
    Core,
    batch::Entry,
    errors::damaged,
    firsts::Firsts,
    pack::Pack,
    script::{ScriptCall, WHOLE_OPEN, WHOLE_SETTLE},
    section::Section,
    tables::{pack_header, text_apart},
};
use crate::{
    domain::queue::Queue,
    ports::{
        error::StoreError,
        records::{Change, Expect, Fence, Urgency},
    },
};

/// Whether an item can be part of such a call. One that keeps its record and still moves has to tell its queue there, and one
/// that was found to wait elsewhere has been looked at already.
pub(super) fn is_plain(entry: &Entry) -> bool {
    let item = &entry.item;
    let placed = item.placement.to.is_some();
    let bare = item.lease.is_none() && item.placement.from.is_none();
    match (&item.expect, &item.change) {
        _ if entry.waits_in.is_some() => false,
        (Expect::NotListed(list), change) => {
            *change == Change::Keep && bare && !placed && !text_apart(list)
        }
        (_, Change::Keep) => !placed,
        (_, Change::Put(..) | Change::Delete) => true,
    }
}

/// Writes a call that applies entries, those of a shard together; returns the queues of each shard in it.
pub(super) fn whole_call(
    core: &Core,
    sections: &[(usize, &[Entry])],
    urgency: Urgency,
    fence: Option<&Fence>,
) -> (ScriptCall, Vec<Vec<Queue>>) {
    let mut pack = Pack::default();
    pack_header(&mut pack, core, fence, sections.len());
    let mut call = ScriptCall::new(match urgency {
        Urgency::Open => &WHOLE_OPEN,
        Urgency::Settle => &WHOLE_SETTLE,
    });
    let mut queues = Vec::with_capacity(sections.len());
    for (shard, entries) in sections {
        let mut section = Section::new(core, *shard);
        for entry in *entries {
            section.add(&entry.item);
        }
        queues.push(section.write(&mut pack, &mut call));
    }
    call.arguments.insert(0, pack.into_bytes());
    (call, queues)
}

/// Whether the script's answer says that something was applied.
pub(super) fn applied_any(answer: &Value) -> bool {
    match answer {
        Value::Array(parts) => parts.iter().skip(1).any(|part| *part != Value::Nil),
        _ => false,
    }
}

/// What the script says of each of so many shards: what became of its queues, none if it was left alone.
pub(super) fn read_whole(answer: Value, shards: usize) -> Result<Vec<Option<Firsts>>, StoreError> {
    let strange = || damaged("a commit's answer is strange");
    let parts = match answer {
        Value::BulkString(fenced) if fenced == b"F" => return Err(StoreError::Fenced),
        Value::Array(parts) if parts.len() == 1 + shards => parts,
        _ => return Err(strange()),
    };
    let mut parts = parts.into_iter();
    let Some(Value::Int(now)) = parts.next() else {
        return Err(strange());
    };
    let firsts = parts.map(|part| match part {
        Value::Nil => Ok(None),
        part => {
            let signed = redis::from_redis_value(part).map_err(|_| strange())?;
            Ok(Some(Firsts::signed(now, signed)))
        }
    });
    firsts.collect()
}
