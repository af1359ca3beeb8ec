//! Claims on what is due: not durable, so they are the only change that does not go through the log.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    clock::Moment,
    devices::Number,
    due::QueueId,
    ops::Key,
    state::{Found, State},
};
use crate::{domain::id::DeviceKey, ports::queues::LEASE};

/// Bits of a claim's token that count claims; those above count how often the store was opened.
const CLAIM_BITS: u32 = 40;

/// A claim on a device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    token: u64,
    until: Instant,
    /// Where its entry stands meanwhile.
    due_ms: i64,
}

/// A claim before its record is fetched.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    pub(super) key: DeviceKey,
    pub(super) token: u64,
    pub(super) found: Found,
}

impl State {
    /// Where the entry of a device stands: at the end of its claim, or at its place.
    pub(super) fn entry(&self, number: Number) -> Option<(QueueId, i64)> {
        let device = self.devices.get(number);
        let held = self.leases.get(&number);
        Some((device.queue?, held.map_or(device.due_ms, |h| h.due_ms)))
    }

    /// Whether somebody holds a live claim on the device.
    pub(super) fn is_held(&self, number: Number, now: Instant) -> bool {
        self.leases.get(&number).is_some_and(|h| h.until > now)
    }

    /// Whether this claim is live.
    pub(super) fn is_held_by(&self, number: Number, token: u64, now: Instant) -> bool {
        let held = self.leases.get(&number);
        held.is_some_and(|h| h.token == token && h.until > now)
    }

    /// Takes what is due of a queue.
    pub(super) fn claim(&mut self, queue: QueueId, limit: usize, moment: Moment) -> Vec<Taken> {
        let now_ms = self.clock.observe(moment);
        let mut taken = Vec::new();
        while taken.len() < limit && !self.due.is_parked(queue) {
            let Some((due_ms, number)) = self.due.first(queue).filter(|(ms, _)| *ms <= now_ms)
            else {
                break;
            };
            if let Some(held) = self
                .leases
                .get(&number)
                .filter(|h| h.until > moment.instant)
            {
                let left = held.until.saturating_duration_since(moment.instant);
                self.move_claim(number, (queue, due_ms), now_ms + milliseconds(left));
                continue;
            }
            self.claims += 1;
            let token = (self.opened << CLAIM_BITS) | self.claims;
            let until = moment.instant + LEASE;
            let ends_ms = now_ms + milliseconds(LEASE);
            self.leases.insert(
                number,
                Held {
                    token,
                    until,
                    due_ms,
                },
            );
            self.move_claim(number, (queue, due_ms), ends_ms);
            let found = self.found(number);
            let key = self.devices.key(number);
            taken.push(Taken { key, token, found });
        }
        taken
    }

    fn move_claim(&mut self, number: Number, from: (QueueId, i64), to_ms: i64) {
        if let Some(held) = self.leases.get_mut(&number) {
            held.due_ms = to_ms;
            self.due.shift(number, Some(from), Some((from.0, to_ms)));
        }
    }

    /// Gives a claim back; one that is not held any more is passed over.
    pub(super) fn hand_back(&mut self, key: Key<'_>, token: u64, due_ms: i64, now: Instant) {
        let Some(number) = self.devices.find(key) else {
            return;
        };
        if !self.is_held_by(number, token, now) {
            return;
        }
        let from = self.entry(number);
        self.leases.remove(&number);
        self.devices.get_mut(number).due_ms = due_ms;
        let to = from.map(|(queue, _)| (queue, due_ms));
        self.due.shift(number, from, to);
    }
}

fn milliseconds(span: Duration) -> i64 {
    i64::try_from(span.as_millis())
        .unwrap_or(i64::MAX / 4)
        .max(1)
}
