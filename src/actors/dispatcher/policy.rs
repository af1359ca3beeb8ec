//! Whose turn it is: which due queues to claim from, and how much.
//!
//! Urgent pushes go first, for every tenant. All others are shared out among an app's tenants by their weights, and within a
//! tenant among its flows: whoever was served least is next, normal before bulk. Re-pushes get a tenth while first pushes
//! wait. What only has to be looked at, not sent, is bounded by permits alone. No tenant and no campaign can starve another,
//! save by urgency, and then a tenth of the room is left for the rest.

use std::{collections::HashMap, sync::Arc};

use crate::{
    actors::ready::Offer,
    domain::{
        id::TenantId,
        queue::{Flow, Lane, Queue},
    },
};

/// Most taken from one queue at once.
const QUEUE_MAX: usize = 256;
/// Queues over which the room of an app is spread at once.
const SPREAD: usize = 16;
/// Part of the room for re-pushes while first pushes wait, and for the rest beside urgent ones.
const TENTH: usize = 10;
/// Most that is claimed to be looked at only.
const TIMER_MAX: usize = 256;
/// Tenants and flows that are remembered; beyond, the account begins anew.
const ACCOUNTS_MAX: usize = 10_000;

/// How many pushes of one app are wanted now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Room {
    /// Urgent ones.
    pub urgent: usize,
    /// First notifications.
    pub first: usize,
    /// Repeated notifications, if no first ones wait.
    pub repush: usize,
    /// Whether first notifications wait already.
    pub first_wait: bool,
}

/// How much may be claimed in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Permits {
    /// Free ones.
    pub free: usize,
    /// Of these, kept for urgent pushes.
    pub reserved: usize,
}

/// A part of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Share {
    /// The queue to claim from.
    pub queue: Arc<Queue>,
    /// How much.
    pub limit: usize,
}

/// Who was served how much: start-time fair queueing over tenants, and over the flows of each.
#[derive(Debug, Default)]
pub(super) struct Fair {
    tenants: Account<TenantId>,
    flows: HashMap<TenantId, Account<Flow>>,
}

#[derive(Debug)]
struct Account<K> {
    /// The service that the one served last had had.
    now: f64,
    served: HashMap<K, f64>,
}

impl<K> Default for Account<K> {
    fn default() -> Self {
        Self {
            now: 0.0,
            served: HashMap::new(),
        }
    }
}

impl<K: std::hash::Hash + Eq + Clone> Account<K> {
    /// The service that `key` counts as having had: whoever was away does not save it up.
    fn of(&self, key: &K) -> f64 {
        self.served.get(key).copied().unwrap_or(0.0).max(self.now)
    }

    fn charge(&mut self, key: &K, service: f64) {
        if self.served.len() >= ACCOUNTS_MAX {
            *self = Self::default();
        }
        let start = self.of(key);
        self.now = start;
        self.served.insert(key.clone(), start + service);
    }
}

impl Fair {
    /// Notes that `count` pushes of `queue` were claimed by a tenant of this weight.
    pub(super) fn charge(&mut self, queue: &Queue, count: usize, weight: u32) {
        let service = f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        self.tenants
            .charge(&queue.tenant, service / f64::from(weight.max(1)));
        if self.flows.len() >= ACCOUNTS_MAX {
            self.flows.clear();
        }
        let flows = self.flows.entry(queue.tenant.clone()).or_default();
        flows.charge(&queue.flow, service);
    }

    /// Smaller is served sooner.
    fn rank(&self, queue: &Queue) -> (f64, f64) {
        let flow = self
            .flows
            .get(&queue.tenant)
            .map_or(0.0, |flows| flows.of(&queue.flow));
        (self.tenants.of(&queue.tenant), flow)
    }
}

/// Plans a claim: `rooms` by app, `turn` rotates which app is first when permits are short.
#[must_use]
pub(super) fn plan(
    offers: &[Offer],
    rooms: &[Room],
    permits: Permits,
    fair: &Fair,
    turn: usize,
) -> Vec<Share> {
    let mut plan = Vec::new();
    let mut free = permits.free;
    let timers: Vec<&Offer> = offers
        .iter()
        .filter(|o| o.queue.lane == Lane::Timer)
        .collect();
    // Looking is cheap, but must not take the room of sending.
    spread(&mut plan, &timers, TIMER_MAX.min(free / 4), &mut free);
    let apps = (0..rooms.len()).map(|n| (n + turn) % rooms.len());
    let due: Vec<(usize, Due<'_>)> = apps.map(|app| (app, Due::of(offers, app, fair))).collect();
    for (app, due) in &due {
        let wanted = rooms[*app].urgent;
        let others = !due.first.is_empty() || !due.repush.is_empty();
        let wanted = if others {
            wanted - wanted / TENTH
        } else {
            wanted
        };
        spread(&mut plan, &due.urgent, wanted, &mut free);
    }
    let mut free = free.saturating_sub(permits.reserved);
    for (app, due) in &due {
        let room = rooms[*app];
        spread(&mut plan, &due.first, room.first, &mut free);
        let behind = room.first_wait || !due.first.is_empty();
        let repush = if behind {
            room.repush.div_ceil(TENTH)
        } else {
            room.repush
        };
        spread(&mut plan, &due.repush, repush, &mut free);
    }
    plan
}

/// The due queues of one app, by kind, in the order of service.
struct Due<'o> {
    urgent: Vec<&'o Offer>,
    first: Vec<&'o Offer>,
    repush: Vec<&'o Offer>,
}

impl<'o> Due<'o> {
    fn of(offers: &'o [Offer], app: usize, fair: &Fair) -> Self {
        let sorted = |lanes: &[Lane]| {
            let mut found: Vec<&Offer> = offers
                .iter()
                .filter(|o| o.place.app == app && lanes.contains(&o.queue.lane))
                .collect();
            found.sort_by(|a, b| {
                let rank = |o: &Offer| (fair.rank(&o.queue), o.queue.lane);
                let ((a_rank, a_lane), (b_rank, b_lane)) = (rank(a), rank(b));
                let tenants = a_rank.0.total_cmp(&b_rank.0);
                tenants
                    .then(a_lane.cmp(&b_lane))
                    .then(a_rank.1.total_cmp(&b_rank.1))
            });
            found
        };
        Self {
            urgent: sorted(&[Lane::Urgent]),
            first: sorted(&[Lane::Normal, Lane::Bulk]),
            repush: sorted(&[Lane::Repush]),
        }
    }
}

/// Spreads `wanted` over the first of `due`, as far as permits reach.
fn spread(plan: &mut Vec<Share>, due: &[&Offer], wanted: usize, free: &mut usize) {
    let mut left = wanted.min(*free);
    let queues = due.len().min(SPREAD).min(left);
    if queues == 0 {
        return;
    }
    let each = left.div_ceil(queues).min(QUEUE_MAX);
    for offer in due.iter().take(queues) {
        let limit = each.min(left);
        if limit == 0 {
            return;
        }
        left -= limit;
        *free -= limit;
        plan.push(Share {
            queue: offer.queue.clone(),
            limit,
        });
    }
}

#[cfg(test)]
mod tests;
