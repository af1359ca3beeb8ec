//! Read, decide, commit: changes device records by pure functions, again whenever somebody else was faster.

use std::collections::HashMap;

use crate::{
    domain::{
        id::DeviceKey,
        item::{After, Before, Item, compose},
        record::{DeviceRecord, Revision, codec},
        transition::Effects,
    },
    ports::{
        error::StoreError,
        records::{BATCH_MAX, Committed, Fence, Lease, Records, Stored, Urgency},
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

/// On which terms changes are committed.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// How much room they may use.
    pub urgency: Urgency,
    /// Refuses them once the caller has been followed by another.
    pub fence: Option<&'a Fence>,
    /// Whether somebody is told of what was found done already, as if it were done now: it must be as durable then.
    pub acknowledged: bool,
}

impl From<Urgency> for Terms<'_> {
    fn from(urgency: Urgency) -> Self {
        Self {
            urgency,
            fence: None,
            acknowledged: false,
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

/// The edits of one device, applied one after the other in one commit.
struct Pending<J> {
    key: DeviceKey,
    lease: Option<Lease>,
    stored: Option<Stored>,
    read: bool,
    first: (usize, J),
    more: Vec<(usize, J)>,
}

/// A commit on its way, with what is answered when it is durable.
struct Sent<J, R> {
    pending: Pending<J>,
    first: R,
    more: Vec<R>,
}

/// What the edits of one device come to.
struct Decided<R> {
    record: Option<DeviceRecord>,
    effects: Effects,
    changed: bool,
    first: R,
    more: Vec<R>,
}

/// Changes devices: `decide` gets the key, the job and the record as it is (none for an unknown device), and is called
/// again with the newer record when somebody else committed in between. A device may appear several times; its edits are
/// applied one after the other. The answer has one entry for each edit, in order.
///
/// # Errors
/// [`StoreError`]; some of the edits may have been applied then, each whole. A damaged record stops the call.
pub async fn edit<'a, J, R>(
    store: &'a dyn Records,
    edits: Vec<Edit<J>>,
    terms: impl Into<Terms<'a>>,
    mut decide: impl FnMut(&DeviceKey, &J, Option<DeviceRecord>) -> Decision<R>,
) -> Result<Vec<R>, StoreError> {
    let mut answers = Vec::with_capacity(edits.len());
    answers.resize_with(edits.len(), || None);
    let mut editor = Editor {
        store,
        terms: terms.into(),
        decide: &mut decide,
        answers,
    };
    let mut pending = by_device(edits);
    for _ in 0..ROUNDS_MAX {
        if pending.is_empty() {
            break;
        }
        let mut again = Vec::new();
        let mut rest = pending;
        while !rest.is_empty() {
            let tail = rest.split_off(rest.len().min(BATCH_MAX));
            again.extend(editor.round(rest).await?);
            rest = tail;
        }
        pending = again;
    }
    let answers: Option<Vec<R>> = editor.answers.into_iter().collect();
    answers.ok_or_else(|| StoreError::Unavailable {
        detail: format!("a device changed {ROUNDS_MAX} times while it was being changed"),
        retry_after: None,
    })
}

/// Joins the edits of each device. An edit under a lease stands alone: it settles one claim.
fn by_device<J>(edits: Vec<Edit<J>>) -> Vec<Pending<J>> {
    let mut places: HashMap<DeviceKey, usize> = HashMap::with_capacity(edits.len());
    let mut pending: Vec<Pending<J>> = Vec::with_capacity(edits.len());
    for (at, edit) in edits.into_iter().enumerate() {
        if edit.lease.is_none() && edit.stored.is_none() {
            if let Some(place) = places.get(&edit.key) {
                pending[*place].more.push((at, edit.job));
                continue;
            }
            places.insert(edit.key.clone(), pending.len());
        }
        pending.push(Pending {
            read: edit.stored.is_some(),
            key: edit.key,
            lease: edit.lease,
            stored: edit.stored,
            first: (at, edit.job),
            more: Vec::new(),
        });
    }
    pending
}

struct Editor<'a, R, D> {
    store: &'a dyn Records,
    terms: Terms<'a>,
    decide: D,
    answers: Vec<Option<R>>,
}

impl<R, D> Editor<'_, R, D> {
    /// Reads, decides and commits a batch; returns what has to be decided again.
    async fn round<J>(&mut self, mut batch: Vec<Pending<J>>) -> Result<Vec<Pending<J>>, StoreError>
    where
        D: FnMut(&DeviceKey, &J, Option<DeviceRecord>) -> Decision<R>,
    {
        fill(self.store, &mut batch).await?;
        let keys: Vec<DeviceKey> = batch.iter().map(|pending| pending.key.clone()).collect();
        let (items, sent) = self.decide_batch(batch)?;
        let Terms { urgency, fence, .. } = self.terms;
        if self.terms.acknowledged && items.len() < keys.len() {
            self.store.confirm(&keys).await?;
        }
        let mut again = Vec::new();
        if items.is_empty() {
            return Ok(again);
        }
        let outcomes = self.store.commit(items, urgency, fence).await?;
        for (commit, outcome) in sent.into_iter().zip(outcomes) {
            match outcome {
                Committed::Done | Committed::Listed => commit.answer(&mut self.answers),
                Committed::Conflict(stored) => again.push(commit.pending.anew(stored, true)),
                Committed::LeaseLost(stored) => again.push(commit.pending.anew(stored, false)),
            }
        }
        Ok(again)
    }

    /// Decides a batch; what needs no commit is answered at once.
    #[expect(
        clippy::type_complexity,
        reason = "the two halves of a commit, in step"
    )]
    fn decide_batch<J>(
        &mut self,
        batch: Vec<Pending<J>>,
    ) -> Result<(Vec<Item>, Vec<Sent<J, R>>), StoreError>
    where
        D: FnMut(&DeviceKey, &J, Option<DeviceRecord>) -> Decision<R>,
    {
        let mut items = Vec::with_capacity(batch.len());
        let mut sent = Vec::with_capacity(batch.len());
        for pending in batch {
            let old = pending.stored.as_ref().map(|s| codec::decode(&s.bytes));
            let old = old.transpose().map_err(|e| damaged(&pending.key, &e))?;
            let decided = decide_all(&pending, old.clone(), &mut self.decide);
            let commit = Sent {
                pending,
                first: decided.first,
                more: decided.more,
            };
            if !decided.changed {
                commit.answer(&mut self.answers);
                continue;
            }
            let before = Before {
                revision: commit.pending.stored.as_ref().map(|s| s.revision),
                record: old.as_ref(),
            };
            let after = After {
                record: decided.record,
                revision: Revision(rand::random()),
                effects: decided.effects,
            };
            let (key, lease) = (commit.pending.key.clone(), commit.pending.lease.clone());
            items.push(compose(key, before, after, lease));
            sent.push(commit);
        }
        Ok((items, sent))
    }
}

impl<J> Pending<J> {
    /// The same edits on the record as it is now.
    fn anew(mut self, stored: Option<Stored>, leased: bool) -> Self {
        self.stored = stored;
        if !leased {
            self.lease = None;
        }
        self
    }
}

/// Decides the edits of one device in turn, each on what the one before left.
fn decide_all<J, R>(
    pending: &Pending<J>,
    old: Option<DeviceRecord>,
    decide: &mut impl FnMut(&DeviceKey, &J, Option<DeviceRecord>) -> Decision<R>,
) -> Decided<R> {
    let last = pending.more.is_empty();
    let kept = if last { None } else { old.clone() };
    let mut decided = match decide(&pending.key, &pending.first.1, old) {
        Decision::Commit(record, effects, first) => Decided {
            record,
            effects,
            changed: true,
            first,
            more: Vec::new(),
        },
        Decision::Leave(first) => Decided {
            record: kept,
            effects: Effects::default(),
            changed: false,
            first,
            more: Vec::new(),
        },
    };
    for (_, job) in &pending.more {
        match decide(&pending.key, job, decided.record.clone()) {
            Decision::Commit(record, effects, answer) => {
                decided.record = record;
                decided.effects.absorb(effects);
                decided.changed = true;
                decided.more.push(answer);
            }
            Decision::Leave(answer) => decided.more.push(answer),
        }
    }
    decided
}

impl<J, R> Sent<J, R> {
    fn answer(self, answers: &mut [Option<R>]) {
        answers[self.pending.first.0] = Some(self.first);
        for ((at, _), answer) in self.pending.more.into_iter().zip(self.more) {
            answers[at] = Some(answer);
        }
    }
}

async fn fill<J>(store: &dyn Records, batch: &mut [Pending<J>]) -> Result<(), StoreError> {
    let unread: Vec<usize> = (0..batch.len()).filter(|i| !batch[*i].read).collect();
    if unread.is_empty() {
        return Ok(());
    }
    let keys: Vec<DeviceKey> = unread.iter().map(|i| batch[*i].key.clone()).collect();
    let found = store.read(&keys).await?;
    for (i, stored) in unread.into_iter().zip(found) {
        batch[i].stored = stored;
        batch[i].read = true;
    }
    Ok(())
}

/// What is said of a record that cannot be read.
pub(crate) fn damaged(key: &DeviceKey, error: &codec::DamagedRecord) -> StoreError {
    StoreError::Damaged {
        detail: format!("device {} of tenant {}: {error}", key.device, key.tenant),
    }
}
