//! The due order: for each queue the numbers of its devices by due time, in memory, rebuilt at start.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    ops::Bound,
};

use super::{bytes::Malformed, devices::Number};
use crate::{
    domain::queue::{Lane, Queue},
    ports::queues::Selector,
};

/// A queue within this process. It fits beside a nothing, so that a device without a place costs no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct QueueId(std::num::NonZeroU32);

impl QueueId {
    fn at(place: usize) -> Self {
        let number = u32::try_from(place + 1)
            .ok()
            .and_then(std::num::NonZeroU32::new);
        Self(number.expect("there are fewer queues than devices"))
    }

    fn place(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// An entry: due time in queue time, device.
pub(super) type Entry = (i64, Number);

struct Waiting {
    queue: Queue,
    name: Box<str>,
    entries: BTreeSet<Entry>,
    parked: bool,
    woken: bool,
}

/// All queues that hold anything, and the parks.
#[derive(Default)]
pub(super) struct DueOrder {
    queues: Vec<Option<Waiting>>,
    free: Vec<usize>,
    by_name: HashMap<Box<str>, QueueId>,
    parks: HashSet<Selector>,
    woken: Vec<QueueId>,
}

impl DueOrder {
    /// The queue of this name, if it holds anything.
    pub(super) fn find(&self, queue: &Queue) -> Option<QueueId> {
        self.by_name.get(queue.to_string().as_str()).copied()
    }

    /// The queue of this name, made if it is not there. It goes with its last entry.
    pub(super) fn intern(&mut self, name: &str) -> Result<QueueId, Malformed> {
        if let Some(id) = self.by_name.get(name) {
            return Ok(*id);
        }
        let queue = name.parse::<Queue>().map_err(|_| Malformed)?;
        let waiting = Waiting {
            parked: is_parked(&self.parks, &queue),
            queue,
            name: name.into(),
            entries: BTreeSet::new(),
            woken: false,
        };
        let place = self.free.pop().unwrap_or_else(|| {
            self.queues.push(None);
            self.queues.len() - 1
        });
        self.queues[place] = Some(waiting);
        let id = QueueId::at(place);
        self.by_name.insert(name.into(), id);
        Ok(id)
    }

    fn waiting(&self, id: QueueId) -> &Waiting {
        let waiting = self.queues[id.place()].as_ref();
        waiting.expect("a queue lives as long as it has entries")
    }

    fn waiting_mut(&mut self, id: QueueId) -> &mut Waiting {
        let waiting = self.queues[id.place()].as_mut();
        waiting.expect("a queue lives as long as it has entries")
    }

    /// The name in the log.
    pub(super) fn name(&self, id: QueueId) -> &str {
        &self.waiting(id).name
    }

    pub(super) fn is_parked(&self, id: QueueId) -> bool {
        self.waiting(id).parked
    }

    /// The first entry.
    pub(super) fn first(&self, id: QueueId) -> Option<Entry> {
        self.waiting(id).entries.first().copied()
    }

    /// Moves a device from one place to another and notes whether that moved the new queue forward.
    pub(super) fn shift(
        &mut self,
        number: Number,
        from: Option<(QueueId, i64)>,
        to: Option<(QueueId, i64)>,
    ) {
        let before = to.and_then(|(id, _)| self.first(id));
        if let Some((id, due_ms)) = from {
            self.waiting_mut(id).entries.remove(&(due_ms, number));
        }
        if let Some((id, due_ms)) = to {
            let waiting = self.waiting_mut(id);
            waiting.entries.insert((due_ms, number));
            if before.is_none_or(|(first_ms, _)| due_ms < first_ms) && !waiting.woken {
                waiting.woken = true;
                self.woken.push(id);
            }
        }
        if let Some((id, _)) = from {
            self.drop_if_empty(id);
        }
    }

    fn drop_if_empty(&mut self, id: QueueId) {
        if self.waiting(id).entries.is_empty()
            && let Some(waiting) = self.queues[id.place()].take()
        {
            self.by_name.remove(&waiting.name);
            self.free.push(id.place());
        }
    }

    /// The queues that have moved forward since the last call, with their first due time; parked ones are left out.
    pub(super) fn take_woken(&mut self) -> Vec<(Queue, i64)> {
        let mut wakes = Vec::new();
        for id in std::mem::take(&mut self.woken) {
            let Some(waiting) = self.queues[id.place()].as_mut() else {
                continue;
            };
            let was_woken = std::mem::take(&mut waiting.woken);
            if let (true, false, Some((due_ms, _))) =
                (was_woken, waiting.parked, waiting.entries.first())
            {
                wakes.push((waiting.queue.clone(), *due_ms));
            }
        }
        wakes
    }

    /// Parks a selector or takes it back.
    pub(super) fn park(&mut self, selector: Selector, parked: bool) {
        if parked {
            self.parks.insert(selector);
        } else {
            self.parks.remove(&selector);
        }
        for place in 0..self.queues.len() {
            let Some(waiting) = self.queues[place].as_mut() else {
                continue;
            };
            let was_parked = waiting.parked;
            waiting.parked = is_parked(&self.parks, &waiting.queue);
            if was_parked && !waiting.parked && !waiting.woken {
                waiting.woken = true;
                self.woken.push(QueueId::at(place));
            }
        }
    }

    /// The selectors that are parked.
    pub(super) fn parks(&self) -> impl Iterator<Item = &Selector> {
        self.parks.iter()
    }

    /// Every queue with its first entry, size and whether it is parked.
    pub(super) fn census(&self) -> impl Iterator<Item = (&Queue, i64, u64, bool)> {
        self.queues.iter().flatten().filter_map(|w| {
            let (due_ms, _) = w.entries.first()?;
            Some((&w.queue, *due_ms, w.entries.len() as u64, w.parked))
        })
    }

    /// How many entries of a queue are due.
    pub(super) fn count_due(&self, id: QueueId, now_ms: i64) -> u64 {
        let entries = &self.waiting(id).entries;
        match entries.last() {
            Some((last, _)) if *last <= now_ms => entries.len() as u64,
            _ => entries.iter().take_while(|(at, _)| *at <= now_ms).count() as u64,
        }
    }

    /// The entries of a queue behind a place.
    pub(super) fn after(&self, id: QueueId, after: Bound<Entry>) -> impl Iterator<Item = Entry> {
        let entries = &self.waiting(id).entries;
        entries.range((after, Bound::Unbounded)).copied()
    }
}

fn is_parked(parks: &HashSet<Selector>, queue: &Queue) -> bool {
    if queue.lane == Lane::Timer || parks.is_empty() {
        return false;
    }
    let tenant = queue.tenant.clone();
    let whole = Selector { tenant, flow: None };
    let flow = Selector {
        flow: Some(queue.flow.clone()),
        ..whole.clone()
    };
    parks.contains(&whole) || parks.contains(&flow)
}
