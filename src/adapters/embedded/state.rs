//! What the log adds up to, in memory: devices, due order, leases, counters and the other small things.
//!
//! [`State::apply`] is the only way that anything durable changes, live and at start. Claims change only what is not durable.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use tokio::time::Instant;

use super::{
    bytes::Malformed,
    claims::Held,
    clock::QueueClock,
    devices::{Devices, Location, Number},
    due::DueOrder,
    log::At,
    ops::{Op, Place, Record},
    segment::Segment,
};
use crate::{
    domain::{
        id::{CampaignId, TenantId},
        queue::Flow,
    },
    ports::queues::Selector,
};

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
    pub(super) leases: HashMap<Number, Held>,
    pub(super) claims: u64,
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
            Op::ListPut { .. }
            | Op::ListRemove { .. }
            | Op::Document { .. }
            | Op::DocumentGone { .. } => {}
            Op::Checkpoint
            | Op::Count { .. }
            | Op::DropCounters { .. }
            | Op::Events { .. }
            | Op::FeedEnds { .. }
            | Op::Fence { .. }
            | Op::Lease { .. }
            | Op::Park { .. }
            | Op::Correction { .. }
            | Op::Opened { .. } => self.apply_small(op)?,
        }
        Ok(())
    }

    fn apply_small(&mut self, op: &Op<'_>) -> Result<(), Malformed> {
        match *op {
            Op::Checkpoint => self.forget_small_things(),
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
            | Op::Record(_)
            | Op::Moved(_)
            | Op::Delete(_)
            | Op::Place { .. }
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
