//! What callers ask of the writer, and what they are told.

use tokio::sync::oneshot;

use super::{
    Shared,
    batch::{Batch, Verdict, key_of},
    clock::Moment,
    fetch::fetch_here,
    side::Side,
};
use crate::ports::{
    error::StoreError,
    records::{Committed, Fence, Item, Urgency},
};

/// Work for the writer.
pub(super) enum Job {
    Commit(CommitJob),
    Change(ChangeJob),
    Close(oneshot::Sender<Result<(), StoreError>>),
}

/// A commit of records.
pub(super) struct CommitJob {
    pub(super) items: Vec<Item>,
    pub(super) urgency: Urgency,
    pub(super) fence: Option<Fence>,
    pub(super) moment: Moment,
    pub(super) reply: oneshot::Sender<Result<Vec<Committed>, StoreError>>,
}

/// What tells the caller how the flush went.
pub(super) type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// Checks a change and adds it, or hears why it was not admitted.
pub(super) type Staging = Box<dyn FnOnce(Result<Stage<'_>, StoreError>) -> Answer + Send>;

/// Any other change: checked and added by a function, alone with its name in a frame.
pub(super) struct ChangeJob {
    pub(super) name: String,
    pub(super) urgency: Urgency,
    pub(super) moment: Moment,
    pub(super) stage: Staging,
}

/// What a change is checked against and added to.
pub(super) struct Stage<'a> {
    pub(super) batch: &'a mut Batch,
    pub(super) shared: &'a Shared,
    pub(super) side: &'a Side,
}

/// The answers to a commit whose frame is durable, with the records that stood in the way.
pub(super) fn tell(
    items: &[Item],
    verdicts: Vec<Verdict>,
    shared: &Shared,
) -> Result<Vec<Committed>, StoreError> {
    let current = |item: &Item| {
        let state = shared.state();
        let number = state.devices.find(key_of(&item.key))?;
        Some(state.found(number))
    };
    let mut told = Vec::with_capacity(items.len());
    for (item, verdict) in items.iter().zip(verdicts) {
        told.push(match verdict {
            Verdict::Done => Committed::Done,
            Verdict::Listed => Committed::Listed,
            Verdict::Conflict | Verdict::LeaseLost => {
                let stored = fetch_here(&[current(item)])?.remove(0);
                if verdict == Verdict::LeaseLost {
                    Committed::LeaseLost(stored)
                } else {
                    Committed::Conflict(stored)
                }
            }
        });
    }
    Ok(told)
}
