//! The claimed pushes of one app that wait for their moment on the wire: a tenth of a second's worth.

use std::collections::VecDeque;

use crate::{actors::limiter::Haste, domain::queue::Lane};

/// Every so many picks the others go before the urgent ones, and re-pushes before first ones.
const TENTH: u32 = 10;

/// Pushes that wait, by kind; `W` is a claimed push.
#[derive(Debug)]
pub(super) struct Waiting<W> {
    urgent: VecDeque<W>,
    first: VecDeque<W>,
    repush: VecDeque<W>,
    picks: u32,
}

impl<W> Default for Waiting<W> {
    fn default() -> Self {
        Self {
            urgent: VecDeque::new(),
            first: VecDeque::new(),
            repush: VecDeque::new(),
            picks: 0,
        }
    }
}

impl<W> Waiting<W> {
    /// Puts a push behind the others of its kind. Those of the timer lane are never sent, and belong nowhere here.
    pub(super) fn push(&mut self, lane: Lane, work: W) {
        self.queue(lane).push_back(work);
    }

    /// The kind that is next among those that may go: urgent, first and repeated ones.
    pub(super) fn next(&self, may: [bool; 3]) -> Option<Lane> {
        let tenth = self.picks % TENTH == TENTH - 1;
        let [urgent, first, repush] = may;
        let urgent = urgent && !self.urgent.is_empty();
        let first = first && !self.first.is_empty();
        let repush = repush && !self.repush.is_empty();
        let rest = match (first, repush) {
            (false, false) => None,
            (false, true) => Some(Lane::Repush),
            (true, true) if self.picks % (TENTH * TENTH) >= TENTH * (TENTH - 1) => {
                Some(Lane::Repush)
            }
            (true, _) => Some(Lane::Normal),
        };
        match (urgent, rest) {
            (false, rest) => rest,
            (true, Some(rest)) if tenth => Some(rest),
            (true, _) => Some(Lane::Urgent),
        }
    }

    /// How hastily the app needs its next leave to send: while urgent ones wait, they and their tenth go before other dispatchers'.
    pub(super) fn haste(&self) -> Haste {
        if self.urgent.is_empty() {
            Haste::Usual
        } else {
            Haste::Urgent
        }
    }

    /// The first push of a kind.
    pub(super) fn peek(&mut self, lane: Lane) -> Option<&mut W> {
        self.queue(lane).front_mut()
    }

    /// Takes the first push of a kind.
    pub(super) fn pop(&mut self, lane: Lane) -> Option<W> {
        self.picks = self.picks.wrapping_add(1);
        self.queue(lane).pop_front()
    }

    /// Takes the first push of a kind away, which is no pick.
    pub(super) fn withdraw(&mut self, lane: Lane) -> Option<W> {
        self.queue(lane).pop_front()
    }

    /// Puts the first push of a kind behind the others.
    pub(super) fn rotate(&mut self, lane: Lane) {
        let queue = self.queue(lane);
        if let Some(work) = queue.pop_front() {
            queue.push_back(work);
        }
    }

    /// Takes everything.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = W> {
        let urgent = self.urgent.drain(..);
        urgent
            .chain(self.first.drain(..))
            .chain(self.repush.drain(..))
    }

    /// How many wait: urgent, first and repeated.
    pub(super) fn len(&self) -> (usize, usize, usize) {
        (self.urgent.len(), self.first.len(), self.repush.len())
    }

    /// How many of a kind wait.
    pub(super) fn len_of(&mut self, lane: Lane) -> usize {
        self.queue(lane).len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == (0, 0, 0)
    }

    fn queue(&mut self, lane: Lane) -> &mut VecDeque<W> {
        match lane {
            Lane::Urgent => &mut self.urgent,
            Lane::Normal | Lane::Bulk => &mut self.first,
            Lane::Repush | Lane::Timer => &mut self.repush,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picks(waiting: &mut Waiting<u32>, n: usize) -> [usize; 3] {
        let mut counts = [0; 3];
        for _ in 0..n {
            let lane = waiting.next([true; 3]).unwrap();
            waiting.pop(lane);
            counts[match lane {
                Lane::Urgent => 0,
                Lane::Normal | Lane::Bulk => 1,
                Lane::Repush | Lane::Timer => 2,
            }] += 1;
        }
        counts
    }

    fn waiting(urgent: u32, first: u32, repush: u32) -> Waiting<u32> {
        let mut waiting = Waiting::default();
        for (lane, n) in [
            (Lane::Urgent, urgent),
            (Lane::Bulk, first),
            (Lane::Repush, repush),
        ] {
            (0..n).for_each(|work| waiting.push(lane, work));
        }
        waiting
    }

    #[test]
    fn urgent_ones_leave_a_tenth_for_the_others() {
        assert_eq!(picks(&mut waiting(1_000, 1_000, 0), 1_000), [900, 100, 0]);
    }

    #[test]
    fn first_ones_leave_a_tenth_for_repeated_ones() {
        assert_eq!(picks(&mut waiting(0, 1_000, 1_000), 1_000), [0, 900, 100]);
    }

    #[test]
    fn a_kind_that_may_not_go_leaves_its_turn_to_the_others() {
        assert_eq!(
            waiting(1, 1, 1).next([false, true, true]),
            Some(Lane::Normal)
        );
        assert_eq!(
            waiting(1, 1, 1).next([false, false, true]),
            Some(Lane::Repush)
        );
        assert_eq!(waiting(1, 1, 1).next([false; 3]), None);
    }

    #[test]
    fn what_waits_alone_is_next() {
        assert_eq!(picks(&mut waiting(0, 0, 3), 3), [0, 0, 3]);
        let urgent_only = [true, false, false];
        assert_eq!(waiting(0, 1, 1).next(urgent_only), None);
        assert_eq!(waiting(1, 1, 1).next(urgent_only), Some(Lane::Urgent));
    }
}
