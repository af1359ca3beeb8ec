//! The highest rate over any second, in steps of 10 ms, counted by each thread for itself.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::clock::Moment;

const STEP_NANOS: u64 = 10_000_000;
/// Steps in a second.
const STEPS: u64 = 100;
/// A power of two above [`STEPS`].
const CELLS: usize = 128;
/// A cell holds its step number above these bits and the count in them.
const COUNT_BITS: u32 = 24;

/// Requests of one thread by step; written by that thread only.
#[derive(Debug)]
pub(crate) struct RateRing {
    cells: [AtomicU64; CELLS],
    newest: AtomicU64,
}

impl Default for RateRing {
    fn default() -> Self {
        Self {
            cells: std::array::from_fn(|_| AtomicU64::new(0)),
            newest: AtomicU64::new(0),
        }
    }
}

impl RateRing {
    /// Counts a request; when it is the first of its step, hands the step before to `complete`, while its second can
    /// still be added up.
    pub(crate) fn record(&self, now: Moment, complete: impl FnOnce(u64)) {
        // Step 0 means an empty cell.
        let step = now.0 / STEP_NANOS + 1;
        let cell = &self.cells[step as usize % CELLS];
        let value = cell.load(Relaxed);
        if value >> COUNT_BITS == step {
            cell.store(value + 1, Relaxed);
            return;
        }
        let newest = self.newest.load(Relaxed);
        if newest != 0 {
            complete(newest);
        }
        self.newest.store(step, Relaxed);
        cell.store(step << COUNT_BITS | 1, Relaxed);
    }

    /// Requests in the second that ends with a step.
    pub(crate) fn second_to(&self, step: u64) -> u64 {
        let first = step.saturating_sub(STEPS - 1).max(1);
        (first..=step)
            .map(|step| {
                let value = self.cells[step as usize % CELLS].load(Relaxed);
                if value >> COUNT_BITS == step {
                    value & ((1 << COUNT_BITS) - 1)
                } else {
                    0
                }
            })
            .sum()
    }

    /// The newest step with a request.
    pub(crate) fn newest(&self) -> u64 {
        self.newest.load(Relaxed)
    }

    pub(crate) fn reset(&self) {
        for cell in &self.cells {
            cell.store(0, Relaxed);
        }
        self.newest.store(0, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_highest_second_is_found(waits in proptest::collection::vec(0..300_u64, 1..200)) {
            let ring = RateRing::default();
            let (mut step, mut steps, mut highest) = (0, Vec::new(), 0);
            for wait in waits {
                step += wait;
                steps.push(step + 1);
                ring.record(Moment(step * STEP_NANOS), |complete| highest = highest.max(ring.second_to(complete)));
            }
            highest = highest.max(ring.second_to(ring.newest()));
            let expected = steps.iter().map(|end| steps.iter().filter(|at| (end.saturating_sub(99)..=*end).contains(*at)).count()).max();
            prop_assert_eq!(Some(highest as usize), expected);
        }
    }
}
