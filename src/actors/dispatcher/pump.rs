//! Puts claimed pushes on the wire: as many as permits, paces, hosts and the apps' state allow at this moment.

use std::{rc::Rc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use super::{
    desk::Desk,
    flight::{Flight, Seat, fly},
    waiting::Waiting,
    work::Work,
};
use crate::{
    actors::app::{Allowance, App},
    domain::{breaker::Pass, queue::Lane, schedule::later},
};

/// How many pushes of a kind are looked at for one whose host has room.
const LOOKS_MAX: usize = 8;
/// The kinds of pushes that wait.
const KINDS: [Lane; 3] = [Lane::Urgent, Lane::Normal, Lane::Repush];
/// Longest time that an urgent push to a slow host is put off.
const URGENT_PUT_OFF_MAX: Duration = Duration::from_secs(5);
/// When to look again whether hosts without room have become slow ones, if nothing ends before.
const HOSTS_LOOK: Duration = Duration::from_millis(250);
/// Least time between two turns that wait for the pace only; the pace lets a few start together.
const NAP_MIN: Duration = Duration::from_millis(2);

/// What became of trying to send one push of an app.
enum Tried {
    /// It is on its way, or given back: try the next one.
    Done,
    /// Nothing more can be sent for this app now; look again at this time, or when something has ended.
    Stop(Option<Instant>),
}

/// Sends what may be sent. Returns when the pace allows more.
pub(super) fn pump(desk: &Rc<Desk>) -> Option<Instant> {
    let apps = desk.broker.apps.len();
    let mut next: Option<Instant> = None;
    for n in 0..apps {
        let index = (n + desk.turns.get()) % apps;
        if desk.waiting.borrow()[index].is_empty() {
            continue;
        }
        loop {
            match try_one(desk, index) {
                Tried::Done => {}
                Tried::Stop(at) => {
                    next = [next, at].into_iter().flatten().min();
                    break;
                }
            }
        }
    }
    next
}

fn try_one(desk: &Rc<Desk>, index: usize) -> Tried {
    let app = &desk.broker.apps[index];
    let now = desk.broker.clock.now();
    let allowance = app.allowance(now);
    if desk.draining.get() || matches!(allowance, Allowance::Shut(_)) {
        give_all_back(desk, index);
        return Tried::Stop(None);
    }
    let mut waiting = desk.waiting.borrow_mut();
    let waiting = &mut waiting[index];
    let rooms = KINDS.map(|lane| find_host_with_room(desk, waiting, lane, now));
    for (lane, _) in KINDS.iter().zip(rooms).filter(|(_, room)| !room) {
        put_off_slow(desk, waiting, *lane, now);
    }
    let Some((lane, wire)) = seat(desk, waiting, rooms) else {
        return Tried::Stop((!rooms.contains(&true)).then(|| Instant::now() + HOSTS_LOOK));
    };
    if let Some(work) = out_of_time(waiting, lane, now) {
        let due = work.claim.due;
        desk.hand_back(work.claim, due);
        return Tried::Done;
    }
    let pass = waiting
        .peek(lane)
        .map_or(Pass::Free, |work| app.pass(&work.host.name));
    if let Pass::NotBefore(wait) = pass {
        desk.broker.telemetry.put_off(&app.metrics);
        give_back_until(desk, waiting.pop(lane), later_by(now, wait));
        return Tried::Done;
    }
    let (token, probe) = match allowance {
        Allowance::Free(token) => (token, false),
        Allowance::Probe(token) if app.take_probe() => (token, true),
        Allowance::Probe(_) | Allowance::Shut(_) => return Tried::Stop(None),
    };
    if let Err(wait) = app.limiter.take(waiting.haste()) {
        if probe {
            app.return_probe();
        }
        return Tried::Stop(Some(Instant::now() + wait.max(NAP_MIN)));
    }
    let Some(work) = waiting.pop(lane) else {
        return Tried::Stop(None);
    };
    if pass == Pass::Probe {
        app.probe_host(&work.host.name);
    }
    take_off(
        desk,
        work,
        (
            app,
            Flight {
                app: index,
                token,
                probe,
            },
        ),
        wire,
    );
    Tried::Done
}

fn take_off(
    desk: &Rc<Desk>,
    work: Work,
    (app, flight): (&App, Flight),
    wire: OwnedSemaphorePermit,
) {
    let seat = Seat {
        _wire: wire,
        _host: work.host.enter(),
        _app: desk.broker.telemetry.attempt_started(&app.metrics),
    };
    actix_rt::spawn(fly(desk.clone(), work, flight, seat));
}

/// The kind that is next and a permit for it: the last ones are for urgent pushes, and all while there are too many for this
/// arbiter.
fn seat(
    desk: &Desk,
    waiting: &Waiting<Work>,
    rooms: [bool; 3],
) -> Option<(Lane, OwnedSemaphorePermit)> {
    let settings = &desk.broker.settings;
    let reserved = settings.in_flight_max * settings.urgent_percent / 100;
    let urgent_only = desk.wire.available_permits() <= reserved || desk.crowded();
    let [urgent, first, repush] = rooms;
    let lane = waiting.next([urgent, first && !urgent_only, repush && !urgent_only])?;
    let wire = desk.wire.clone().try_acquire_owned().ok()?;
    Some((lane, wire))
}

fn out_of_time(waiting: &mut Waiting<Work>, lane: Lane, now: Timestamp) -> Option<Work> {
    let late = waiting.peek(lane).is_some_and(|work| work.is_late(now));
    late.then(|| waiting.pop(lane)).flatten()
}

/// Brings a push to the front whose host has room, or whose time is over, if there is one among the first. False only if there
/// are some and none of them can go.
fn find_host_with_room(
    desk: &Desk,
    waiting: &mut Waiting<Work>,
    lane: Lane,
    now: Timestamp,
) -> bool {
    let count = waiting.len_of(lane).min(LOOKS_MAX);
    for _ in 0..count {
        let goes = waiting
            .peek(lane)
            .is_some_and(|work| desk.hosts.has_room(&work.host) || work.is_late(now));
        if goes {
            return true;
        }
        waiting.rotate(lane);
    }
    count == 0
}

/// Gives pushes to slow hosts back that are in the way of others: the first half of those that were looked at. The other half
/// is there when the host has room.
fn put_off_slow(desk: &Desk, waiting: &mut Waiting<Work>, lane: Lane, now: Timestamp) {
    let count = waiting.len_of(lane).min(LOOKS_MAX).div_ceil(2);
    for _ in 0..count {
        let slow = waiting.peek(lane).is_some_and(|work| work.host.is_slow());
        let work = slow.then(|| waiting.withdraw(lane)).flatten();
        let Some(work) = work else {
            return;
        };
        let wait = desk.hosts.put_off(&work.host);
        let wait = match lane {
            Lane::Urgent => wait.min(URGENT_PUT_OFF_MAX),
            Lane::Normal | Lane::Bulk | Lane::Repush | Lane::Timer => wait,
        };
        give_back(desk, work, later_by(now, wait));
    }
}

/// Gives a push back until `at`, but no later than the end of its first ask.
fn give_back(desk: &Desk, work: Work, at: Timestamp) {
    let at = at.min(work.claim.first_end());
    desk.hand_back(work.claim, at);
}

fn give_back_until(desk: &Desk, work: Option<Work>, at: Timestamp) {
    if let Some(work) = work {
        // Spread, so that they do not all come back with the probe.
        let spread = SignedDuration::from_secs(5).mul_f64(rand::random());
        give_back(desk, work, later(at, spread));
    }
}

/// The app must not send: its pushes go back to where they were, and wait there.
fn give_all_back(desk: &Desk, index: usize) {
    let works: Vec<Work> = desk.waiting.borrow_mut()[index].drain().collect();
    for work in works {
        let due = work.claim.due;
        desk.hand_back(work.claim, due);
    }
}

fn later_by(now: Timestamp, wait: Duration) -> Timestamp {
    later(
        now,
        SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX),
    )
}
