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

impl Room {
    /// Whether pushes of this lane are wanted; timers always are.
    pub(super) fn is_wanted(&self, lane: Lane) -> bool {
        match lane {
            Lane::Urgent => self.urgent > 0,
            Lane::Normal | Lane::Bulk => self.first > 0,
            Lane::Repush => self.repush > 0,
            Lane::Timer => true,
        }
    }
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
    let mut due = by_app(offers, rooms.len(), fair);
    due.rotate_left(turn % rooms.len().max(1));
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
#[derive(Default)]
struct Due<'o> {
    urgent: Vec<&'o Offer>,
    first: Vec<&'o Offer>,
    repush: Vec<&'o Offer>,
}

/// Divides what is to be sent by app and kind, in the order of service: tenants that were served least, then normal before bulk,
/// then flows that were served least.
fn by_app<'o>(offers: &'o [Offer], apps: usize, fair: &Fair) -> Vec<(usize, Due<'o>)> {
    let mut ranked: Vec<(f64, Lane, f64, &Offer)> = offers
        .iter()
        .filter(|offer| offer.queue.lane != Lane::Timer)
        .map(|offer| {
            let (tenant, flow) = fair.rank(&offer.queue);
            (tenant, offer.queue.lane, flow, offer)
        })
        .collect();
    ranked.sort_by(|a, b| {
        let tenants = a.0.total_cmp(&b.0);
        tenants.then(a.1.cmp(&b.1)).then(a.2.total_cmp(&b.2))
    });
    let mut due: Vec<(usize, Due<'_>)> = (0..apps).map(|app| (app, Due::default())).collect();
    for (_, lane, _, offer) in ranked {
        let due = &mut due[offer.place.app].1;
        match lane {
            Lane::Urgent => due.urgent.push(offer),
            Lane::Normal | Lane::Bulk => due.first.push(offer),
            Lane::Repush => due.repush.push(offer),
            Lane::Timer => {}
        }
    }
    due
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
