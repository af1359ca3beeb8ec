//! Jobs whose items are settled in any order: each is answered as soon as its last item is.

use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::ports::{error::StoreError, records::Committed};

/// What became of each item of a job, in order.
pub(super) type Settled = Vec<Result<Committed, StoreError>>;

/// Which job, and which of its items.
pub(super) type Place = (usize, usize);

struct Waiting {
    left: usize,
    settled: Settled,
    reply: Option<oneshot::Sender<Settled>>,
}

/// See the module.
pub(super) struct Answers(Mutex<Vec<Waiting>>);

impl Answers {
    /// Of jobs with so many items each.
    pub(super) fn new(jobs: impl IntoIterator<Item = (usize, oneshot::Sender<Settled>)>) -> Self {
        let waiting = jobs.into_iter().map(|(items, reply)| Waiting {
            left: items,
            settled: vec![Ok(Committed::Listed); items],
            reply: Some(reply),
        });
        Self(Mutex::new(waiting.collect()))
    }

    /// Notes what became of items; each is settled once.
    pub(super) fn settle(
        &self,
        items: impl IntoIterator<Item = (Place, Result<Committed, StoreError>)>,
    ) {
        let mut jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for ((job, at), result) in items {
            let job = &mut jobs[job];
            job.settled[at] = result;
            job.left -= 1;
            if job.left == 0
                && let Some(reply) = job.reply.take()
            {
                // The caller may have gone; what was applied stays applied.
                let _gone = reply.send(std::mem::take(&mut job.settled));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_answered_with_its_last_item_whatever_the_others_wait_for() {
        let (first, mut of_first) = oneshot::channel();
        let (second, mut of_second) = oneshot::channel();
        let answers = Answers::new([(2, first), (1, second)]);
        answers.settle([((0, 1), Ok(Committed::Done))]);
        assert!(of_first.try_recv().is_err());
        answers.settle([((1, 0), Err(StoreError::Fenced))]);
        assert_eq!(of_second.try_recv().unwrap(), [Err(StoreError::Fenced)]);
        assert!(of_first.try_recv().is_err());
        answers.settle([((0, 0), Err(StoreError::Fenced))]);
        assert_eq!(
            of_first.try_recv().unwrap(),
            [Err(StoreError::Fenced), Ok(Committed::Done)]
        );
    }
}
