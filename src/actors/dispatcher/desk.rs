//! The state of one dispatcher, and the turn that it does whenever something has happened.
//!
//! A turn never waits: it puts on the wire what may go, claims when little is left, and commits what has come back. All that
//! waits are tasks of their own, each holding its permits; when one ends it rings the bell for the next turn.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::{Notify, Semaphore},
    time::Instant,
};

use super::{
    claim,
    hosts::Hosts,
    policy::Fair,
    pump,
    settle::{self, HandBack, Settled},
    waiting::Waiting,
    work::{Claim, Job, Work},
};
use crate::{
    actors::broker::Broker,
    ports::{error::StoreError, wns::Wns},
};

/// Most claims committed together.
const BATCH_MAX: usize = 256;
/// How long a settled claim waits for others to be committed with. Nobody waits for it, and a commit costs as much as many items.
const BATCH_WAIT: Duration = Duration::from_millis(10);
/// Most commits at the same time.
const COMMITS_MAX: usize = 4;
/// Longest time without a turn.
const IDLE_MAX: Duration = Duration::from_secs(1);
/// Least time between two plans when the first gave nothing to claim and nothing has become due since.
const PLAN_GAP: Duration = Duration::from_millis(2);
/// Waits after a failure of the store: the first, doubling to the longest.
const ILL_MIN: Duration = Duration::from_millis(100);
const ILL_MAX: Duration = Duration::from_secs(5);
/// Wait before what a part of the store did not take is tried again, while the other parts go on.
const PUT_OFF: Duration = Duration::from_secs(1);

/// How late a turn may be before the arbiter has more to do than it can: an urgent push waits for several such turns.
const LATE_MIN: Duration = Duration::from_millis(2);
/// So many on the wire are always allowed, however late the turns are: the machine may be busy with something else.
const CROWD_MIN: usize = 32;

/// Claims that may wait before and after the wire at least, however few may be on it: they come and go in batches.
const AROUND_MIN: usize = 1024;

/// The permits of one dispatcher; they outlive its panics, so that the bounds hold.
#[derive(Clone, Debug)]
pub struct Permits {
    /// For claims, from the store and back.
    pub claims: Arc<Semaphore>,
    /// For requests on the wire.
    pub wire: Arc<Semaphore>,
    /// How many claims there are in all.
    pub claims_max: usize,
}

impl Permits {
    /// Permits for so many requests in flight, and as many claims again, or a thousand, that wait before and after.
    #[must_use]
    pub fn new(in_flight_max: usize) -> Self {
        let claims_max = in_flight_max + in_flight_max.max(AROUND_MIN);
        Self {
            claims: Arc::new(Semaphore::new(claims_max)),
            wire: Arc::new(Semaphore::new(in_flight_max)),
            claims_max,
        }
    }
}

pub(super) struct Desk {
    pub(super) broker: Arc<Broker>,
    pub(super) wns: Rc<dyn Wns>,
    pub(super) permits: Permits,
    pub(super) wire: Arc<Semaphore>,
    /// Set when the broker ends: nothing new is claimed or sent.
    pub(super) draining: Cell<bool>,
    pub(super) hosts: Hosts,
    pub(super) fair: RefCell<Fair>,
    /// By app.
    pub(super) waiting: RefCell<Vec<Waiting<Work>>>,
    /// Rotates which app is first.
    pub(super) turns: Cell<usize>,
    /// Whether a claim is under way.
    pub(super) claiming: Cell<bool>,
    bell: Arc<Notify>,
    /// When somebody here rang for the next turn, and whether the last one came late.
    rung_at: Cell<Option<Instant>>,
    late: Cell<bool>,
    settled: RefCell<Vec<Settled>>,
    settled_since: Cell<Option<Instant>>,
    /// What a part of the store did not take, and when to try it again.
    put_off: RefCell<Vec<Settled>>,
    put_off_until: Cell<Option<Instant>>,
    handed: RefCell<Vec<HandBack>>,
    commits: Cell<usize>,
    /// When a plan gave nothing to claim, and the version of the view it was made of.
    fruitless: Cell<Option<(Instant, u64)>>,
    failures: Cell<u32>,
    ill_until: Cell<Option<Instant>>,
}

impl Desk {
    pub(super) fn new(
        broker: Arc<Broker>,
        wns: Rc<dyn Wns>,
        permits: Permits,
        bell: Arc<Notify>,
    ) -> Rc<Self> {
        let settings = &broker.settings;
        let waiting = broker.apps.iter().map(|_| Waiting::default()).collect();
        Rc::new(Self {
            wns,
            wire: permits.wire.clone(),
            draining: Cell::new(false),
            hosts: Hosts::new(settings.in_flight_max, settings.host_percent),
            fair: RefCell::default(),
            waiting: RefCell::new(waiting),
            turns: Cell::new(0),
            claiming: Cell::new(false),
            bell,
            rung_at: Cell::new(None),
            late: Cell::new(false),
            settled: RefCell::default(),
            settled_since: Cell::new(None),
            put_off: RefCell::default(),
            put_off_until: Cell::new(None),
            handed: RefCell::default(),
            commits: Cell::new(0),
            fruitless: Cell::new(None),
            failures: Cell::new(0),
            ill_until: Cell::new(None),
            permits,
            broker,
        })
    }

    /// Does what can be done now. Returns when to look again at the latest, if nobody rings before.
    pub(super) fn turn(self: &Rc<Self>) -> Instant {
        self.turns.set(self.turns.get().wrapping_add(1));
        let rung_at = self.rung_at.take();
        self.late
            .set(rung_at.is_some_and(|at| at.elapsed() >= LATE_MIN));
        let mut next = Instant::now() + IDLE_MAX;
        let mut sooner = |at: Option<Instant>| next = at.map_or(next, |at| next.min(at));
        sooner(pump::pump(self));
        sooner(claim::claim(self));
        sooner(self.flush());
        next
    }

    pub(super) async fn rung(&self) {
        self.bell.notified().await;
    }

    pub(super) fn ring(&self) {
        if self.rung_at.get().is_none() {
            self.rung_at.set(Some(Instant::now()));
        }
        self.bell.notify_one();
    }

    /// Whether the store failed just now, and when it is tried again.
    pub(super) fn ill_until(&self) -> Option<Instant> {
        self.ill_until.get().filter(|until| *until > Instant::now())
    }

    /// Until when it is not worth planning again, if the view is still of this version.
    pub(super) fn fruitless_until(&self, version: u64) -> Option<Instant> {
        let (at, seen) = self.fruitless.get()?;
        let until = at + PLAN_GAP;
        (seen == version && Instant::now() < until).then_some(until)
    }

    pub(super) fn plan_was_fruitless(&self, version: u64) {
        self.fruitless.set(Some((Instant::now(), version)));
    }

    pub(super) fn store_well(&self) {
        self.failures.set(0);
        self.ill_until.set(None);
    }

    pub(super) fn store_ill(&self, error: &StoreError) {
        let failures = self.failures.get();
        self.failures.set(failures.saturating_add(1));
        let asked = match error {
            StoreError::Unavailable { retry_after, .. } => retry_after.unwrap_or(Duration::ZERO),
            StoreError::Full { .. } | StoreError::Damaged { .. } | StoreError::Fenced => {
                Duration::ZERO
            }
        };
        let wait = ILL_MIN.saturating_mul(1 << failures.min(10)).min(ILL_MAX);
        self.ill_until.set(Some(Instant::now() + wait.max(asked)));
    }

    /// Takes up what is to be committed for a claim.
    pub(super) fn settle(&self, claim: Claim, job: Job) {
        self.settled.borrow_mut().push(Settled { claim, job });
        if self.settled_since.get().is_none() {
            self.settled_since.set(Some(Instant::now()));
        }
        self.ring();
    }

    /// Takes back what the store did not take.
    pub(super) fn settle_again(&self, batch: Vec<Settled>) {
        self.settled.borrow_mut().splice(0..0, batch);
        self.settled_since.set(Some(Instant::now()));
    }

    /// Takes back what a part of the store did not take. Nothing else waits for it.
    pub(super) fn put_off(&self, batch: Vec<Settled>) {
        self.put_off.borrow_mut().extend(batch);
        if self.put_off_until.get().is_none() {
            self.put_off_until.set(Some(Instant::now() + PUT_OFF));
        }
    }

    fn take_up_put_off(&self) {
        if self
            .put_off_until
            .get()
            .is_some_and(|at| at <= Instant::now())
        {
            self.put_off_until.set(None);
            self.settled
                .borrow_mut()
                .append(&mut self.put_off.borrow_mut());
            self.settled_since.set(Some(Instant::now()));
        }
    }

    /// Commits each of a batch for itself: one of them cannot be committed and must not hold up the others.
    pub(super) fn settle_apart(self: &Rc<Self>, batch: Vec<Settled>) {
        for settled in batch {
            self.begin_commit(vec![settled]);
        }
    }

    pub(super) fn commit_ended(&self) {
        self.commits.set(self.commits.get() - 1);
        self.ring();
    }

    /// Gives a claim back, due again at `at`.
    pub(super) fn hand_back(&self, claim: Claim, at: Timestamp) {
        self.handed.borrow_mut().push(HandBack { claim, at });
        self.ring();
    }

    fn flush(self: &Rc<Self>) -> Option<Instant> {
        let handed = std::mem::take(&mut *self.handed.borrow_mut());
        if !handed.is_empty() {
            actix_rt::spawn(settle::hand_back(self.clone(), handed));
        }
        if let Some(until) = self.ill_until() {
            return Some(until);
        }
        self.take_up_put_off();
        let next = [self.flush_settled(), self.put_off_until.get()];
        next.into_iter().flatten().min()
    }

    fn flush_settled(self: &Rc<Self>) -> Option<Instant> {
        let since = self.settled_since.get()?;
        loop {
            let mut settled = self.settled.borrow_mut();
            let full = settled.len() >= BATCH_MAX;
            let ripe = full || since.elapsed() >= BATCH_WAIT || self.is_idle();
            if settled.is_empty() {
                self.settled_since.set(None);
                return None;
            }
            if !ripe {
                return Some(since + BATCH_WAIT);
            }
            if self.commits.get() >= COMMITS_MAX {
                // The end of one of them rings.
                return None;
            }
            let count = settled.len().min(BATCH_MAX);
            let batch = settled.drain(..count).collect();
            drop(settled);
            self.begin_commit(batch);
        }
    }

    fn begin_commit(self: &Rc<Self>, batch: Vec<Settled>) {
        self.commits.set(self.commits.get() + 1);
        actix_rt::spawn(settle::commit(self.clone(), batch));
    }

    /// Whether more on the wire would only wait for this arbiter, and urgent pushes behind it.
    pub(super) fn crowded(&self) -> bool {
        self.late.get() && self.on_the_wire() >= CROWD_MIN
    }

    fn on_the_wire(&self) -> usize {
        let max = self.broker.settings.in_flight_max;
        max.saturating_sub(self.wire.available_permits())
    }

    /// Whether nothing is on the wire that could be committed together with what has come back.
    fn is_idle(&self) -> bool {
        self.on_the_wire() == 0
    }
}
