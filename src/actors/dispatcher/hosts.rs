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
        });
        known.insert(name.into(), host.clone());
        host
    }

    /// Whether one more request may go to `host`.
    pub(super) fn has_room(&self, host: &Host) -> bool {
        let in_flight = host.in_flight.get();
        let silent = in_flight > 0 && host.heard.get().elapsed() >= SLOW;
        let max = if silent || host.slow.get() {
            self.slow_max
        } else {
            self.healthy_max
        };
        in_flight < max
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
