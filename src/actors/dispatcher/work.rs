//! A claimed push on its way: looked at, sent or not, and settled.

use std::{rc::Rc, time::Duration};

use jiff::Timestamp;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use super::hosts::{Host, Hosts};
use crate::{
    actors::sessions::Session,
    domain::{
        ask::Class,
        channel::Generation,
        id::DeviceKey,
        item::Lease,
        queue::{Lane, Queue, place},
        record::{DeviceRecord, Push, codec},
        trace_context::TraceContext,
        transition::{Attempt, Step, Verdict, review},
        wns::{channel_uri::ChannelUri, reply::OutcomeKind},
    },
    ports::{
        queues::{Claimed, LEASE},
        records::Stored,
    },
    telemetry::Leased,
};

/// Least part of a lease that must be left when an attempt starts: a request's timeout and the commit after it.
const LEASE_LEFT_MIN: Duration = Duration::from_secs(20);

/// A claim, until it is settled or given back. The permit travels with it.
#[derive(Debug)]
pub(super) struct Claim {
    /// The device.
    pub(super) key: DeviceKey,
    /// The claim itself.
    pub(super) lease: Lease,
    /// The record that was claimed.
    pub(super) stored: Stored,
    /// The same, read.
    pub(super) record: DeviceRecord,
    /// When the push was due, to be given back to.
    pub(super) due: Timestamp,
    /// When an attempt may start at the latest.
    pub(super) start_by: Instant,
    /// Bounds what one dispatcher has claimed, and counts it.
    pub(super) _held: Held,
}

impl Claim {
    /// Whether WNS refused the channel at the last attempt.
    pub(super) fn was_refused(&self) -> bool {
        let last = self.record.last_attempt.as_ref();
        last.is_some_and(|last| *last.outcome == *OutcomeKind::ChannelRefused.label())
    }

    /// When the push has to be looked at again whatever stands in its way: an ask of it ends then.
    pub(super) fn first_end(&self) -> Timestamp {
        let push = self.record.push.as_ref();
        push.map_or(Timestamp::MAX, Push::earliest_deadline)
    }
}

/// A place among what a dispatcher has claimed.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) _permit: OwnedSemaphorePermit,
    pub(super) _leased: Leased,
    /// The session that it will open, if there is a cap on these.
    pub(super) _session: Option<Session>,
}

/// A push to be sent.
#[derive(Debug)]
pub(super) struct Work {
    /// The claim.
    pub(super) claim: Claim,
    /// The channel.
    pub(super) uri: ChannelUri,
    /// Which of the device's channels.
    pub(super) generation: Generation,
    /// Its host.
    pub(super) host: Rc<Host>,
    /// How urgent it is.
    pub(super) class: Class,
    /// When the last ask ends.
    pub(super) deadline: Timestamp,
    /// The recorded traces of the asks that it is sent for; nearly always none.
    pub(super) traces: Vec<TraceContext>,
}

impl Work {
    /// Whether it must not be sent any more under this claim: whoever claims it next looks at it anew, and ends what is over.
    pub(super) fn is_late(&self, now: Timestamp) -> bool {
        now >= self.deadline || Instant::now() >= self.claim.start_by
    }
}

/// What is to be committed for a claim.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all of them are attempts")]
pub(super) enum Job {
    /// What looking at it changes; with a wave no suspect is confirmed.
    Review {
        /// Whether a wave runs.
        wave: bool,
    },
    /// What came of an attempt.
    Attempt(Attempt),
}

/// What becomes of a claim at first sight.
#[expect(clippy::large_enum_variant, reason = "nearly all of them are sent")]
pub(super) enum Sorted {
    /// It is to be sent.
    Send(Lane, Work),
    /// It is to be committed.
    Commit(Claim, Job),
    /// Its record cannot be read: it is left to its lease, and somebody has to look.
    Damaged(codec::DamagedRecord),
}

/// Looks at a claim that was asked for at `asked`.
pub(super) fn sort(
    claimed: Claimed,
    held: Held,
    context: (&Step<'_>, bool, Instant),
    hosts: &Hosts,
) -> Sorted {
    let (step, wave, asked) = context;
    let record = match codec::decode(&claimed.stored.bytes) {
        Ok(record) => record,
        Err(error) => return Sorted::Damaged(error),
    };
    let queue = &claimed.lease.queue;
    let due = place(&queue.tenant, &record).map_or(step.now, |due| due.at);
    let lane = queue.lane;
    let sends = sends(step, &record, queue, wave);
    let claim = Claim {
        key: claimed.key,
        lease: claimed.lease,
        stored: claimed.stored,
        record,
        due,
        start_by: asked + LEASE.saturating_sub(LEASE_LEFT_MIN),
        _held: held,
    };
    match target(&claim.record).filter(|_| sends) {
        Some((uri, generation, (class, deadline))) => {
            let host = hosts.get(uri.host());
            let traces = traces(&claim.record);
            let work = Work {
                claim,
                uri,
                generation,
                host,
                class,
                deadline,
                traces,
            };
            Sorted::Send(lane, work)
        }
        None => Sorted::Commit(claim, Job::Review { wave }),
    }
}

/// Whether the push is to be sent. What looking at it changes is decided again when it is settled.
fn sends(step: &Step<'_>, record: &DeviceRecord, queue: &Queue, wave: bool) -> bool {
    let mut seen = record.clone();
    review(step, &mut seen, queue, wave).0 == Verdict::Send
}

/// Where to send, how urgently, and when the last ask that may send ends.
fn target(record: &DeviceRecord) -> Option<(ChannelUri, Generation, (Class, Timestamp))> {
    let channel = record.channel.as_ref()?;
    let push = record.push.as_ref()?;
    let class = push.lead()?.class;
    let deadline = push
        .asks
        .iter()
        .filter(|ask| !ask.held)
        .map(|ask| ask.deadline)
        .max()?;
    Some((channel.uri.clone(), channel.generation, (class, deadline)))
}

/// The recorded traces of the asks that may send, that of the leading ask first.
fn traces(record: &DeviceRecord) -> Vec<TraceContext> {
    let Some(push) = &record.push else {
        return Vec::new();
    };
    let lead = push.lead().and_then(|ask| ask.trace);
    let others = push.asks.iter().filter(|ask| !ask.held);
    let others = others
        .filter_map(|ask| ask.trace)
        .filter(|trace| Some(*trace) != lead);
    lead.into_iter().chain(others).collect()
}
