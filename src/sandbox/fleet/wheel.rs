//! What devices will do and when: a wheel of 10 ms slots, 16 bytes for an entry, each slot under a lock of its own.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{
        AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
};

use crate::sandbox::clock::Moment;

/// Width of a slot.
pub(crate) const TICK_NANOS: u64 = 10_000_000;
/// Slots; what lies further ahead than one turn stays for the next.
const SLOTS: usize = 4_096;

/// What a device will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Begin a session and report it.
    CheckIn,
    /// Come back from offline.
    Return,
    /// Find its channel dead, get a new one and report it in a session.
    Poll,
}

/// A deed of one device, no earlier than its moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) device: u32,
    pub(crate) app: u16,
    pub(crate) deed: Deed,
    pub(crate) at: Moment,
}

/// All that is planned. Any thread adds; one thread takes.
#[derive(Debug)]
pub(crate) struct Wheel {
    slots: Box<[Mutex<Vec<Due>>]>,
    /// The last tick that was taken; changes only under the lock of its slot.
    taken: AtomicU64,
    planned: AtomicU64,
}

impl Default for Wheel {
    fn default() -> Self {
        Self {
            slots: (0..SLOTS).map(|_| Mutex::default()).collect(),
            taken: AtomicU64::new(0),
            planned: AtomicU64::new(0),
        }
    }
}

impl Wheel {
    /// Adds a deed.
    pub(crate) fn plan(&self, due: Due) {
        self.planned.fetch_add(1, Relaxed);
        loop {
            let tick = (due.at.0 / TICK_NANOS).max(self.taken.load(Relaxed)) + 1;
            let mut slot = self.slot(tick);
            // Its slot may have been taken since: then the next one it is.
            if self.taken.load(Relaxed) < tick {
                slot.push(due);
                return;
            }
        }
    }

    /// Takes what is due, tick after tick, as long as `more` says so.
    pub(crate) fn take(
        &self,
        now: Moment,
        mut act: impl FnMut(Due),
        mut more: impl FnMut() -> bool,
    ) {
        let last = now.0 / TICK_NANOS;
        for tick in self.taken.load(Relaxed) + 1..=last {
            if !more() {
                return;
            }
            let mut slot = self.slot(tick);
            self.taken.store(tick, Relaxed);
            if slot.is_empty() {
                continue;
            }
            let (due, later): (Vec<_>, Vec<_>) = slot.drain(..).partition(|due| due.at <= now);
            *slot = later;
            drop(slot);
            due.into_iter().for_each(&mut act);
        }
    }

    /// Counts so many deeds that were taken as done.
    pub(crate) fn done(&self, deeds: usize) {
        self.planned.fetch_sub(deeds as u64, Release);
    }

    /// How many deeds are planned and not yet done.
    pub(crate) fn planned(&self) -> u64 {
        self.planned.load(Acquire)
    }

    fn slot(&self, tick: u64) -> MutexGuard<'_, Vec<Due>> {
        // What a panicking holder left behind is still a list of deeds.
        self.slots[tick as usize % SLOTS]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn due(device: u32, at: Moment) -> Due {
        Due {
            device,
            app: 0,
            deed: Deed::CheckIn,
            at,
        }
    }

    fn taken(wheel: &Wheel, now: Moment) -> Vec<u32> {
        let mut devices = Vec::new();
        wheel.take(now, |due| devices.push(due.device), || true);
        wheel.done(devices.len());
        devices
    }

    #[test]
    fn deeds_come_when_due_and_not_before_even_after_many_turns() {
        let (wheel, start) = (Wheel::default(), Moment(1));
        wheel.plan(due(1, start.after(Duration::from_millis(25))));
        wheel.plan(due(2, start.after(Duration::from_secs(300))));
        assert_eq!(
            taken(&wheel, start.after(Duration::from_millis(20))),
            [0_u32; 0]
        );
        assert_eq!(taken(&wheel, start.after(Duration::from_millis(40))), [1]);
        let mut seconds = Vec::new();
        for second in 1..400 {
            seconds.extend(
                taken(&wheel, start.after(Duration::from_secs(second)))
                    .into_iter()
                    .map(|_| second),
            );
        }
        assert_eq!(seconds, [301]);
        assert_eq!(wheel.planned(), 0);
    }

    #[test]
    fn a_deed_planned_for_a_moment_already_taken_comes_next() {
        let wheel = Wheel::default();
        let now = Moment(0).after(Duration::from_secs(10));
        assert_eq!(taken(&wheel, now).len(), 0);
        wheel.plan(due(7, Moment(1)));
        assert_eq!(taken(&wheel, now.after(Duration::from_millis(10))), [7]);
    }

    #[test]
    fn nothing_is_taken_while_there_is_no_room() {
        let wheel = Wheel::default();
        wheel.plan(due(1, Moment(1)));
        wheel.take(
            Moment(0).after(Duration::from_secs(1)),
            |_| unreachable!(),
            || false,
        );
        assert_eq!(wheel.planned(), 1);
        assert_eq!(taken(&wheel, Moment(0).after(Duration::from_secs(1))), [1]);
    }

    proptest! {
        #[test]
        fn every_deed_comes_exactly_once(delays in proptest::collection::vec(0..120_000_u64, 0..100)) {
            let wheel = Wheel::default();
            for (device, delay) in (0..).zip(&delays) {
                wheel.plan(due(device, Moment(1).after(Duration::from_millis(*delay))));
            }
            let mut seen = Vec::new();
            for step in 0..=130 {
                seen.extend(taken(&wheel, Moment(1).after(Duration::from_secs(step))));
            }
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..delays.len() as u32).collect::<Vec<_>>());
        }
    }
}
