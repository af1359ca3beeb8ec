//! What the sandbox remembers of one device: a cache line of atomics, so that a million devices are 64 MB and need no lock.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use super::clock::Moment;

/// A fact about a device that is on or off.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(crate) enum Flag {
    /// It has a script of replies.
    Scripted = 1,
    /// It is online, whatever its share says.
    Online = 1 << 1,
    /// It is offline, whatever its share says.
    Offline = 1 << 2,
    /// Its return from offline is already planned.
    ReturnPlanned = 1 << 3,
    /// A check-in of it is already planned.
    CheckInPlanned = 1 << 4,
    /// Its dead channels answer 404 rather than 410.
    NotFound = 1 << 5,
    /// A poll that brings it a new channel is already planned.
    PollPlanned = 1 << 6,
}

/// The state of one device; all zero to begin with.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Device {
    flags: AtomicU32,
    renewals: AtomicU32,
    dead_through: AtomicU32,
    arrived: AtomicU32,
    accepted: AtomicU32,
    check_ins: AtomicU32,
    first: AtomicU64,
    last: AtomicU64,
    cached_until: AtomicU64,
    /// State of the channel ceiling.
    pub(crate) ceiling: AtomicU64,
}

/// The counts of one device at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeviceCounts {
    pub(crate) arrived: u32,
    pub(crate) accepted: u32,
    pub(crate) check_ins: u32,
    pub(crate) first: Option<Moment>,
    pub(crate) last: Option<Moment>,
}

impl Device {
    /// Counts a notification and returns how many came before it.
    pub(crate) fn arrive(&self, now: Moment) -> u32 {
        let before = self.arrived.fetch_add(1, Relaxed);
        if before == 0 {
            self.first.store(now.0, Relaxed);
        }
        self.last.fetch_max(now.0, Relaxed);
        before
    }

    pub(crate) fn accept(&self) {
        self.accepted.fetch_add(1, Relaxed);
    }

    /// Counts a check-in and returns how many came before it.
    pub(crate) fn check_in(&self) -> u32 {
        self.check_ins.fetch_add(1, Relaxed)
    }

    pub(crate) fn has(&self, flag: Flag) -> bool {
        self.flags.load(Relaxed) & flag as u32 != 0
    }

    /// Sets a flag and returns whether it was set before.
    pub(crate) fn set(&self, flag: Flag) -> bool {
        self.flags.fetch_or(flag as u32, Relaxed) & flag as u32 != 0
    }

    /// Clears a flag and returns whether it was set before.
    pub(crate) fn clear(&self, flag: Flag) -> bool {
        self.flags.fetch_and(!(flag as u32), Relaxed) & flag as u32 != 0
    }

    /// The generation of its newest channel: 1 for the first.
    pub(crate) fn generation(&self) -> u16 {
        let renewals = self.renewals.load(Relaxed);
        u16::try_from(renewals).unwrap_or(u16::MAX - 1) + 1
    }

    /// Gives the device a new channel, whose generation it returns; the older ones stay as they are.
    pub(crate) fn renew(&self) -> u16 {
        self.renewals.fetch_add(1, Relaxed);
        self.generation()
    }

    /// Whether a channel was declared dead by [`Device::kill`].
    pub(crate) fn is_killed(&self, generation: u16) -> bool {
        u32::from(generation) <= self.dead_through.load(Relaxed)
    }

    /// Declares all channels so far dead.
    pub(crate) fn kill(&self) {
        self.dead_through
            .store(u32::from(self.generation()), Relaxed);
    }

    /// Puts a notification into the one place that WNS keeps per channel; returns whether an older one was replaced.
    pub(crate) fn cache(&self, until: Moment) -> bool {
        self.cached_until.swap(until.0, Relaxed) != 0
    }

    /// Takes the cached notification, if there is one that is still valid.
    pub(crate) fn take_cached(&self, now: Moment) -> bool {
        self.cached_until.swap(0, Relaxed) > now.0
    }

    /// Whether a notification that is still valid waits for the device.
    pub(crate) fn has_cached(&self, now: Moment) -> bool {
        self.cached_until.load(Relaxed) > now.0
    }

    pub(crate) fn counts(&self) -> DeviceCounts {
        let moment = |at: &AtomicU64| Some(Moment(at.load(Relaxed))).filter(|moment| moment.0 != 0);
        DeviceCounts {
            arrived: self.arrived.load(Relaxed),
            accepted: self.accepted.load(Relaxed),
            check_ins: self.check_ins.load(Relaxed),
            first: moment(&self.first),
            last: moment(&self.last),
        }
    }

    /// Forgets everything but the counts and what is already planned: the device is as it was at the start.
    pub(crate) fn reset_state(&self) {
        let planned =
            Flag::ReturnPlanned as u32 | Flag::CheckInPlanned as u32 | Flag::PollPlanned as u32;
        self.flags.fetch_and(planned, Relaxed);
        self.renewals.store(0, Relaxed);
        self.dead_through.store(0, Relaxed);
        self.cached_until.store(0, Relaxed);
        self.ceiling.store(0, Relaxed);
    }

    /// Forgets the counts, nothing else.
    pub(crate) fn reset_counts(&self) {
        for count in [&self.arrived, &self.accepted, &self.check_ins] {
            count.store(0, Relaxed);
        }
        self.first.store(0, Relaxed);
        self.last.store(0, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_device_is_one_cache_line() {
        assert_eq!(size_of::<Device>(), 64);
    }

    #[test]
    fn one_notification_is_cached_and_taken_once() {
        let (device, now) = (Device::default(), Moment(5));
        assert!(!device.cache(now.after(Duration::from_secs(1))));
        assert!(device.cache(now.after(Duration::from_secs(60))));
        assert!(device.take_cached(now));
        assert!(!device.take_cached(now));
    }

    #[test]
    fn a_cached_notification_lapses_with_its_time_to_live() {
        let (device, now) = (Device::default(), Moment(5));
        device.cache(now.after(Duration::from_secs(1)));
        assert!(!device.take_cached(now.after(Duration::from_secs(1))));
    }

    #[test]
    fn killing_spares_the_channels_that_come_after() {
        let device = Device::default();
        assert_eq!(device.generation(), 1);
        device.kill();
        assert_eq!(device.renew(), 2);
        assert!(device.is_killed(1));
        assert!(!device.is_killed(2));
    }
}
