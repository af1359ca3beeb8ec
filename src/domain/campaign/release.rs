//! What becomes of single targets: listed, released into asks, ended without one, swept. Each answer is one commit item.

use std::collections::HashSet;

use jiff::Timestamp;

use super::{duty::Sweep, state::Campaign};
use crate::domain::{
    ask::{Ask, CancelCause, CloseReason, ExpiryCause, Source},
    channel::ChannelState,
    counter::{Counter, Moves, TargetState},
    id::{CampaignId, DeviceId, DeviceKey},
    item::{After, Before, Change, Expect, Item, ListMove, ListName, Placement, compose},
    record::{ClosedAsk, DeviceRecord, Revision},
    schedule::later,
    trace_context::TraceContext,
    transition::{
        AskRequest, Cancel, ClosedTarget, Effects, Opened, Step, cancel, hold, open, overdue,
    },
};

/// Bits of a score: a store may keep scores as doubles, which hold integers up to 2^53.
const SCORE_BITS: u32 = 51;
/// Added to the score of a target whose push has no room for another ask: it comes after all others.
const POSTPONED: i64 = 1 << SCORE_BITS;
/// Text of a waiting target that was listed though nobody knew the device.
const UNKNOWN: &str = "u";

/// A device to be listed.
#[derive(Clone, Debug)]
pub struct Enrolment {
    /// Which.
    pub key: DeviceKey,
    /// Whether it has no record yet and shall be asked all the same.
    pub unknown: bool,
}

/// A campaign at work.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// The campaign.
    pub campaign: &'a Campaign,
    /// The wave whose gate judges what is released now; 0 for none.
    pub wave: u8,
    /// Paused campaigns of the tenant: their asks must not keep a push from being sent for this one.
    pub paused: &'a HashSet<CampaignId>,
}

/// A target as it is now.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    /// Which device.
    pub key: DeviceKey,
    /// Its record; a revision without one is of a record that cannot be read.
    pub before: Before<'a>,
    /// Its score and text in the waiting list, if it is a member.
    pub waiting: Option<(i64, &'a str)>,
    /// The revision of the record if it is written.
    pub revision: Revision,
    /// The trace that its attempts belong to once it is released, if it is recorded.
    pub trace: Option<TraceContext>,
}

/// Where a target comes in the order of release: random, but always the same.
#[must_use]
pub fn score(campaign: &CampaignId, device: &DeviceId) -> i64 {
    let bytes = campaign.as_str().bytes().chain([0]);
    let fnv = bytes
        .chain(device.as_str().bytes())
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    // The finalizer of splitmix64: FNV alone leaves the high bits of short ids alike.
    let mut mixed = (fnv ^ (fnv >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    (mixed >> (64 - SCORE_BITS)) as i64
}

/// Lists a target, unless it is listed already.
#[must_use]
pub fn enrol(campaign: &CampaignId, enrolment: Enrolment) -> Item {
    let id = || campaign.clone();
    let mut moves = Moves::default();
    moves.add(Counter::Campaign(id(), TargetState::Targets), 1);
    moves.add(Counter::Campaign(id(), TargetState::Waiting), 1);
    let waits = ListMove::Put {
        list: ListName::Waiting(id()),
        score: score(campaign, &enrolment.key.device),
        text: if enrolment.unknown { UNKNOWN } else { "" }.to_owned(),
    };
    let listed = ListMove::Put {
        list: ListName::Targets(id()),
        score: 0,
        text: String::new(),
    };
    Item {
        key: enrolment.key,
        expect: Expect::NotListed(ListName::Targets(id())),
        lease: None,
        change: Change::Keep,
        placement: Placement::default(),
        moves,
        lists: vec![waits, listed],
        events: Vec::new(),
    }
}

/// Releases a waiting target: opens its ask, or ends it where nothing has to be sent. `None` when there is nothing to do.
#[must_use]
pub fn released(step: &Step<'_>, order: &Order<'_>, candidate: Candidate<'_>) -> Option<Item> {
    let campaign = order.campaign;
    let (score, text) = candidate.waiting?;
    let mut record = match candidate.before.record {
        Some(record) => record.clone(),
        // It must not hold up those behind it; its end comes with that of the campaign.
        None if candidate.before.revision.is_some() => {
            return postponed(candidate, campaign, score);
        }
        None if text == UNKNOWN => DeviceRecord::default(),
        None => {
            let gone = CloseReason::Cancelled(CancelCause::DeviceDeleted);
            return Some(close_waiting(step, campaign, candidate, gone));
        }
    };
    if asked(&record, &campaign.id) {
        return None;
    }
    if checked_in_since(step, &record, campaign.started_at?) {
        return Some(close_waiting(
            step,
            campaign,
            candidate,
            CloseReason::CheckedIn,
        ));
    }
    for other in order.paused {
        hold(step, &mut record, other, true);
    }
    let Ok((_, effects)) = ask(step, order, candidate.trace, &mut record) else {
        return postponed(candidate, campaign, score);
    };
    let mut item = write(candidate, Some(record), effects);
    leave_waiting(&mut item, &campaign.id);
    Some(item)
}

fn asked(record: &DeviceRecord, campaign: &CampaignId) -> bool {
    let is_ours = |a: &Ask| matches!(&a.source, Source::Campaign(id) if id == campaign);
    record
        .push
        .as_ref()
        .is_some_and(|p| p.asks.iter().any(is_ours))
}

fn checked_in_since(step: &Step<'_>, record: &DeviceRecord, start: Timestamp) -> bool {
    record
        .last_check_in
        .is_some_and(|at| later(at, step.rules.check_in_skew) >= start)
}

fn ask(
    step: &Step<'_>,
    order: &Order<'_>,
    trace: Option<TraceContext>,
    record: &mut DeviceRecord,
) -> Result<(Opened, Effects), crate::domain::transition::OpenError> {
    let definition = &order.campaign.definition;
    let request = AskRequest {
        source: Source::Campaign(order.campaign.id.clone()),
        class: definition.class,
        goal: definition.goal,
        deadline: order.campaign.deadline.unwrap_or(step.now),
        reason: definition.reason.clone(),
        trace,
    };
    let opened = open(step, record, request)?;
    let judged = order.wave > 0 && record.reachable();
    let ours = record.push.as_mut().and_then(|push| push.asks.last_mut());
    if let Some(ask) = ours.filter(|_| judged) {
        ask.wave = order.wave;
    }
    Ok(opened)
}

/// Puts a target behind all others; one that is there already is left alone.
fn postponed(candidate: Candidate<'_>, campaign: &Campaign, score: i64) -> Option<Item> {
    if score >= POSTPONED {
        return None;
    }
    let mut item = keep(candidate);
    item.lists.push(ListMove::Put {
        list: ListName::Waiting(campaign.id.clone()),
        score: score + POSTPONED,
        text: String::new(),
    });
    Some(item)
}

/// Ends a target that was never released.
#[must_use]
pub fn close_waiting(
    step: &Step<'_>,
    campaign: &Campaign,
    candidate: Candidate<'_>,
    reason: CloseReason,
) -> Item {
    let record = candidate.before.record;
    let closed = ClosedTarget {
        ask: ClosedAsk {
            source: Source::Campaign(campaign.id.clone()),
            reason,
            opened_at: step.now,
            closed_at: step.now,
        },
        released: false,
        wave: 0,
        attempts: 0,
        accepted_at: None,
        checked_in_at: record
            .and_then(|r| r.last_check_in)
            .filter(|_| reason == CloseReason::CheckedIn),
        last: None,
    };
    let mut item = keep(candidate);
    leave_waiting(&mut item, &campaign.id);
    let id = campaign.id.clone();
    item.moves.add(Counter::Campaign(id, reason.into()), 1);
    item.lists.push(ListMove::Put {
        list: ListName::Targets(campaign.id.clone()),
        score: 0,
        text: closed.to_text(),
    });
    item
}

/// Whether a device that was never woken has checked in all the same, while the campaign went on: until its deadline, or
/// until it was called off.
fn answered(step: &Step<'_>, campaign: &Campaign, record: &DeviceRecord) -> bool {
    let since_start = campaign
        .started_at
        .is_some_and(|start| checked_in_since(step, record, start));
    let in_time = |end: Timestamp| record.last_check_in.is_some_and(|at| at <= end);
    let mut ends = campaign.deadline.into_iter().chain(campaign.ended_at);
    since_start && ends.all(in_time)
}

/// Does to one target what a sweep is for. `None` when it is not concerned.
#[must_use]
pub fn swept(
    step: &Step<'_>,
    campaign: &Campaign,
    sweep: Sweep,
    candidate: Candidate<'_>,
) -> Option<Item> {
    let ours = candidate
        .before
        .record
        .filter(|r| asked(r, &campaign.id))
        .cloned();
    let Some(mut record) = ours else {
        candidate.waiting?;
        let answered = candidate
            .before
            .record
            .is_some_and(|record| answered(step, campaign, record));
        let reason = match sweep {
            Sweep::Cancel | Sweep::Expire if answered => CloseReason::CheckedIn,
            Sweep::Cancel => CloseReason::Cancelled(CancelCause::Request),
            Sweep::Expire => CloseReason::Expired(hindrance(campaign, candidate.before.record)),
            Sweep::Hold | Sweep::LetGo => return None,
        };
        return Some(close_waiting(step, campaign, candidate, reason));
    };
    let effects = match sweep {
        Sweep::Cancel => cancel(step, &mut record, &Cancel::Campaign(campaign.id.clone())),
        Sweep::Expire => overdue(step, &mut record),
        Sweep::Hold if !shared(&record, &campaign.id) => return None,
        Sweep::Hold => changed(hold(step, &mut record, &campaign.id, true))?,
        Sweep::LetGo => changed(hold(step, &mut record, &campaign.id, false))?,
    };
    if Some(&record) == candidate.before.record {
        return None;
    }
    Some(write(candidate, Some(record), effects))
}

fn changed(changed: bool) -> Option<Effects> {
    changed.then(Effects::default)
}

/// Whether somebody else waits for the push that the campaign asks for.
fn shared(record: &DeviceRecord, campaign: &CampaignId) -> bool {
    let other = |a: &Ask| !a.held && !matches!(&a.source, Source::Campaign(id) if id == campaign);
    record
        .push
        .as_ref()
        .is_some_and(|p| p.asks.iter().any(other))
}

/// What kept a target from being released.
fn hindrance(campaign: &Campaign, record: Option<&DeviceRecord>) -> ExpiryCause {
    match record.and_then(|r| r.channel.as_ref()).map(|c| c.state) {
        None => ExpiryCause::NoChannel,
        Some(ChannelState::Suspect { .. } | ChannelState::Dead { .. }) => ExpiryCause::DeadChannel,
        Some(ChannelState::Live | ChannelState::Silent { .. }) if campaign.pause.is_some() => {
            ExpiryCause::Held
        }
        Some(ChannelState::Live | ChannelState::Silent { .. }) => ExpiryCause::NotSent,
    }
}

fn write(candidate: Candidate<'_>, record: Option<DeviceRecord>, effects: Effects) -> Item {
    let after = After {
        record,
        revision: candidate.revision,
        effects,
    };
    compose(candidate.key, candidate.before, after, None)
}

/// Moves the target in lists and counters only; its record, if it has one, must still be the one that was read.
fn keep(candidate: Candidate<'_>) -> Item {
    Item {
        key: candidate.key,
        expect: candidate
            .before
            .revision
            .map_or(Expect::Absent, Expect::Revision),
        lease: None,
        change: Change::Keep,
        placement: Placement::default(),
        moves: Moves::default(),
        lists: Vec::new(),
        events: Vec::new(),
    }
}

fn leave_waiting(item: &mut Item, campaign: &CampaignId) {
    let waiting = Counter::Campaign(campaign.clone(), TargetState::Waiting);
    item.moves.add(waiting, -1);
    item.lists.push(ListMove::Remove {
        list: ListName::Waiting(campaign.clone()),
    });
}
