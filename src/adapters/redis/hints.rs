//! What the shards have said of late about their queues: where a claim looks first.
//!
//! Hints are never answers: they only choose which shards to ask. They come from announcements, from the answers of scripts and
//! from sweeps, and may be late; a queue about which they know nothing is looked up in every shard.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::reckoning::Reckoning;
use crate::domain::queue::Queue;

/// Nothing known to be in a shard.
const NEVER: i64 = i64::MAX;
/// What is said to be older than something known by more than this is news all the same: a clock was set back.
const STEP_MICROS: i64 = 5_000_000;
/// How far ahead of the expected time of a server something counts as due, so that no claim comes too early for good.
const SLACK_MICROS: i64 = 2_000;
/// How far the expected time may be behind; a shard whose first lies within it is asked rather than none.
const DOUBT_MICROS: i64 = 1_000_000;
/// Least time between two searches of all shards for one queue.
const SEARCH_INTERVAL: Duration = Duration::from_millis(100);

/// Part of a claim: how much to take of which want.
pub(super) struct Share {
    pub(super) want: usize,
    pub(super) limit: usize,
}

/// A queue of which more is wanted.
pub(super) struct Open<'a> {
    pub(super) want: usize,
    pub(super) queue: &'a Queue,
    pub(super) left: usize,
    pub(super) asked: &'a [usize],
}

/// See the module.
pub(super) struct Hints {
    shards: usize,
    inner: Mutex<Inner>,
}

/// The first score of a queue in a shard, and when the shard said so.
#[derive(Clone, Copy)]
struct First {
    score: i64,
    as_of: i64,
}

/// Nothing is known.
const UNKNOWN: First = First {
    score: NEVER,
    as_of: 0,
};

struct Inner {
    firsts: HashMap<Queue, Vec<First>>,
    /// One for each server's worth of shards: one in all, in a cluster one a shard.
    clocks: Vec<Reckoning>,
    searched: HashMap<Queue, Instant>,
}

impl Hints {
    /// Of shards with one clock in all, or one each.
    pub(super) fn new(shards: usize, clocks: usize) -> Self {
        let inner = Inner {
            firsts: HashMap::new(),
            clocks: vec![Reckoning::default(); clocks],
            searched: HashMap::new(),
        };
        Self {
            shards,
            inner: Mutex::new(inner),
        }
    }

    /// Notes what a shard said at `as_of` is the first score of a queue, 0 for none.
    pub(super) fn tell(&self, shard: usize, queue: &Queue, first_micros: i64, as_of: i64) {
        let _before = self
            .lock()
            .set(self.shards, shard, queue, (first_micros, as_of));
    }

    /// Notes all that a shard said at `as_of`: a queue that it did not name holds nothing.
    pub(super) fn replace(&self, shard: usize, queues: &[(Queue, i64)], as_of: i64) {
        let mut inner = self.lock();
        let named: HashSet<&Queue> = queues.iter().map(|(queue, _)| queue).collect();
        let known = inner.firsts.keys().filter(|queue| !named.contains(queue));
        let emptied: Vec<Queue> = known.cloned().collect();
        for queue in &emptied {
            let _before = inner.set(self.shards, shard, queue, (0, as_of));
        }
        for (queue, first) in queues {
            let _before = inner.set(self.shards, shard, queue, (*first, as_of));
        }
    }

    /// Notes that a queue's first score in a shard has moved forward; whether the queue is due earlier for it, as far as its shards
    /// are not `away`. False when it has been said before, or when the shard has said something since.
    pub(super) fn moved(
        &self,
        shard: usize,
        queue: &Queue,
        (first_micros, as_of): (i64, i64),
        away: impl Fn(usize) -> bool,
    ) -> bool {
        let mut inner = self.lock();
        let said = inner.set(self.shards, shard, queue, (first_micros, as_of));
        let firsts = inner.firsts.get(queue).into_iter().flatten().enumerate();
        let mut earlier = firsts.filter(|(_, first)| first.score <= first_micros);
        said.is_some() && earlier.all(|(other, _)| other == shard || away(other))
    }

    /// Notes a first score that was come across; whether it should have been told before.
    pub(super) fn found(&self, shard: usize, queue: &Queue, first_micros: i64, as_of: i64) -> bool {
        let before = self
            .lock()
            .set(self.shards, shard, queue, (first_micros, as_of));
        before.is_some_and(|before| first_micros < before.own.min(before.others))
    }

    /// Forgets what is known of a shard.
    pub(super) fn forget(&self, shard: usize) {
        self.lock().firsts.retain(|_, firsts| {
            firsts[shard] = UNKNOWN;
            firsts.iter().any(|first| first.score != NEVER)
        });
    }

    /// Notes what a shard's server took for the time in the answer to a question sent at `asked`.
    pub(super) fn clock(&self, shard: usize, micros: i64, asked: Instant) {
        self.lock().clock_of(shard).answered(micros, asked);
    }

    /// Whether anything at all is thought to be in the queue; if not, whether it is time to search for it.
    pub(super) fn should_search(&self, queue: &Queue) -> bool {
        let mut inner = self.lock();
        if inner.firsts.contains_key(queue) {
            return false;
        }
        let now = Instant::now();
        inner
            .searched
            .retain(|_, at| now.duration_since(*at) < SEARCH_INTERVAL);
        if inner.searched.contains_key(queue) {
            return false;
        }
        inner.searched.insert(queue.clone(), now);
        true
    }

    /// Divides what is wanted among the shards where most is overdue, at most `width` for each queue and none that is `away`.
    /// Where nothing seems to be due yet and nobody was asked, it is the one that comes next, if that is soon: so the server has
    /// said it when a claim comes back empty.
    pub(super) fn plan(
        &self,
        open: &[Open<'_>],
        width: usize,
        away: impl Fn(usize) -> bool,
    ) -> HashMap<usize, Vec<Share>> {
        let inner = self.lock();
        let mut plan: HashMap<usize, Vec<Share>> = HashMap::new();
        for want in open {
            let Some(firsts) = inner.firsts.get(want.queue) else {
                continue;
            };
            let within = |shard: usize, ahead: i64| {
                firsts[shard].score <= inner.now(shard).saturating_add(ahead)
            };
            let mut shards: Vec<usize> = (0..self.shards).collect();
            shards.retain(|shard| {
                within(*shard, DOUBT_MICROS) && !want.asked.contains(shard) && !away(*shard)
            });
            shards.sort_by_key(|shard| firsts[*shard].score);
            let next = shards.first().copied();
            shards.retain(|shard| within(*shard, SLACK_MICROS));
            if shards.is_empty() && want.asked.is_empty() {
                shards.extend(next);
            }
            shards.truncate(width.min(want.left));
            let count = shards.len();
            for (i, shard) in shards.into_iter().enumerate() {
                let limit = want.left / count + usize::from(i < want.left % count);
                plan.entry(shard).or_default().push(Share {
                    want: want.want,
                    limit,
                });
            }
        }
        plan
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was known of a queue before.
struct Before {
    own: i64,
    others: i64,
}

impl Inner {
    /// Notes a first score and when it was said, unless something later is known already.
    fn set(
        &mut self,
        shards: usize,
        shard: usize,
        queue: &Queue,
        said: (i64, i64),
    ) -> Option<Before> {
        self.clock_of(shard).heard(said.1);
        let score = if said.0 <= 0 { NEVER } else { said.0 };
        if score == NEVER && !self.firsts.contains_key(queue) {
            return None;
        }
        let firsts = self
            .firsts
            .entry(queue.clone())
            .or_insert_with(|| vec![UNKNOWN; shards]);
        let First {
            score: own,
            as_of: known,
        } = firsts[shard];
        let late = said.1 <= known && known - said.1 < STEP_MICROS;
        if late {
            return None;
        }
        let others = firsts
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != shard);
        let others = others.map(|(_, first)| first.score).min().unwrap_or(NEVER);
        firsts[shard] = First {
            score,
            as_of: said.1,
        };
        if score == NEVER && others == NEVER {
            self.firsts.remove(queue);
        }
        Some(Before { own, others })
    }

    fn clock_of(&mut self, shard: usize) -> &mut Reckoning {
        let last = self.clocks.len() - 1;
        &mut self.clocks[shard.min(last)]
    }

    /// The time in a shard, in µs; the end of time while nothing is known, so that all counts as due.
    fn now(&self, shard: usize) -> i64 {
        let clock = self.clocks[shard.min(self.clocks.len() - 1)];
        clock.now().unwrap_or(NEVER - 1 - DOUBT_MICROS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> Queue {
        "contoso:bulk:direct".parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_plan_takes_the_most_overdue_shards_first_and_never_more_than_wanted() {
        // given three shards of which two have something due
        let hints = Hints::new(3, 3);
        for shard in 0..3 {
            hints.clock(shard, 1_000_000, Instant::now());
        }
        hints.tell(0, &queue(), 900_000, 1);
        hints.tell(1, &queue(), 500_000, 1);
        hints.tell(2, &queue(), 9_000_000, 1);
        // when 5 are wanted of at most two shards
        let queue = queue();
        let want = [Open {
            want: 0,
            queue: &queue,
            left: 5,
            asked: &[],
        }];
        let plan = hints.plan(&want, 2, |_| false);
        // then the more overdue one gives the larger part
        assert_eq!(plan.len(), 2);
        assert_eq!((plan[&1][0].limit, plan[&0][0].limit), (3, 2));
        // and a single one comes from the most overdue
        let want = [Open {
            want: 0,
            queue: &queue,
            left: 1,
            asked: &[],
        }];
        let plan = hints.plan(&want, 2, |_| false);
        assert_eq!(plan.keys().collect::<Vec<_>>(), [&1]);
        // and from the other one while that is away
        let plan = hints.plan(&want, 2, |shard| shard == 1);
        assert_eq!(plan.keys().collect::<Vec<_>>(), [&0]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_lies_ahead_becomes_due_as_time_passes() {
        let hints = Hints::new(1, 1);
        hints.clock(0, 1_000_000, Instant::now());
        hints.tell(0, &queue(), 3_000_000, 1);
        let queue = queue();
        let want = || {
            [Open {
                want: 0,
                queue: &queue,
                left: 1,
                asked: &[],
            }]
        };
        assert!(hints.plan(&want(), 1, |_| false).is_empty());
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(hints.plan(&want(), 1, |_| false).len(), 1);
    }

    fn plan(hints: &Hints, asked: &[usize]) -> Vec<usize> {
        let queue = queue();
        let want = [Open {
            want: 0,
            queue: &queue,
            left: 64,
            asked,
        }];
        let mut shards: Vec<usize> = hints.plan(&want, 8, |_| false).into_keys().collect();
        shards.sort_unstable();
        shards
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_due_when_it_was_said_is_due_however_late_the_time_was_told() {
        for clocks in [1, 2] {
            // given the time of two shards in an answer that lay about for a second
            let hints = Hints::new(2, clocks);
            let asked = Instant::now();
            tokio::time::advance(Duration::from_secs(1)).await;
            hints.clock(0, 10_000_000, asked);
            hints.clock(1, 10_000_000, asked);
            // when each says that something has become due
            assert!(hints.moved(0, &queue(), (10_999_000, 11_000_000), |_| false));
            hints.tell(1, &queue(), 10_998_000, 11_000_000);
            // then it is due
            assert_eq!(plan(&hints, &[]), [0, 1]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn where_nothing_seems_due_the_shard_that_comes_next_is_asked_once() {
        let hints = Hints::new(2, 2);
        for shard in 0..2 {
            hints.clock(shard, 1_000_000, Instant::now());
        }
        hints.tell(0, &queue(), 1_600_000, 1);
        hints.tell(1, &queue(), 1_500_000, 1);
        assert_eq!(plan(&hints, &[]), [1]);
        assert_eq!(plan(&hints, &[1]), [0; 0]);
        // nothing seems due for long
        hints.tell(1, &queue(), 9_000_000, 2);
        hints.tell(0, &queue(), 9_000_000, 2);
        assert_eq!(plan(&hints, &[]), [0; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_queue_is_searched_for_but_not_all_the_time() {
        let hints = Hints::new(2, 2);
        assert!(hints.should_search(&queue()));
        assert!(!hints.should_search(&queue()));
        tokio::time::advance(SEARCH_INTERVAL).await;
        assert!(hints.should_search(&queue()));
        hints.tell(1, &queue(), 5, 1);
        tokio::time::advance(SEARCH_INTERVAL).await;
        assert!(!hints.should_search(&queue()));
    }

    #[test]
    fn a_queue_moves_forward_when_no_other_shard_is_as_early() {
        let hints = Hints::new(2, 2);
        assert!(hints.moved(0, &queue(), (50, 1), |_| false));
        assert!(!hints.moved(1, &queue(), (60, 1), |_| false));
        assert!(hints.moved(1, &queue(), (40, 2), |_| false));
        // said twice
        assert!(!hints.moved(1, &queue(), (40, 2), |_| false));
        // what the shard said before something that is known comes late
        hints.tell(1, &queue(), 90, 5);
        assert!(!hints.moved(1, &queue(), (10, 4), |_| false));
        // a shard may say again what this broker has not tried yet
        assert!(hints.moved(1, &queue(), (10, 6), |_| false));
        assert!(hints.moved(1, &queue(), (10, 7), |_| false));
    }

    #[test]
    fn what_a_sweep_finds_is_news_only_if_it_was_not_known() {
        let hints = Hints::new(2, 2);
        assert!(hints.found(0, &queue(), 50, 1));
        assert!(!hints.found(0, &queue(), 50, 2));
        assert!(!hints.found(1, &queue(), 60, 2));
        assert!(hints.found(1, &queue(), 40, 3));
    }

    #[test]
    fn a_look_at_a_shard_does_not_undo_what_it_said_since() {
        let hints = Hints::new(1, 1);
        let other: Queue = "contoso:urgent:direct".parse().unwrap();
        hints.tell(0, &queue(), 50, 3);
        hints.tell(0, &other, 60, 9);
        // what was seen at 5 knows nothing of what was said at 9
        hints.replace(0, &[], 5);
        assert!(hints.should_search(&queue()));
        assert!(!hints.should_search(&other));
    }
}
