//! How much of a dispatcher each WNS host may take.
//!
//! A region that has died holds each request for the whole timeout, so it must not fill all permits. A host that answers may
//! have nearly all of them: with distance more has to be in flight. One that has been silent for a while, or whose last
//! answer was slow or none, is held to its part.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    time::Duration,
};

use tokio::time::Instant;

/// From so long without an answer on, or with answers so slow, a host is slow.
const SLOW: Duration = Duration::from_secs(2);
/// Part of the permits, in percent, that one host in good health may take.
const HEALTHY_PERCENT: usize = 75;
/// Shortest and longest time that a push to a slow host is put off.
const PUT_OFF_MIN: Duration = Duration::from_secs(1);
const PUT_OFF_MAX: Duration = Duration::from_secs(60);
/// Hosts remembered; WNS has a few dozen.
const HOSTS_MAX: usize = 1_024;

/// One host.
#[derive(Debug)]
pub(super) struct Host {
    /// Its name, with the port if there is one.
    pub(super) name: Box<str>,
    in_flight: Cell<usize>,
    heard: Cell<Instant>,
    slow: Cell<bool>,
    /// Until when the pushes that were put off last are put off.
    put_off: Cell<Instant>,
}

/// A request in flight to a host, until dropped.
#[derive(Debug)]
pub(super) struct InFlight(Rc<Host>);

/// All hosts of a dispatcher.
#[derive(Debug)]
pub(super) struct Hosts {
    healthy_max: usize,
    slow_max: usize,
    known: RefCell<HashMap<Box<str>, Rc<Host>>>,
}

impl Hosts {
    /// Hosts that share `permits`; a slow one may take `percent` of them.
    pub(super) fn new(permits: usize, percent: usize) -> Self {
        Self {
            healthy_max: (permits * HEALTHY_PERCENT.max(percent) / 100).max(1),
            slow_max: (permits * percent / 100).max(1),
            known: RefCell::default(),
        }
    }

    /// The host of this name.
    pub(super) fn get(&self, name: &str) -> Rc<Host> {
        let mut known = self.known.borrow_mut();
        if let Some(host) = known.get(name) {
            return host.clone();
        }
        if known.len() >= HOSTS_MAX {
            known.retain(|_, host| host.in_flight.get() > 0);
        }
        let host = Rc::new(Host {
            name: name.into(),
            in_flight: Cell::new(0),
            heard: Cell::new(Instant::now()),
            slow: Cell::new(false),
            put_off: Cell::new(Instant::now()),
        });
        known.insert(name.into(), host.clone());
        host
    }

    /// Whether one more request may go to `host`.
    pub(super) fn has_room(&self, host: &Host) -> bool {
        let max = if host.is_slow() {
            self.slow_max
        } else {
            self.healthy_max
        };
        host.in_flight.get() < max
    }

    /// After how long a push to a slow host is worth another look: its part serves those that were put off before. Long enough
    /// that they do not come and go all the time, and never so long that they miss its recovery.
    pub(super) fn put_off(&self, host: &Host) -> Duration {
        let now = Instant::now();
        let part = u32::try_from(self.slow_max).unwrap_or(u32::MAX);
        let turn = host.put_off.get().max(now + PUT_OFF_MIN) + SLOW / part;
        host.put_off.set(turn.min(now + PUT_OFF_MAX));
        host.put_off.get() - now
    }
}

impl Host {
    /// Counts a request.
    pub(super) fn enter(self: &Rc<Self>) -> InFlight {
        if self.in_flight.get() == 0 {
            self.heard.set(Instant::now());
        }
        self.in_flight.set(self.in_flight.get() + 1);
        InFlight(self.clone())
    }

    /// Whether it is held to its part.
    pub(super) fn is_slow(&self) -> bool {
        let silent = self.in_flight.get() > 0 && self.heard.get().elapsed() >= SLOW;
        silent || self.slow.get()
    }

    /// Notes an answer, or that there was none.
    pub(super) fn heard(&self, answered: bool, took: Duration) {
        self.slow.set(!answered || took >= SLOW);
        if answered {
            self.heard.set(Instant::now());
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(hosts: &Hosts, name: &str) -> Vec<InFlight> {
        let host = hosts.get(name);
        let mut entered = Vec::new();
        while hosts.has_room(&host) {
            entered.push(host.enter());
        }
        entered
    }

    #[tokio::test(start_paused = true)]
    async fn a_healthy_host_may_take_most_and_a_slow_one_its_part() {
        let hosts = Hosts::new(100, 25);
        assert_eq!(fill(&hosts, "a").len(), 75);
        hosts.get("a").heard(true, SLOW);
        assert_eq!(fill(&hosts, "a").len(), 25);
        hosts.get("a").heard(true, Duration::from_millis(50));
        assert_eq!(fill(&hosts, "a").len(), 75);
        hosts.get("a").heard(false, Duration::from_millis(1));
        assert_eq!(fill(&hosts, "a").len(), 25);
    }

    #[tokio::test(start_paused = true)]
    async fn pushes_to_a_slow_host_are_put_off_for_as_long_as_it_takes_and_a_minute_at_most() {
        let hosts = Hosts::new(16, 25);
        let host = hosts.get("a");
        let waits: Vec<u128> = (0..3).map(|_| hosts.put_off(&host).as_millis()).collect();
        assert_eq!(waits, [1_500, 2_000, 2_500]);
        let longest = (0..1_000).map(|_| hosts.put_off(&host)).max();
        assert_eq!(longest, Some(PUT_OFF_MAX));
        tokio::time::advance(PUT_OFF_MAX).await;
        assert_eq!(hosts.put_off(&host).as_millis(), 1_500);
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_falls_silent_gets_no_more() {
        let hosts = Hosts::new(100, 25);
        let entered: Vec<InFlight> = (0..30).map(|_| hosts.get("a").enter()).collect();
        assert!(hosts.has_room(&hosts.get("a")));
        tokio::time::sleep(SLOW).await;
        assert!(!hosts.has_room(&hosts.get("a")));
        assert!(hosts.has_room(&hosts.get("b")));
        drop(entered);
        assert!(hosts.has_room(&hosts.get("a")));
    }
}
