//! Which queues are due: one view for all dispatchers, kept from what the store announces.
//!
//! The store is always right; this only says where it is worth asking. An entry that claims find exhausted is dropped until
//! the store announces it again or is asked anew, and no announcement that comes during a claim is lost. While one dispatcher
//! claims from a queue, the others leave it alone, unless it has shown to hold more than one claim takes.
//!
//! Queues are kept apart by app and lane, so that however many wait in one of these, the others are seen at once; where there are
//! more than a plan can look at, the plans go through them in turns.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use jiff::Timestamp;
use tokio::sync::Notify;

use crate::domain::queue::{Lane, Queue};

/// Queues of one app and lane looked at for one plan.
const OFFERS_MAX: usize = 512;

/// Where a queue belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which of the broker's apps.
    pub app: usize,
    /// The tenant's weight.
    pub share: u32,
}

/// A queue that is due.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The queue.
    pub queue: Arc<Queue>,
    /// Where it belongs.
    pub place: Place,
}

/// What a claim found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// As much as was asked for: there may be more.
    Full,
    /// All that was due.
    Exhausted,
}

/// The view.
pub struct ReadyView {
    inner: Mutex<Inner>,
    version: AtomicU64,
    bells: Vec<Arc<Notify>>,
    next_bell: AtomicUsize,
    stale: Notify,
}

#[derive(Default)]
struct Inner {
    entries: HashMap<Arc<Queue>, Entry>,
    groups: BTreeMap<(usize, Lane), Group>,
    announcements: u64,
    numbers: u64,
}

/// The queues of one app and lane.
#[derive(Default)]
struct Group {
    by_time: BTreeMap<Turn, Arc<Queue>>,
    /// The last one looked at, if not all could be.
    looked_at: Option<Turn>,
}

/// The time of a queue and its number, which tells it from others of the same time.
type Turn = (Timestamp, u64);

struct Entry {
    earliest: Timestamp,
    number: u64,
    place: Place,
    /// The announcement that set `earliest`.
    announced: u64,
    claims: u32,
    deep: bool,
}

/// A claim that is under way on a queue; ends when dropped, whatever becomes of it.
pub struct Claiming {
    view: Arc<ReadyView>,
    queue: Arc<Queue>,
    /// The last announcement when it began.
    since: u64,
    found: Option<Found>,
}

impl ReadyView {
    /// An empty view for so many dispatchers.
    #[must_use]
    pub fn new(dispatchers: usize) -> Arc<Self> {
        let bells = (0..dispatchers.max(1))
            .map(|_| Arc::new(Notify::new()))
            .collect();
        Arc::new(Self {
            inner: Mutex::default(),
            version: AtomicU64::new(0),
            bells,
            next_bell: AtomicUsize::new(0),
            stale: Notify::new(),
        })
    }

    /// What wakes dispatcher `number`.
    #[must_use]
    pub fn bell(&self, number: usize) -> Arc<Notify> {
        self.bells[number % self.bells.len()].clone()
    }

    /// Wakes every dispatcher.
    pub fn ring_all(&self) {
        for bell in &self.bells {
            bell.notify_one();
        }
    }

    /// Rises with each change.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The store announced that `queue` is first due at `earliest`. Wakes one dispatcher.
    pub fn announce(&self, queue: Queue, earliest: Timestamp, place: Place) {
        let mut inner = self.inner();
        inner.announcements += 1;
        let announced = inner.announcements;
        let queue = Arc::new(queue);
        inner.set(&queue, earliest, place, announced);
        drop(inner);
        self.version.fetch_add(1, Ordering::Release);
        let turn = self.next_bell.fetch_add(1, Ordering::Relaxed);
        self.bells[turn % self.bells.len()].notify_one();
    }

    /// Begins a new look at the store: give the answer to [`ReadyView::replace`].
    #[must_use]
    pub fn look(&self) -> u64 {
        self.inner().announcements
    }

    /// Replaces everything by what the store answered to a question asked at `look`, save what it announced since.
    pub fn replace(&self, look: u64, ready: Vec<(Queue, Timestamp, Place)>) {
        let mut inner = self.inner();
        let mut old = std::mem::take(&mut inner.entries);
        inner.groups.clear();
        for (queue, earliest, place) in ready {
            let queue = Arc::new(queue);
            inner.set(&queue, earliest, place, look);
        }
        for (queue, entry) in old.drain() {
            if entry.announced > look {
                inner.set(&queue, entry.earliest, entry.place, entry.announced);
            }
            if let Some(new) = inner.entries.get_mut(&queue) {
                (new.claims, new.deep) = (entry.claims, entry.deep);
            }
        }
        drop(inner);
        self.version.fetch_add(1, Ordering::Release);
        self.ring_all();
    }

    /// The queues of apps and lanes that are `wanted`, due at `now` and free to be claimed from, longest due first in each of
    /// these; and when the next one is due, of all apps.
    #[must_use]
    pub fn due(
        &self,
        now: Timestamp,
        mut wanted: impl FnMut(usize, Lane) -> bool,
    ) -> (Vec<Offer>, Option<Timestamp>) {
        let mut inner = self.inner();
        let Inner {
            entries, groups, ..
        } = &mut *inner;
        let (mut offers, mut next) = (Vec::new(), None::<Timestamp>);
        for ((app, lane), group) in groups {
            if wanted(*app, *lane) {
                group.offer(now, entries, &mut offers);
            }
            if let Some(at) = group.next(now) {
                next = Some(next.map_or(at, |next| next.min(at)));
            }
        }
        (offers, next)
    }

    /// Begins a claim on `queue`.
    #[must_use]
    pub fn claiming(self: &Arc<Self>, queue: &Arc<Queue>) -> Claiming {
        let mut inner = self.inner();
        let since = inner.announcements;
        if let Some(entry) = inner.entries.get_mut(queue) {
            entry.claims += 1;
        }
        Claiming {
            view: self.clone(),
            queue: queue.clone(),
            since,
            found: None,
        }
    }

    /// Waits until somebody has found a queue exhausted, so that its next time is not known.
    pub async fn stale(&self) {
        self.stale.notified().await;
    }

    fn end(&self, claiming: &Claiming) {
        let mut inner = self.inner();
        let Some(entry) = inner.entries.get_mut(&claiming.queue) else {
            return;
        };
        entry.claims = entry.claims.saturating_sub(1);
        let announced = entry.announced > claiming.since;
        let more = match claiming.found {
            Some(Found::Full) => {
                entry.deep = true;
                true
            }
            Some(Found::Exhausted) if !announced => {
                inner.forget(&claiming.queue);
                self.stale.notify_one();
                false
            }
            Some(Found::Exhausted) => {
                entry.deep = false;
                true
            }
            None => true,
        };
        drop(inner);
        self.version.fetch_add(1, Ordering::Release);
        if more {
            self.ring_all();
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn set(&mut self, queue: &Arc<Queue>, earliest: Timestamp, place: Place, announced: u64) {
        self.numbers += 1;
        let entry = match self.forget(queue) {
            None => Entry {
                earliest,
                number: self.numbers,
                place,
                announced,
                claims: 0,
                deep: false,
            },
            Some(known) => Entry {
                // What is known to be overdue stays so until a claim has looked.
                earliest: known.earliest.min(earliest),
                place,
                announced,
                ..known
            },
        };
        let group = self.groups.entry((place.app, queue.lane)).or_default();
        group.by_time.insert(entry.turn(), queue.clone());
        self.entries.insert(queue.clone(), entry);
    }

    fn forget(&mut self, queue: &Arc<Queue>) -> Option<Entry> {
        let entry = self.entries.remove(queue)?;
        let name = (entry.place.app, queue.lane);
        if let Some(group) = self.groups.get_mut(&name) {
            group.by_time.remove(&entry.turn());
            if group.by_time.is_empty() {
                self.groups.remove(&name);
            }
        }
        Some(entry)
    }
}

impl Entry {
    fn turn(&self) -> Turn {
        (self.earliest, self.number)
    }
}

impl Group {
    /// Offers what is due, from where the last look ended.
    fn offer(
        &mut self,
        now: Timestamp,
        entries: &HashMap<Arc<Queue>, Entry>,
        offers: &mut Vec<Offer>,
    ) {
        let from = self.looked_at.take();
        let rest = from.map_or(Bound::Unbounded, Bound::Excluded);
        let rest = self.by_time.range((rest, Bound::Unbounded));
        let before = from.map(|from| self.by_time.range(..=from));
        let due = |turn: &(&Turn, &Arc<Queue>)| turn.0.0 <= now;
        let turns = rest
            .take_while(due)
            .chain(before.into_iter().flatten().take_while(due));
        let (end, mut last) = (offers.len() + OFFERS_MAX, None);
        for (turn, queue) in turns {
            if offers.len() == end {
                self.looked_at = last;
                return;
            }
            last = Some(*turn);
            let Some(entry) = entries.get(queue) else {
                continue;
            };
            if entry.claims == 0 || entry.deep {
                offers.push(Offer {
                    queue: queue.clone(),
                    place: entry.place,
                });
            }
        }
    }

    /// When the next one is due.
    fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let later = (Bound::Excluded((now, u64::MAX)), Bound::Unbounded);
        let (turn, _) = self.by_time.range(later).next()?;
        Some(turn.0)
    }
}

impl Claiming {
    /// Notes what the claim found.
    pub fn found(mut self, found: Found) {
        self.found = Some(found);
    }

    /// The queue.
    #[must_use]
    pub fn queue(&self) -> &Queue {
        &self.queue
    }
}

impl Drop for Claiming {
    fn drop(&mut self) {
        self.view.end(self);
    }
}

#[cfg(test)]
mod tests;
