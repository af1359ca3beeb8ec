//! What the log adds up to, in memory: devices, due order, leases, counters and the other small things.
//!
//! [`State::apply`] is the only way that anything durable changes, live and at start. Claims change only what is not durable.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    bytes::Malformed,
    clock::{Moment, QueueClock},
    devices::{Devices, Location, Number},
    due::{DueOrder, QueueId},
    log::At,
    ops::{Key, Op, Place, Record},
    segment::Segment,
};
use crate::{
    domain::{
        id::{CampaignId, DeviceKey, TenantId},
        queue::Flow,
    },
    ports::queues::{LEASE, Selector},
};

/// Bits of a claim's token that count claims; those above count how often the store was opened.
const CLAIM_BITS: u32 = 40;

/// A claim on a device.
#[derive(Clone, Copy, Debug)]
struct Held {
    token: u64,
    until: Instant,
    /// Where its entry stands meanwhile.
    due_ms: i64,
}

/// A named lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) name: String,
    pub(super) epoch: u64,
    /// Not durable: after a restart every lease is free.
    pub(super) until: Option<Instant>,
}

/// The oldest event kept of a feed and the number of the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FeedEnds {
    pub(super) oldest: u64,
    pub(super) next: u64,
}

impl Default for FeedEnds {
    fn default() -> Self {
        Self { oldest: 1, next: 1 }
    }
}

/// A record to be fetched from the log.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) revision: u32,
    pub(super) segment: Arc<Segment>,
    pub(super) location: Location,
}

/// A claim before its record is fetched.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    pub(super) key: DeviceKey,
    pub(super) token: u64,
    pub(super) found: Found,
}

/// Everything in memory.
pub(super) struct State {
    pub(super) devices: Devices,
    pub(super) due: DueOrder,
    pub(super) clock: QueueClock,
    pub(super) counters: HashMap<TenantId, BTreeMap<String, i64>>,
    pub(super) fences: HashMap<String, u64>,
    pub(super) owners: HashMap<String, Owner>,
    pub(super) feeds: HashMap<TenantId, FeedEnds>,
    pub(super) segments: VecDeque<Arc<Segment>>,
    pub(super) opened: u64,
    leases: HashMap<Number, Held>,
    claims: u64,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            devices: Devices::default(),
            due: DueOrder::default(),
            clock: QueueClock::new(0, i64::MIN / 4),
            counters: HashMap::new(),
            fences: HashMap::new(),
            owners: HashMap::new(),
            feeds: HashMap::new(),
            segments: VecDeque::new(),
            opened: 0,
            leases: HashMap::new(),
            claims: 0,
        }
    }

    // === applying ===

    /// Applies one change; `at` is where its payload stands, `now` decides which leases are live.
    pub(super) fn apply(&mut self, op: &Op<'_>, at: At, now: Instant) -> Result<(), Malformed> {
        match *op {
            Op::Checkpoint => self.forget_small_things(),
            Op::Record(record) | Op::Moved(record) => self.put_record(&record, at, now)?,
            Op::Delete(key) => {
                if let Some(number) = self.devices.find(key) {
                    self.leave(number);
                    self.devices.remove(number);
                }
            }
            Op::Place {
                key,
                place,
                settles,
            } => {
                if let Some(number) = self.devices.find(key) {
                    self.put_place(number, place, settles, now)?;
                }
            }
            Op::Count { tenant, name, by } => self.count(tenant, name, by)?,
            Op::DropCounters { tenant, prefix } => {
                if let Some(counters) = self.counters.get_mut(tenant) {
                    counters.retain(|name, _| !name.starts_with(prefix));
                }
            }
            Op::Events {
                tenant,
                first,
                count,
                ..
            } => self.feed(tenant)?.next = first + u64::from(count),
            Op::FeedEnds {
                tenant,
                oldest,
                next,
            } => *self.feed(tenant)? = FeedEnds { oldest, next },
            Op::Fence { name, epoch } => {
                self.fences.insert(name.to_owned(), epoch);
            }
            Op::Lease { name, owner, epoch } => {
                let known = self.owners.get(name).filter(|o| o.epoch == epoch);
                let owner = Owner {
                    name: owner.to_owned(),
                    epoch,
                    until: known.and_then(|o| o.until),
                };
                self.owners.insert(name.to_owned(), owner);
            }
            Op::Park {
                tenant,
                flow,
                parked,
            } => {
                self.due.park(selector(tenant, flow)?, parked);
            }
            Op::Opened { times } => self.opened = times,
            Op::Correction { .. }
            | Op::ListPut { .. }
            | Op::ListRemove { .. }
            | Op::Document { .. }
            | Op::DocumentGone { .. } => {}
        }
        Ok(())
    }

    fn forget_small_things(&mut self) {
        self.counters.clear();
        self.fences.clear();
        self.owners.clear();
        self.feeds.clear();
        let parks: Vec<_> = self.due.parks().cloned().collect();
        for selector in parks {
            self.due.park(selector, false);
        }
    }

    fn put_record(&mut self, record: &Record<'_>, at: At, now: Instant) -> Result<(), Malformed> {
        let number = match self.devices.find(record.key) {
            Some(number) => number,
            None => self.devices.insert(record.key)?,
        };
        let offset = at.offset + record.at as u64;
        let location = Location {
            segment: at.segment,
            offset: u32::try_from(offset).map_err(|_| Malformed)?,
            length: u32::try_from(record.bytes.len()).map_err(|_| Malformed)?,
        };
        self.devices.relocate(number, location);
        self.devices.get_mut(number).revision = record.revision;
        self.put_place(number, record.place, record.settles, now)
    }

    fn put_place(
        &mut self,
        number: Number,
        place: Option<Place<'_>>,
        settles: bool,
        now: Instant,
    ) -> Result<(), Malformed> {
        if !settles && self.is_held(number, now) {
            return Ok(());
        }
        let from = self.entry(number);
        let to = match place {
            Some(place) => Some((self.due.intern(place.queue)?, place.due_ms)),
            None => None,
        };
        self.leases.remove(&number);
        let device = self.devices.get_mut(number);
        device.queue = to.map(|(queue, _)| queue);
        device.due_ms = to.map_or(0, |(_, due_ms)| due_ms);
        if from != to {
            self.due.shift(number, from, to);
        }
        Ok(())
    }

    fn leave(&mut self, number: Number) {
        let from = self.entry(number);
        self.leases.remove(&number);
        self.due.shift(number, from, None);
    }

    fn count(&mut self, tenant: &str, name: &str, by: i64) -> Result<(), Malformed> {
        if !self.counters.contains_key(tenant) {
            let tenant = TenantId::new(tenant).map_err(|_| Malformed)?;
            self.counters.insert(tenant, BTreeMap::new());
        }
        let counters = self.counters.get_mut(tenant).ok_or(Malformed)?;
        match counters.get_mut(name) {
            Some(value) => {
                *value += by;
                if *value == 0 {
                    counters.remove(name);
                }
            }
            None => {
                counters.insert(name.to_owned(), by);
            }
        }
        Ok(())
    }

    fn feed(&mut self, tenant: &str) -> Result<&mut FeedEnds, Malformed> {
        if !self.feeds.contains_key(tenant) {
            let tenant = TenantId::new(tenant).map_err(|_| Malformed)?;
            self.feeds.insert(tenant, FeedEnds::default());
        }
        self.feeds.get_mut(tenant).ok_or(Malformed)
    }

    // === leases and claims ===

    /// Where the entry of a device stands: at the end of its claim, or at its place.
    fn entry(&self, number: Number) -> Option<(QueueId, i64)> {
        let device = self.devices.get(number);
        let held = self.leases.get(&number);
        Some((device.queue?, held.map_or(device.due_ms, |h| h.due_ms)))
    }

    /// Whether somebody holds a live claim on the device.
    pub(super) fn is_held(&self, number: Number, now: Instant) -> bool {
        self.leases.get(&number).is_some_and(|h| h.until > now)
    }

    /// Whether this claim is live.
    pub(super) fn is_held_by(&self, number: Number, token: u64, now: Instant) -> bool {
        let held = self.leases.get(&number);
        held.is_some_and(|h| h.token == token && h.until > now)
    }

    /// Takes what is due of a queue.
    pub(super) fn claim(&mut self, queue: QueueId, limit: usize, moment: Moment) -> Vec<Taken> {
        let now_ms = self.clock.observe(moment);
        let mut taken = Vec::new();
        while taken.len() < limit && !self.due.is_parked(queue) {
            let Some((due_ms, number)) = self.due.first(queue).filter(|(ms, _)| *ms <= now_ms)
            else {
                break;
            };
            if let Some(held) = self
                .leases
                .get(&number)
                .filter(|h| h.until > moment.instant)
            {
                let left = held.until.saturating_duration_since(moment.instant);
                self.move_claim(number, (queue, due_ms), now_ms + milliseconds(left));
                continue;
            }
            self.claims += 1;
            let token = (self.opened << CLAIM_BITS) | self.claims;
            let until = moment.instant + LEASE;
            let ends_ms = now_ms + milliseconds(LEASE);
            self.leases.insert(
                number,
                Held {
                    token,
                    until,
                    due_ms,
                },
            );
            self.move_claim(number, (queue, due_ms), ends_ms);
            let found = self.found(number);
            let key = self.devices.key(number);
            taken.push(Taken { key, token, found });
        }
        taken
    }

    fn move_claim(&mut self, number: Number, from: (QueueId, i64), to_ms: i64) {
        if let Some(held) = self.leases.get_mut(&number) {
            held.due_ms = to_ms;
            self.due.shift(number, Some(from), Some((from.0, to_ms)));
        }
    }

    /// Gives a claim back; one that is not held any more is passed over.
    pub(super) fn hand_back(&mut self, key: Key<'_>, token: u64, due_ms: i64, now: Instant) {
        let Some(number) = self.devices.find(key) else {
            return;
        };
        if !self.is_held_by(number, token, now) {
            return;
        }
        let from = self.entry(number);
        self.leases.remove(&number);
        self.devices.get_mut(number).due_ms = due_ms;
        let to = from.map(|(queue, _)| (queue, due_ms));
        self.due.shift(number, from, to);
    }

    // === reading ===

    /// Where the record of a device stands.
    pub(super) fn found(&self, number: Number) -> Found {
        let device = self.devices.get(number);
        let first = self.segments.front().map_or(0, |s| s.number);
        let place = (device.location.segment - first) as usize;
        Found {
            revision: device.revision,
            segment: self.segments[place].clone(),
            location: device.location,
        }
    }

    /// The place of a device as the log has it.
    pub(super) fn home(&self, number: Number) -> Option<Place<'_>> {
        let device = self.devices.get(number);
        let queue = self.due.name(device.queue?);
        let due_ms = device.due_ms;
        Some(Place { queue, due_ms })
    }

    /// Writes everything small, so that older segments are not needed for it.
    pub(super) fn write_checkpoint(&self, out: &mut Vec<u8>) {
        Op::Checkpoint.write(out);
        let times = self.opened;
        Op::Opened { times }.write(out);
        let ms = self.clock.correction_ms();
        Op::Correction { ms }.write(out);
        for (name, epoch) in &self.fences {
            let epoch = *epoch;
            Op::Fence { name, epoch }.write(out);
        }
        for (name, owner) in &self.owners {
            let (epoch, owner) = (owner.epoch, owner.name.as_str());
            Op::Lease { name, owner, epoch }.write(out);
        }
        for (tenant, ends) in &self.feeds {
            let (tenant, FeedEnds { oldest, next }) = (tenant.as_str(), *ends);
            Op::FeedEnds {
                tenant,
                oldest,
                next,
            }
            .write(out);
        }
        for selector in self.due.parks() {
            write_park(selector, true, out);
        }
        for (tenant, counters) in &self.counters {
            let tenant = tenant.as_str();
            for (name, by) in counters {
                let by = *by;
                Op::Count { tenant, name, by }.write(out);
            }
        }
    }
}

/// Writes the parking of a selector.
pub(super) fn write_park(selector: &Selector, parked: bool, out: &mut Vec<u8>) {
    let flow = match &selector.flow {
        None => String::new(),
        Some(Flow::Direct) => "direct".to_owned(),
        Some(Flow::Campaign(id)) => format!("c/{id}"),
    };
    Op::Park {
        tenant: selector.tenant.as_str(),
        flow: &flow,
        parked,
    }
    .write(out);
}

fn selector(tenant: &str, flow: &str) -> Result<Selector, Malformed> {
    let flow = match (flow, flow.strip_prefix("c/")) {
        ("", _) => None,
        ("direct", _) => Some(Flow::Direct),
        (_, Some(id)) => Some(Flow::Campaign(CampaignId::new(id).map_err(|_| Malformed)?)),
        (_, None) => return Err(Malformed),
    };
    let tenant = TenantId::new(tenant).map_err(|_| Malformed)?;
    Ok(Selector { tenant, flow })
}

fn milliseconds(span: Duration) -> i64 {
    i64::try_from(span.as_millis())
        .unwrap_or(i64::MAX / 4)
        .max(1)
}
