//! How much the API takes on at once; what is beyond is refused before a body is read.
//!
//! Each bound holds for all callers together. Where there are several keys, none of them takes all of it: a key may hold three
//! times what is left free, so that slow or greedy callers always leave room for the others.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::problem::Problem;

/// Bytes of request bodies and of what is made of them that may be in work at once.
const BYTES_MAX: usize = 256 * 1024 * 1024;
/// What a body becomes while it is worked on, as a multiple of its length.
const GROWTH: usize = 3;
/// Live event streams at once.
const STREAMS_MAX: usize = 1024;
/// What one of several keys may hold, as a multiple of what is left free.
const KEY_PARTS: usize = 3;

/// Counts what is in work.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    requests: Arc<Budget>,
    bytes: Arc<Budget>,
    streams: Arc<Budget>,
}

/// A part of a budget, given back when dropped.
#[derive(Debug)]
pub(super) struct Permit {
    budget: Arc<Budget>,
    key: Arc<str>,
    amount: usize,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.give_back(&self.key, self.amount);
    }
}

impl Gate {
    /// A gate for so many requests at once; `fair` if there are several keys to share it.
    pub(super) fn new(requests_max: usize, fair: bool) -> Self {
        Self {
            requests: Budget::new(requests_max, fair),
            bytes: Budget::new(BYTES_MAX, fair),
            streams: Budget::new(STREAMS_MAX, fair),
        }
    }

    /// Takes on one request of the holder of `key`.
    pub(super) fn request(&self, key: &str) -> Result<Permit, Problem> {
        let permit = self.requests.take(key, 1);
        permit.ok_or_else(|| Problem::overloaded("as many requests as allowed are in work"))
    }

    /// Takes on a body, or a further part of one, of `bytes`.
    pub(super) fn body(&self, key: &str, bytes: usize) -> Result<Permit, Problem> {
        let amount = bytes.saturating_mul(GROWTH).clamp(1, BYTES_MAX);
        let permit = self.bytes.take(key, amount);
        permit.ok_or_else(|| Problem::overloaded("as many bytes as allowed are in work"))
    }

    /// Takes on one live stream of events.
    pub(super) fn stream(&self, key: &str) -> Result<Permit, Problem> {
        let permit = self.streams.take(key, 1);
        permit.ok_or_else(|| Problem::overloaded("as many live streams as allowed are open"))
    }
}

/// A bound that callers share.
#[derive(Debug)]
struct Budget {
    all: usize,
    fair: bool,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    sum: usize,
    /// Without those that hold nothing.
    by_key: HashMap<Arc<str>, usize>,
}

impl Budget {
    fn new(all: usize, fair: bool) -> Arc<Self> {
        Arc::new(Self {
            all,
            fair,
            held: Mutex::default(),
        })
    }

    fn take(self: &Arc<Self>, key: &str, amount: usize) -> Option<Permit> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let free = self.all.checked_sub(held.sum + amount)?;
        let known = held.by_key.get_key_value(key);
        let (key, mine) = known.map_or_else(|| (Arc::from(key), 0), |(k, n)| (Arc::clone(k), *n));
        // Whoever holds nothing gets a first part, however little is left.
        let allowed = !self.fair || mine == 0 || mine + amount <= free.saturating_mul(KEY_PARTS);
        if !allowed {
            return None;
        }
        held.sum += amount;
        held.by_key.insert(Arc::clone(&key), mine + amount);
        Some(Permit {
            budget: Arc::clone(self),
            key,
            amount,
        })
    }

    fn give_back(&self, key: &Arc<str>, amount: usize) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.sum -= amount;
        if let Some(mine) = held.by_key.get_mut(key) {
            *mine -= amount;
            if *mine == 0 {
                held.by_key.remove(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes parts of one until none is given.
    fn greedy(budget: &Arc<Budget>, key: &str) -> Vec<Permit> {
        std::iter::from_fn(|| budget.take(key, 1)).collect()
    }

    #[test]
    fn of_several_keys_none_takes_all_and_each_finds_something() {
        let budget = Budget::new(1_000, true);
        let held = ["a", "b", "c"].map(|key| greedy(&budget, key));
        assert_eq!(held.each_ref().map(Vec::len), [750, 187, 47]);
        assert!(budget.take("d", 1).is_some());
        assert!(budget.take("d", 17).is_none(), "the bound of all holds");
    }

    #[test]
    fn a_single_key_may_take_all_of_it() {
        let budget = Budget::new(1_000, false);
        assert_eq!(greedy(&budget, "-").len(), 1_000);
    }

    #[test]
    fn what_is_given_back_is_there_for_others_and_leaves_nothing_behind() {
        let budget = Budget::new(100, true);
        drop(greedy(&budget, "a"));
        assert_eq!(greedy(&budget, "b").len(), 75);
        let held = budget.held.lock().unwrap();
        assert_eq!((held.sum, held.by_key.len()), (0, 0));
    }

    #[test]
    fn the_first_body_of_a_key_may_be_as_long_as_there_is_room() {
        let gate = Gate::new(1, true);
        assert!(gate.request("a").is_ok());
        assert!(gate.body("a", usize::MAX).is_ok());
    }
}
