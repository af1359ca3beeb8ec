//! One frame of the log under construction: what is checked against the state as it is, and becomes true with the frame.

use std::fmt::Write as _;

use hashbrown::{HashMap, HashSet};
use tokio::time::Instant;

use super::{
    bytes::Put,
    clock::Moment,
    devices::Number,
    ops::{Key, Op, Place, Record},
    segment::FRAME_HEAD_BYTES,
    side::{Side, member_key},
    state::State,
};
use crate::{
    domain::{
        counter::Counter,
        event::Event,
        id::{DeviceKey, TenantId},
    },
    ports::records::{Change, Expect, Item, ListMove, ListName, Placement},
};

/// Events in one block of the feed.
const BLOCK_EVENTS_MAX: u32 = 256;
/// Bytes in front of the changes in a payload: the wall clock.
pub(super) const PAYLOAD_HEAD_BYTES: usize = 8;

/// What is found about an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Done,
    Conflict,
    LeaseLost,
    Listed,
}

/// A frame under construction.
pub(super) struct Batch {
    frame: Vec<u8>,
    touched: HashSet<u64>,
    names: HashSet<String>,
    counts: HashMap<(TenantId, Counter), i64>,
    events: HashMap<TenantId, Vec<Block>>,
    text: String,
    moment: Moment,
}

#[derive(Default)]
struct Block {
    count: u32,
    texts: Vec<u8>,
}

impl Batch {
    pub(super) fn new(moment: Moment) -> Self {
        Self {
            frame: empty_frame(),
            touched: HashSet::new(),
            names: HashSet::new(),
            counts: HashMap::new(),
            events: HashMap::new(),
            text: String::new(),
            moment,
        }
    }

    /// Begins the next frame.
    pub(super) fn clear(&mut self) {
        self.frame.truncate(FRAME_HEAD_BYTES + PAYLOAD_HEAD_BYTES);
        self.touched.clear();
        self.names.clear();
        self.counts.clear();
        self.events.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frame.len() == FRAME_HEAD_BYTES + PAYLOAD_HEAD_BYTES
            && self.counts.is_empty()
            && self.events.is_empty()
    }

    /// Bytes so far.
    pub(super) fn bytes(&self) -> usize {
        self.frame.len()
    }

    /// Keeps the newest look at the clocks.
    pub(super) fn note(&mut self, moment: Moment) {
        if moment.instant >= self.moment.instant {
            self.moment = moment;
        }
    }

    pub(super) fn instant(&self) -> Instant {
        self.moment.instant
    }

    /// Whether something of this frame is about a device already.
    pub(super) fn touches(&self, fingerprint: u64) -> bool {
        self.touched.contains(&fingerprint)
    }

    /// Whether something of this frame is about this name already; it is from now on.
    pub(super) fn touch_name(&mut self, name: &str) -> bool {
        !self.names.insert(name.to_owned())
    }

    /// Whether something of this frame is about this name already.
    pub(super) fn touches_name(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Adds a change that was checked.
    pub(super) fn add(&mut self, op: &Op<'_>) {
        op.write(&mut self.frame);
    }

    /// Gives direct access for changes that write themselves.
    pub(super) fn frame_mut(&mut self) -> &mut Vec<u8> {
        &mut self.frame
    }

    /// Adds an event of a tenant's feed.
    pub(super) fn tell(&mut self, tenant: &TenantId, event: &Event) {
        let blocks = self.events.entry(tenant.clone()).or_default();
        if blocks.last().is_none_or(|b| b.count == BLOCK_EVENTS_MAX) {
            blocks.push(Block::default());
        }
        let block = blocks.last_mut().expect("one was pushed if there was none");
        block.count += 1;
        block.texts.put_text(&event.to_json_text(tenant));
    }

    // === items ===

    /// Checks an item against the state and adds what it changes.
    pub(super) fn stage(
        &mut self,
        item: &Item,
        (fingerprint, number): (u64, Option<Number>),
        state: &State,
        side: &Side,
    ) -> fjall::Result<Verdict> {
        let key = key_of(&item.key);
        match check(item, number, state, side, self.moment.instant)? {
            Verdict::Done => {}
            refused @ (Verdict::Conflict | Verdict::LeaseLost | Verdict::Listed) => {
                return Ok(refused);
            }
        }
        self.touched.insert(fingerprint);
        self.add_change(item, key, number, state);
        for (place, list_move) in item.lists.iter().enumerate() {
            let list = list_of(list_move);
            if !item.lists[place + 1..]
                .iter()
                .any(|later| list_of(later) == list)
            {
                self.add_list_move(list_move, key);
            }
        }
        let tenant = &item.key.tenant;
        for (counter, by) in item.moves.iter() {
            *self
                .counts
                .entry((tenant.clone(), counter.clone()))
                .or_default() += by;
        }
        for event in &item.events {
            self.tell(tenant, event);
        }
        Ok(Verdict::Done)
    }

    fn add_change(&mut self, item: &Item, key: Key<'_>, number: Option<Number>, state: &State) {
        let Placement { from, to } = &item.placement;
        let held = number.is_some_and(|n| state.is_held(n, self.moment.instant));
        let settles = item.lease.is_some() || (from.is_some() && to.is_none());
        let stays = !settles && (held || (from.is_none() && to.is_none()));
        self.text.clear();
        let place = match to {
            _ if stays => number.and_then(|n| state.home(n)),
            None => None,
            Some(due) => {
                write!(self.text, "{}", due.queue).expect("a string takes everything");
                let due_ms = state.clock.due_ms(due.at);
                Some(Place {
                    queue: &self.text,
                    due_ms,
                })
            }
        };
        match &item.change {
            Change::Put(revision, bytes) => Op::Record(Record {
                key,
                revision: revision.0,
                place,
                settles,
                bytes,
                at: 0,
            })
            .write(&mut self.frame),
            Change::Delete if number.is_some() => Op::Delete(key).write(&mut self.frame),
            Change::Keep if number.is_some() && !stays => Op::Place {
                key,
                place,
                settles,
            }
            .write(&mut self.frame),
            Change::Delete | Change::Keep => {}
        }
    }

    fn add_list_move(&mut self, list_move: &ListMove, key: Key<'_>) {
        let list = list_text(list_of(list_move));
        let op = match list_move {
            ListMove::Put { score, text, .. } => Op::ListPut {
                tenant: key.tenant,
                list: &list,
                device: key.device,
                score: *score,
                text,
            },
            ListMove::Remove { .. } => Op::ListRemove {
                tenant: key.tenant,
                list: &list,
                device: key.device,
            },
        };
        op.write(&mut self.frame);
    }

    // === the end ===

    /// Adds the sums and the events, and hands out the frame, with its head still free.
    pub(super) fn finish(&mut self, state: &mut State) -> &mut Vec<u8> {
        let at_ms = state.clock.observe(self.moment);
        for ((tenant, counter), by) in self.counts.drain().filter(|(_, by)| *by != 0) {
            self.text.clear();
            write!(self.text, "{counter}").expect("a string takes everything");
            Op::Count {
                tenant: tenant.as_str(),
                name: &self.text,
                by,
            }
            .write(&mut self.frame);
        }
        for (tenant, blocks) in self.events.drain() {
            let mut first = state.feeds.get(&tenant).copied().unwrap_or_default().next;
            for block in blocks {
                Op::Events {
                    tenant: tenant.as_str(),
                    first,
                    count: block.count,
                    at_ms,
                    texts: &block.texts,
                }
                .write(&mut self.frame);
                first += u64::from(block.count);
            }
        }
        let wall = self.moment.wall_ms.to_le_bytes();
        self.frame[FRAME_HEAD_BYTES..][..PAYLOAD_HEAD_BYTES].copy_from_slice(&wall);
        &mut self.frame
    }

    /// The finished frame.
    pub(super) fn frame(&self) -> &[u8] {
        &self.frame
    }

    /// A frame that holds all small things of the state.
    pub(super) fn checkpoint(&self, state: &State) -> Vec<u8> {
        let mut frame = empty_frame();
        let wall = self.moment.wall_ms.to_le_bytes();
        frame[FRAME_HEAD_BYTES..].copy_from_slice(&wall);
        state.write_checkpoint(&mut frame);
        frame
    }
}

fn empty_frame() -> Vec<u8> {
    vec![0; FRAME_HEAD_BYTES + PAYLOAD_HEAD_BYTES]
}

fn check(
    item: &Item,
    number: Option<Number>,
    state: &State,
    side: &Side,
    now: Instant,
) -> fjall::Result<Verdict> {
    let revision = number.map(|n| state.devices.get(n).revision);
    let as_expected = match &item.expect {
        Expect::Absent => revision.is_none(),
        Expect::Revision(expected) => revision == Some(expected.0),
        Expect::NotListed(list) => {
            let key = key_of(&item.key);
            let member = member_key(key.tenant, &list_text(list), key.device);
            let listed = side.members.contains_key(member)?;
            return Ok(if listed {
                Verdict::Listed
            } else {
                Verdict::Done
            });
        }
    };
    if !as_expected {
        return Ok(Verdict::Conflict);
    }
    let held = |token| number.is_some_and(|n| state.is_held_by(n, token, now));
    match &item.lease {
        Some(lease) if !held(lease.token) => Ok(Verdict::LeaseLost),
        Some(_) | None => Ok(Verdict::Done),
    }
}

/// A device by its texts.
pub(super) fn key_of(key: &DeviceKey) -> Key<'_> {
    Key {
        tenant: key.tenant.as_str(),
        device: key.device.as_str(),
    }
}

fn list_of(list_move: &ListMove) -> &ListName {
    match list_move {
        ListMove::Put { list, .. } | ListMove::Remove { list } => list,
    }
}

/// A list as text.
pub(super) fn list_text(list: &ListName) -> String {
    match list {
        ListName::Channels(state) => format!("channels/{state}"),
        ListName::Waiting(campaign) => format!("waiting/{campaign}"),
        ListName::Targets(campaign) => format!("targets/{campaign}"),
    }
}
