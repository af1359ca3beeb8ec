//! Read, decide, commit: changes device records by pure functions, again whenever somebody else was faster.

use crate::{
    domain::{
        id::DeviceKey,
        item::{After, Before, compose},
        record::{DeviceRecord, Revision, codec},
        transition::Effects,
    },
    ports::{
        error::StoreError,
        records::{BATCH_MAX, Committed, Lease, Records, Stored, Urgency},
    },
};

/// How often one device is decided anew after conflicts before the call gives up.
const ROUNDS_MAX: usize = 32;

/// One device to change.
#[derive(Clone, Debug)]
pub struct Edit<J> {
    /// Which.
    pub key: DeviceKey,
    /// The claim under which it is changed; given up if it turns out to be lost.
    pub lease: Option<Lease>,
    /// The record, if the caller has read it already.
    pub stored: Option<Stored>,
    /// What the caller needs to decide.
    pub job: J,
}

impl<J> Edit<J> {
    /// A change of a device that nobody has read or claimed yet.
    #[must_use]
    pub fn new(key: DeviceKey, job: J) -> Self {
        Self {
            key,
            lease: None,
            stored: None,
            job,
        }
    }
}

/// What to do with a record.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "lives on the stack for one call, and nearly always commits"
)]
pub enum Decision<R> {
    /// Commit this record (none deletes it) with these effects; `R` is answered once it is durable.
    Commit(Option<DeviceRecord>, Effects, R),
    /// Change nothing and answer `R`.
    Leave(R),
}

struct Pending<J> {
    at: usize,
    edit: Edit<J>,
    read: bool,
}

impl<J> Pending<J> {
    /// The same edit on the record as it is now.
    fn anew(mut self, stored: Option<Stored>, leased: bool) -> Self {
        self.edit.stored = stored;
        if !leased {
            self.edit.lease = None;
        }
        self
    }
}

/// Changes devices: `decide` gets the key, the job and the record as it is (none for an unknown device), and is called
/// again with the newer record when somebody else committed in between. A device may appear several times; its edits are
/// applied one after the other. The answer has one entry for each edit, in order.
///
/// # Errors
/// [`StoreError`]; some of the edits may have been applied then, each whole. A damaged record stops the call.
pub async fn edit<J, R>(
    store: &dyn Records,
    edits: Vec<Edit<J>>,
    urgency: Urgency,
    mut decide: impl FnMut(&DeviceKey, &J, Option<DeviceRecord>) -> Decision<R>,
) -> Result<Vec<R>, StoreError> {
    let mut answers: Vec<Option<R>> = Vec::with_capacity(edits.len());
    answers.resize_with(edits.len(), || None);
    let pending = edits.into_iter().enumerate().map(|(at, edit)| {
        let read = edit.stored.is_some();
        Pending { at, edit, read }
    });
    let mut pending: Vec<Pending<J>> = pending.collect();
    for _ in 0..ROUNDS_MAX {
        if pending.is_empty() {
            break;
        }
        let mut again = Vec::new();
        let mut rest = pending;
        while !rest.is_empty() {
            let tail = rest.split_off(rest.len().min(BATCH_MAX));
            round(store, rest, urgency, &mut decide, &mut answers, &mut again).await?;
            rest = tail;
        }
        pending = again;
    }
    let answers: Option<Vec<R>> = answers.into_iter().collect();
    answers.ok_or_else(|| StoreError::Unavailable {
        detail: format!("a device changed {ROUNDS_MAX} times while it was being changed"),
        retry_after: None,
    })
}

async fn round<J, R>(
    store: &dyn Records,
    mut batch: Vec<Pending<J>>,
    urgency: Urgency,
    decide: &mut impl FnMut(&DeviceKey, &J, Option<DeviceRecord>) -> Decision<R>,
    answers: &mut [Option<R>],
    again: &mut Vec<Pending<J>>,
) -> Result<(), StoreError> {
    fill(store, &mut batch).await?;
    let mut items = Vec::with_capacity(batch.len());
    let mut waiting = Vec::with_capacity(batch.len());
    for pending in batch {
        let old = pending
            .edit
            .stored
            .as_ref()
            .map(|s| codec::decode(&s.bytes));
        let old = old
            .transpose()
            .map_err(|e| damaged(&pending.edit.key, &e))?;
        match decide(&pending.edit.key, &pending.edit.job, old.clone()) {
            Decision::Leave(answer) => answers[pending.at] = Some(answer),
            Decision::Commit(record, effects, answer) => {
                let before = Before {
                    revision: pending.edit.stored.as_ref().map(|s| s.revision),
                    record: old.as_ref(),
                };
                let revision = Revision(rand::random());
                let after = After {
                    record,
                    revision,
                    effects,
                };
                let (key, lease) = (pending.edit.key.clone(), pending.edit.lease.clone());
                items.push(compose(key, before, after, lease));
                waiting.push((pending, answer));
            }
        }
    }
    if items.is_empty() {
        return Ok(());
    }
    let outcomes = store.commit(items, urgency, None).await?;
    for ((pending, answer), outcome) in waiting.into_iter().zip(outcomes) {
        match outcome {
            Committed::Done | Committed::Listed => answers[pending.at] = Some(answer),
            Committed::Conflict(stored) => again.push(pending.anew(stored, true)),
            Committed::LeaseLost(stored) => again.push(pending.anew(stored, false)),
        }
    }
    Ok(())
}

async fn fill<J>(store: &dyn Records, batch: &mut [Pending<J>]) -> Result<(), StoreError> {
    let unread: Vec<usize> = (0..batch.len()).filter(|i| !batch[*i].read).collect();
    if unread.is_empty() {
        return Ok(());
    }
    let keys: Vec<DeviceKey> = unread.iter().map(|i| batch[*i].edit.key.clone()).collect();
    let found = store.read(&keys).await?;
    for (i, stored) in unread.into_iter().zip(found) {
        batch[i].edit.stored = stored;
        batch[i].read = true;
    }
    Ok(())
}

fn damaged(key: &DeviceKey, error: &codec::DamagedRecord) -> StoreError {
    StoreError::Damaged {
        detail: format!("device {} of tenant {}: {error}", key.device, key.tenant),
    }
}
