//! Commits what became of claims, many at a time, and keeps it while the store fails.

use std::rc::Rc;

use jiff::Timestamp;
use tokio::time::Instant;

use super::{
    desk::Desk,
    work::{Claim, Job},
};
use crate::{
    actors::broker::Broker,
    domain::{
        ask::CloseReason,
        event::EventKind,
        id::DeviceKey,
        item::Lease,
        record::DeviceRecord,
        transition::{Effects, Step, review, settle},
    },
    ports::{error::StoreError, records::Urgency},
    service::edit::{Decision, Edit, edit},
    telemetry::StoreOperation,
};

/// What is to be committed.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) claim: Claim,
    pub(super) job: Rc<Job>,
}

/// A claim to be given back, due again at this time.
#[derive(Debug)]
pub(super) struct HandBack {
    pub(super) claim: Claim,
    pub(super) at: Timestamp,
}

/// Commits a batch. What the store did not take comes back to the desk.
pub(super) async fn commit(desk: Rc<Desk>, batch: Vec<Settled>) {
    let began = Instant::now();
    match try_commit(&desk.broker, &batch).await {
        Ok(()) => {
            desk.broker.telemetry.store_committed(batch.len());
            desk.broker
                .telemetry
                .store_answered(StoreOperation::Commit, began.elapsed());
            desk.store_well();
        }
        Err(error @ StoreError::Damaged { .. }) if batch.len() == 1 => {
            // Nobody can settle it; the claim is left to its lease, and somebody has to look.
            desk.broker.failed(StoreOperation::Commit, &error);
        }
        Err(StoreError::Damaged { .. }) => desk.settle_apart(batch),
        Err(error) => {
            desk.broker.failed(StoreOperation::Commit, &error);
            desk.store_ill(&error);
            desk.settle_again(batch);
        }
    }
    desk.commit_ended();
}

async fn try_commit(broker: &Broker, batch: &[Settled]) -> Result<(), StoreError> {
    let edits = batch.iter().map(|settled| Edit {
        key: settled.claim.key.clone(),
        lease: Some(settled.claim.lease.clone()),
        stored: Some(settled.claim.stored.clone()),
        job: (settled.job.clone(), settled.claim.lease.clone()),
    });
    let decide = |key: &DeviceKey, job: &(Rc<Job>, Lease), record: Option<DeviceRecord>| {
        let step = Step {
            rules: &broker.rules,
            device: &key.device,
            now: broker.clock.now(),
            jitter: rand::random(),
        };
        decide(&step, job, record)
    };
    let closed = edit(&*broker.store, edits.collect(), Urgency::Settle, decide).await?;
    for (settled, closed) in batch.iter().zip(closed) {
        let (closed, told) = closed;
        for kind in told {
            broker.telemetry.feed_written(kind, 1);
        }
        for reason in closed {
            let tenant = broker.telemetry.tenant(&settled.claim.key.tenant);
            broker.telemetry.asks_closed(&tenant, reason, 1);
        }
    }
    Ok(())
}

fn decide(
    step: &Step<'_>,
    (job, lease): &(Rc<Job>, Lease),
    record: Option<DeviceRecord>,
) -> Decision<(Vec<CloseReason>, Vec<EventKind>)> {
    // The device was deleted meanwhile, and its asks with it.
    let Some(mut record) = record else {
        return Decision::Leave((Vec::new(), Vec::new()));
    };
    let effects: Effects = match &**job {
        Job::Review { wave } => review(step, &mut record, &lease.queue, *wave).1,
        Job::Attempt(attempt) => settle(step, &mut record, attempt),
    };
    let closed = effects
        .closed
        .iter()
        .map(|closed| closed.ask.reason)
        .collect();
    let told = effects.events.iter().map(|event| event.kind).collect();
    Decision::Commit(Some(record), effects, (closed, told))
}

/// Gives claims back. If the store does not take them, their leases end by themselves.
pub(super) async fn hand_back(desk: Rc<Desk>, batch: Vec<HandBack>) {
    let claims = batch
        .iter()
        .map(|back| (back.claim.key.clone(), back.claim.lease.clone(), back.at));
    if let Err(error) = desk.broker.store.hand_back(claims.collect()).await {
        desk.broker.failed(StoreOperation::Claim, &error);
    }
}
