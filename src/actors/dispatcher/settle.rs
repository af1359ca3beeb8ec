//! Commits what became of claims, many at a time, and keeps it while the store fails.

use std::rc::Rc;

use jiff::Timestamp;

use super::{
    desk::Desk,
    work::{Claim, Job},
};
use crate::{
    actors::broker::Broker,
    domain::{
        ask::CloseReason,
        id::{DeviceKey, TenantId},
        item::{After, Before, Item, compose},
        record::{DeviceRecord, Revision, codec},
        transition::{Effects, Step, credit_late, is_settled, review, settle},
    },
    ports::{
        error::StoreError,
        records::{Committed, Stored, Urgency},
    },
    service::edit::{Decision, Edit, Terms, edit},
};

/// What is to be committed.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) claim: Claim,
    pub(super) job: Job,
}

/// A claim to be given back, due again at this time.
#[derive(Debug)]
pub(super) struct HandBack {
    pub(super) claim: Claim,
    pub(super) at: Timestamp,
}

/// Makes room for the next commit, even if this one panics.
struct Committing(Rc<Desk>);

impl Drop for Committing {
    fn drop(&mut self) {
        self.0.commit_ended();
    }
}

/// Commits a batch. What the store did not take comes back to the desk; what a part of it did not take waits for that alone.
pub(super) async fn commit(desk: Rc<Desk>, batch: Vec<Settled>) {
    let _committing = Committing(desk.clone());
    match try_commit(&desk.broker, &batch).await {
        Ok(missed) => {
            desk.store_well();
            if let Some(missed) = missed {
                take_back(&desk, batch, &missed);
            }
        }
        Err(error @ StoreError::Damaged { .. }) if batch.len() == 1 => {
            // Nobody can settle it; the claim is left to its lease, and somebody has to look.
            desk.broker.unreadable(&error);
        }
        Err(StoreError::Damaged { .. }) => desk.settle_apart(batch),
        Err(error) => {
            desk.store_ill(&error);
            desk.settle_again(batch);
        }
    }
}

/// What a part of the store did not take while others took theirs.
struct Missed {
    /// Places in the batch, in order.
    places: Vec<usize>,
    /// What the first of them failed with.
    error: StoreError,
}

impl Missed {
    /// # Errors
    /// The first error, if nothing was taken.
    fn of<T>(outcomes: &[Result<T, StoreError>]) -> Result<Option<Self>, StoreError> {
        let failed = |(at, outcome): (usize, &Result<T, _>)| outcome.is_err().then_some(at);
        let places: Vec<usize> = outcomes.iter().enumerate().filter_map(failed).collect();
        match outcomes.iter().find_map(|outcome| outcome.as_ref().err()) {
            None => Ok(None),
            Some(error) if places.len() == outcomes.len() => Err(error.clone()),
            Some(error) => Ok(Some(Self {
                places,
                error: error.clone(),
            })),
        }
    }
}

fn take_back(desk: &Rc<Desk>, batch: Vec<Settled>, missed: &Missed) {
    let batch = batch.into_iter().enumerate();
    let late = batch.filter(|(at, _)| missed.places.binary_search(at).is_ok());
    let late = late.map(|(_, settled)| settled).collect();
    match &missed.error {
        StoreError::Damaged { .. } => desk.settle_apart(late),
        StoreError::Unavailable { .. } | StoreError::Full { .. } | StoreError::Fenced => {
            desk.put_off(late);
        }
    }
}

/// Commits the batch as it was claimed; whoever was overtaken is decided anew on the record as it is now.
async fn try_commit(broker: &Broker, batch: &[Settled]) -> Result<Option<Missed>, StoreError> {
    let now = broker.clock.now();
    let mut items = Vec::with_capacity(batch.len());
    let mut tolds = Vec::with_capacity(batch.len());
    for settled in batch {
        let (item, told) = item(broker, settled, now);
        items.push(item);
        tolds.push(told);
    }
    let outcomes = broker.store.commit_each(items, Urgency::Settle).await;
    let missed = Missed::of(&outcomes)?;
    let (mut overtaken, mut repeated, mut telling) = (vec![], vec![], Telling::default());
    for ((settled, outcome), told) in batch.iter().zip(outcomes).zip(tolds) {
        let Ok(outcome) = outcome else { continue };
        match outcome {
            Committed::Done | Committed::Listed => telling.take(settled, told),
            ref outcome if is_repeated(settled, outcome) => {
                repeated.push(settled.claim.key.clone());
                telling.take(settled, told);
            }
            Committed::Conflict(stored) => overtaken.push((settled, stored, true)),
            Committed::LeaseLost(stored) => overtaken.push((settled, stored, false)),
        }
    }
    // What was found done counts only when it is as durable as what is done now; that may be what its answer was lost for.
    if !repeated.is_empty() {
        broker.store.confirm(&repeated).await?;
    }
    telling.tell(broker);
    if !overtaken.is_empty() {
        commit_overtaken(broker, overtaken).await?;
    }
    Ok(missed)
}

/// Whether a former commit of it was applied, and its answer lost.
fn is_repeated(settled: &Settled, outcome: &Committed) -> bool {
    let (Job::Attempt(attempt), Committed::Conflict(Some(now)) | Committed::LeaseLost(Some(now))) =
        (&settled.job, outcome)
    else {
        return false;
    };
    codec::decode(&now.bytes).is_ok_and(|record| is_settled(&record, attempt))
}

fn item(broker: &Broker, settled: &Settled, now: Timestamp) -> (Item, Told) {
    let claim = &settled.claim;
    let mut record = claim.record.clone();
    let step = step(broker, &claim.key, now);
    let effects = apply(&step, settled, &mut record);
    let told = Told::of(&effects);
    let before = Before {
        revision: Some(claim.stored.revision),
        record: Some(&claim.record),
    };
    let after = After {
        record: Some(record),
        revision: Revision(rand::random()),
        effects,
    };
    let item = compose(claim.key.clone(), before, after, Some(claim.lease.clone()));
    (item, told)
}

/// A settled claim, the record as it is now, and whether the claim still holds.
type Overtaken<'a> = (&'a Settled, Option<Stored>, bool);

async fn commit_overtaken(
    broker: &Broker,
    overtaken: Vec<Overtaken<'_>>,
) -> Result<(), StoreError> {
    let edits = overtaken.iter().map(|(settled, stored, holds)| {
        let claim = &settled.claim;
        let edit = Edit::new(claim.key.clone(), *settled);
        let lease = holds.then(|| claim.lease.clone());
        // A record that is gone has to be looked for again.
        Edit {
            lease,
            stored: stored.clone(),
            ..edit
        }
    });
    let decide = |key: &DeviceKey, settled: &&Settled, record: Option<DeviceRecord>| {
        // The device was deleted meanwhile, and its asks with it.
        let Some(mut record) = record else {
            return Decision::Leave(Told::default());
        };
        let step = step(broker, key, broker.clock.now());
        let mut effects = apply(&step, settled, &mut record);
        if let (Job::Attempt(attempt), None) = (&settled.job, &record.push) {
            effects.absorb(credit_late(&mut record, &settled.claim.record, attempt));
        }
        let told = Told::of(&effects);
        Decision::Commit(Some(record), effects, told)
    };
    let terms = Terms {
        acknowledged: true,
        ..Terms::from(Urgency::Settle)
    };
    let told = edit(&*broker.store, edits.collect(), terms, decide).await?;
    let mut telling = Telling::default();
    for ((settled, _, _), told) in overtaken.iter().zip(told) {
        telling.take(settled, told);
    }
    telling.tell(broker);
    Ok(())
}

fn step<'a>(broker: &'a Broker, key: &'a DeviceKey, now: Timestamp) -> Step<'a> {
    Step {
        rules: &broker.rules,
        device: &key.device,
        now,
        jitter: rand::random(),
    }
}

fn apply(step: &Step<'_>, settled: &Settled, record: &mut DeviceRecord) -> Effects {
    let queue = &settled.claim.lease.queue;
    match &settled.job {
        Job::Review { wave } => review(step, record, queue, *wave).1,
        Job::Attempt(attempt) => settle(step, record, attempt),
    }
}

/// The asks that ended, to be counted once steps are committed; few different reasons, however many steps.
#[derive(Debug, Default)]
struct Told(Vec<(CloseReason, u64)>);

impl Told {
    fn of(effects: &Effects) -> Self {
        let mut told = Self::default();
        for closed in &effects.closed {
            told.add(closed.ask.reason, 1);
        }
        told
    }

    fn absorb(&mut self, other: Self) {
        for (reason, count) in other.0 {
            self.add(reason, count);
        }
    }

    fn add(&mut self, reason: CloseReason, count: u64) {
        match self.0.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, sum)) => *sum += count,
            None => self.0.push((reason, count)),
        }
    }
}

/// Told together: what every push does is counted once a batch.
#[derive(Default)]
struct Telling<'a>(Vec<(&'a TenantId, Told)>);

impl<'a> Telling<'a> {
    fn take(&mut self, settled: &'a Settled, told: Told) {
        let tenant = &settled.claim.key.tenant;
        match self.0.iter_mut().find(|(known, _)| *known == tenant) {
            Some((_, sum)) => sum.absorb(told),
            None => self.0.push((tenant, told)),
        }
    }

    fn tell(self, broker: &Broker) {
        for (tenant, told) in self.0 {
            let tenant = broker.telemetry.tenant(tenant);
            for (reason, count) in told.0 {
                broker.telemetry.asks_closed(&tenant, reason, count);
            }
        }
    }
}

/// Gives claims back. If the store does not take them, their leases end by themselves.
pub(super) async fn hand_back(desk: Rc<Desk>, batch: Vec<HandBack>) {
    let claims = batch
        .iter()
        .map(|back| (back.claim.key.clone(), back.claim.lease.clone(), back.at));
    drop(desk.broker.store.hand_back(claims.collect()).await);
}
