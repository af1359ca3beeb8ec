//! Claims what is due, a little ahead of the pace.

use std::{collections::HashMap, rc::Rc, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use super::{
    desk::Desk,
    policy::{Permits, Room, Share, plan},
    work::{Held, Sorted, sort},
};
use crate::{
    actors::{
        app::Allowance,
        broker::Broker,
        ready::{Claiming, Found, Place},
        sessions::Leave,
    },
    domain::{id::TenantId, queue::Queue, transition::Step},
    ports::{
        error::StoreError,
        queues::{Claimed, Want},
    },
    telemetry::TenantMetrics,
};

/// How far ahead of an app's pace its pushes are claimed, in seconds.
const AHEAD_SECONDS: f64 = 0.1;
/// Most that are claimed ahead for one app.
const AHEAD_MAX: usize = 512;

/// A part of a claim that is under way.
struct Part {
    claiming: Claiming,
    leave: Leave,
    place: Place,
}

/// Gives the dispatcher its turn to claim back, even if the claim panics.
struct Turn(Rc<Desk>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.claiming.set(false);
        self.0.ring();
    }
}

/// Begins a claim if there is room for more and something is due. Returns when to look again.
pub(super) fn claim(desk: &Rc<Desk>) -> Option<Instant> {
    if desk.draining.get() || desk.claiming.get() {
        return None;
    }
    if let Some(until) = desk.ill_until() {
        return Some(until);
    }
    let broker = &desk.broker;
    let version = broker.ready.version();
    if let Some(at) = desk.fruitless_until(version) {
        return Some(at);
    }
    let now = broker.clock.now();
    // Only of apps for which something waits: the others are many.
    let mut rooms: Vec<Option<Room>> = vec![None; broker.apps.len()];
    let (mut offers, next) = broker.ready.due(now, |app, lane| {
        let room = rooms[app].get_or_insert_with(|| room(desk, app, now));
        room.is_wanted(lane)
    });
    let next = next.map(|at| Instant::now() + until(now, at));
    offers.retain(|offer| broker.sessions.admits(&offer.queue));
    if offers.is_empty() {
        return next;
    }
    let rooms: Vec<Room> = rooms.into_iter().map(Option::unwrap_or_default).collect();
    let free = desk.permits.claims.available_permits();
    let reserved = desk.permits.claims_max * broker.settings.urgent_percent / 100;
    let permits = Permits { free, reserved };
    let shares = plan(
        &offers,
        &rooms,
        permits,
        &desk.fair.borrow(),
        desk.turns.get(),
    );
    let places: HashMap<&Arc<Queue>, Place> = offers.iter().map(|o| (&o.queue, o.place)).collect();
    let part = |share: &Share| {
        let place = *places.get(&share.queue)?;
        let leave = broker.sessions.leave(&share.queue, share.limit);
        (leave.left() > 0).then(|| Part {
            claiming: broker.ready.claiming(&share.queue),
            leave,
            place,
        })
    };
    let parts: Vec<Part> = shares.iter().filter_map(part).collect();
    let total: usize = parts.iter().map(|part| part.leave.left()).sum();
    let total = u32::try_from(total).unwrap_or(u32::MAX);
    if total == 0 {
        desk.plan_was_fruitless(version);
        return next;
    }
    if let Ok(granted) = desk.permits.claims.clone().try_acquire_many_owned(total) {
        desk.claiming.set(true);
        actix_rt::spawn(run(Turn(desk.clone()), parts, granted));
    }
    next
}

/// How many more pushes of an app are wanted.
fn room(desk: &Desk, index: usize, now: Timestamp) -> Room {
    let app = &desk.broker.apps[index];
    let (urgent, first, repush) = desk.waiting.borrow()[index].len();
    let ahead = match app.allowance(now) {
        Allowance::Free(_) => ahead(app.limiter.per_second(), desk.broker.settings.dispatchers),
        Allowance::Probe(_) => usize::from(urgent + first + repush == 0 && !app.probing()),
        Allowance::Shut(_) => 0,
    };
    // Claims cost less the more they take: while half is left there is no hurry.
    let wanted = |have: usize| {
        if have * 2 <= ahead {
            ahead.saturating_sub(have)
        } else {
            0
        }
    };
    Room {
        urgent: wanted(urgent),
        first: wanted(first),
        repush: wanted(first + repush),
        first_wait: first > 0,
    }
}

fn ahead(per_second: f64, dispatchers: usize) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a cast saturates, and the result is small"
    )]
    let ahead = (per_second * AHEAD_SECONDS / dispatchers.max(1) as f64).ceil() as usize;
    if per_second > 0.0 {
        ahead.clamp(1, AHEAD_MAX)
    } else {
        0
    }
}

async fn run(turn: Turn, parts: Vec<Part>, granted: OwnedSemaphorePermit) {
    let desk = &turn.0;
    let wants: Vec<Want> = parts
        .iter()
        .map(|part| Want {
            queue: part.claiming.queue().clone(),
            limit: part.leave.left(),
        })
        .collect();
    let asked = Instant::now();
    match desk.broker.store.claim(&wants).await {
        Ok(claimed) => {
            desk.store_well();
            let leaves = note_found(desk, parts, &claimed);
            take(desk, claimed, asked, (granted, leaves));
        }
        Err(error) => desk.store_ill(&error),
    }
}

/// By queue, what may be claimed of it.
type Leaves = HashMap<Queue, Leave>;

fn note_found(desk: &Desk, parts: Vec<Part>, claimed: &[Claimed]) -> Leaves {
    let mut counts: HashMap<&Queue, usize> = HashMap::new();
    for claim in claimed {
        *counts.entry(&claim.lease.queue).or_default() += 1;
    }
    let mut fair = desk.fair.borrow_mut();
    let mut leaves = Leaves::with_capacity(parts.len());
    for part in parts {
        let count = counts.get(part.claiming.queue()).copied().unwrap_or(0);
        if count > 0 {
            fair.charge(part.claiming.queue(), count, part.place.share);
        }
        let found = if count >= part.leave.left() {
            Found::Full
        } else {
            Found::Exhausted
        };
        leaves.insert(part.claiming.queue().clone(), part.leave);
        part.claiming.found(found);
    }
    leaves
}

fn take(
    desk: &Rc<Desk>,
    claimed: Vec<Claimed>,
    asked: Instant,
    (mut granted, mut leaves): (OwnedSemaphorePermit, Leaves),
) {
    let broker = &desk.broker;
    let now = broker.clock.now();
    let mut tenants = LastTenant(None);
    for claimed in claimed {
        let Some(permit) = granted.split(1) else {
            return;
        };
        let Some(app) = broker
            .roster
            .seat(&claimed.key.tenant)
            .and_then(|seat| seat.app)
        else {
            // The tenant has gone to another broker's app meanwhile: the lease ends by itself.
            continue;
        };
        let wave = broker.apps[app].in_wave();
        let device = claimed.key.device.clone();
        let step = Step {
            rules: &broker.rules,
            device: &device,
            now,
            jitter: 0.0,
        };
        let held = Held {
            _permit: permit,
            _leased: tenants.of(broker, &claimed.key.tenant).leased(),
            _session: leaves.get_mut(&claimed.lease.queue).and_then(Leave::take),
        };
        match sort(claimed, held, (&step, wave, asked), &desk.hosts) {
            Sorted::Send(lane, work) => desk.waiting.borrow_mut()[app].push(lane, work),
            Sorted::Commit(claim, job) => desk.settle(claim, job),
            Sorted::Damaged(error) => {
                let detail = format!("device {device}: {error}");
                broker.unreadable(&StoreError::Damaged { detail });
            }
        }
    }
}

/// The tenant of the last claim: claims of one queue come one after the other.
struct LastTenant(Option<Arc<TenantMetrics>>);

impl LastTenant {
    fn of(&mut self, broker: &Broker, tenant: &TenantId) -> &TenantMetrics {
        self.0.take_if(|known| known.tenant() != tenant);
        self.0
            .get_or_insert_with(|| broker.telemetry.tenant(tenant))
    }
}

fn until(now: Timestamp, at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO)
}
