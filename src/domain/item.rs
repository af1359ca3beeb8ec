//! A commit's part for one device, and how it is composed from the record before and after.
//!
//! Counters, lists and the place in the queues follow from the difference of two records, so a transition cannot forget
//! one of them and the counts add up by construction.

use bytes::Bytes;
use jiff::Timestamp;

use super::{
    ask::{Ask, Goal, Phase, Source},
    channel::{Channel, ChannelKind, ChannelState},
    counter::{Counter, Moves, TargetState, WakeSlot},
    delay::DelayBucket,
    event::Event,
    id::{CampaignId, DeviceKey},
    queue::{Due, Queue, place},
    record::{DeviceRecord, Revision, codec},
    transition::{ClosedTarget, Effects},
};

/// What must hold for an item to be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The device has no record.
    Absent,
    /// The record is still this version.
    Revision(Revision),
    /// The device is not yet a member of this list; record and place are not looked at: the item has [`Change::Keep`], no
    /// lease and an empty placement.
    NotListed(ListName),
}

/// A claim on one push: valid until the store's clock passes its end, and only once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The queue the push was claimed from.
    pub queue: Queue,
    /// Unique among the claims of the device; opaque to callers.
    pub token: u64,
}

/// What happens to the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is replaced by these bytes under this revision.
    Put(Revision, Bytes),
    /// It is removed.
    Delete,
    /// It stays as it is.
    Keep,
}

/// What happens to the device's place in the due queues. An empty one without a lease leaves the place alone; it is for devices that
/// wait nowhere, before and after: whoever holds one that does need not be told of such a change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// The queue where the caller believes the device to be; it leaves it.
    pub from: Option<Queue>,
    /// Where it waits from now on. Times are kept to the millisecond.
    pub to: Option<Due>,
}

/// A list of devices within a tenant, kept beside the records: a named, ordered set with a small text a member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListName {
    /// Devices whose channel is in this state; only silent, suspect and dead ones are listed. Score: since when, in ms.
    Channels(&'static str),
    /// A campaign's targets that wait for release. Score: the order of release.
    Waiting(CampaignId),
    /// All targets of a campaign with their result. Score: 0.
    Targets(CampaignId),
}

/// A change of one device's membership in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListMove {
    /// Becomes a member, or changes score and text.
    Put {
        /// The list.
        list: ListName,
        /// Its place in the order.
        score: i64,
        /// At most 256 bytes.
        text: String,
    },
    /// Is no member any more.
    Remove {
        /// The list.
        list: ListName,
    },
}

/// One device's part of a commit: applied whole or not at all, durably before the answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Whose record.
    pub key: DeviceKey,
    /// Compare-and-set on the record.
    pub expect: Expect,
    /// Compare-and-set on the claim, for whoever holds one.
    pub lease: Option<Lease>,
    /// The new record.
    pub change: Change,
    /// The new place.
    pub placement: Placement,
    /// Counters of the tenant.
    pub moves: Moves,
    /// Lists of the tenant.
    pub lists: Vec<ListMove>,
    /// Appended to the feed in this order.
    pub events: Vec<Event>,
}

/// The version of a record that a change starts from.
#[derive(Clone, Copy, Debug)]
pub struct Before<'a> {
    /// The revision read, none for a device without a record.
    pub revision: Option<Revision>,
    /// The record read.
    pub record: Option<&'a DeviceRecord>,
}

/// What a change of one device comes to.
#[derive(Clone, Debug)]
pub struct After {
    /// The new record; none deletes it.
    pub record: Option<DeviceRecord>,
    /// Its new, random revision.
    pub revision: Revision,
    /// What the transitions did on the way.
    pub effects: Effects,
}

/// Composes the item that turns `before` into `after`, under `lease` if the caller holds one.
#[must_use]
pub fn compose(key: DeviceKey, before: Before<'_>, after: After, lease: Option<Lease>) -> Item {
    let blank = DeviceRecord::default();
    let old = before.record;
    let new = after.record.as_ref();
    let mut moves = Moves::default();
    count_record(&mut moves, old, -1);
    count_record(&mut moves, new, 1);
    count_expiry(&mut moves, old, new);
    count_sessions(&mut moves, old, new, &after.effects.closed);
    let mut lists = Vec::new();
    list_channel(&mut lists, old.unwrap_or(&blank), new.unwrap_or(&blank));
    for closed in &after.effects.closed {
        moves.add(Counter::Closed(closed.ask.reason.as_str()), 1);
        if let Source::Campaign(id) = &closed.ask.source {
            count_closed(&mut moves, id, closed);
        }
    }
    for ended in after.effects.closed.iter().chain(&after.effects.amended) {
        if let Source::Campaign(id) = &ended.ask.source {
            lists.push(ListMove::Put {
                list: ListName::Targets(id.clone()),
                score: 0,
                text: ended.to_text(),
            });
        }
    }
    for (id, delay) in &after.effects.delays {
        moves.add(Counter::Delay(id.clone(), DelayBucket::of(*delay)), 1);
    }
    for id in &after.effects.attempted {
        moves.add(Counter::Campaign(id.clone(), TargetState::Attempts), 1);
    }
    let placement = Placement {
        from: match &lease {
            Some(lease) => Some(lease.queue.clone()),
            None => old.and_then(|r| place(&key.tenant, r)).map(|d| d.queue),
        },
        to: new.and_then(|r| place(&key.tenant, r)),
    };
    Item {
        expect: before.revision.map_or(Expect::Absent, Expect::Revision),
        change: match new {
            Some(record) => Change::Put(after.revision, Bytes::from(codec::encode(record))),
            None if old.is_some() => Change::Delete,
            None => Change::Keep,
        },
        key,
        lease,
        placement,
        moves,
        lists,
        events: after.effects.events,
    }
}

fn count_closed(moves: &mut Moves, id: &CampaignId, closed: &ClosedTarget) {
    let state = TargetState::from(closed.ask.reason);
    moves.add(Counter::Campaign(id.clone(), state), 1);
    if closed.wave > 0 {
        moves.add(Counter::Wave(id.clone(), closed.wave, state), 1);
    }
    if let Some(delay) = closed.check_in_delay() {
        moves.add(Counter::Delay(id.clone(), DelayBucket::of(delay)), 1);
    }
}

fn count_record(moves: &mut Moves, record: Option<&DeviceRecord>, by: i64) {
    let Some(record) = record else { return };
    moves.add(Counter::Channels(record.channel_kind()), by);
    let Some(push) = &record.push else { return };
    if let Some(class) = push.asks.iter().map(|a| a.class).min() {
        moves.add(Counter::Pushes(class), by);
    }
    for ask in &push.asks {
        if let Source::Campaign(id) = &ask.source {
            let state = target_state(record, ask);
            moves.add(Counter::Campaign(id.clone(), state), by);
            if ask.wave > 0 {
                moves.add(Counter::Wave(id.clone(), ask.wave, state), by);
            }
        }
    }
}

/// Counts the targets that were told to wake: from their release on, and from the acceptance of the notification instead as
/// soon as that is known. One that ends within [`WakeSlot::SESSION`] is taken out; older slots are not looked at any more.
fn count_sessions(
    moves: &mut Moves,
    old: Option<&DeviceRecord>,
    new: Option<&DeviceRecord>,
    closed: &[ClosedTarget],
) {
    let mut take_out = |id: &CampaignId, woken: Timestamp, at: Timestamp| {
        if at.duration_since(woken) < WakeSlot::SESSION {
            moves.add(Counter::Woken(id.clone(), WakeSlot::of(woken)), -1);
        }
    };
    for (id, woken) in old.into_iter().flat_map(told_to_wake) {
        let still = new.into_iter().flat_map(told_to_wake);
        let ended = closed.iter().find(|c| c.ask.source.is_campaign(id));
        match still.into_iter().find(|(of, _)| *of == id) {
            Some((_, later)) if later != woken => take_out(id, woken, later),
            Some(_) => {}
            None => take_out(id, woken, ended.map_or(woken, |c| c.ask.closed_at)),
        }
    }
    for (id, woken) in new.into_iter().flat_map(told_to_wake) {
        let mut before = old.into_iter().flat_map(told_to_wake);
        if !before.any(|was| was == (id, woken)) {
            moves.add(Counter::Woken(id.clone(), WakeSlot::of(woken)), 1);
        }
    }
}

/// The campaigns that wait for a session of this device, each with the moment at which it was last told to wake.
fn told_to_wake(record: &DeviceRecord) -> impl Iterator<Item = (&CampaignId, Timestamp)> {
    let repeated = record.push.as_ref().and_then(|push| push.repeated_at);
    let asks = record.push.iter().flat_map(|push| &push.asks);
    asks.filter_map(move |ask| {
        let (Source::Campaign(id), Goal::CheckIn) = (&ask.source, ask.goal) else {
            return None;
        };
        let woken = match ask.phase {
            Phase::Waiting => ask.opened_at,
            Phase::Awaiting { accepted_at } => {
                repeated.map_or(accepted_at, |at| at.max(accepted_at))
            }
        };
        Some((id, woken))
    })
}

/// Moves a usable channel from the day on which it was expected to expire to the day on which it is now.
fn count_expiry(moves: &mut Moves, old: Option<&DeviceRecord>, new: Option<&DeviceRecord>) {
    let expiry = |record: Option<&DeviceRecord>| {
        let channel = record?.channel.as_ref().filter(|c| c.usable())?;
        Some(channel.expires_at())
    };
    let (was, is) = (expiry(old), expiry(new));
    if was == is {
        return;
    }
    for (at, by) in [(was, -1), (is, 1)] {
        if let Some(at) = at {
            moves.add(Counter::expiring(at), by);
        }
    }
}

/// Where an open ask's target stands in its campaign.
#[must_use]
pub fn target_state(record: &DeviceRecord, ask: &Ask) -> TargetState {
    match ask.phase {
        _ if ask.held => TargetState::Held,
        Phase::Awaiting { .. } => TargetState::Awaiting,
        Phase::Waiting if record.reachable() => TargetState::Open,
        Phase::Waiting => TargetState::Blocked,
    }
}

fn list_channel(lists: &mut Vec<ListMove>, old: &DeviceRecord, new: &DeviceRecord) {
    let (was, is) = (listed(old.channel.as_ref()), listed(new.channel.as_ref()));
    if was == is {
        return;
    }
    if let Some((kind, _)) = was.filter(|(kind, _)| is.is_none_or(|(k, _)| k != *kind)) {
        lists.push(ListMove::Remove {
            list: ListName::Channels(kind),
        });
    }
    if let Some((kind, score)) = is {
        let list = ListName::Channels(kind);
        lists.push(ListMove::Put {
            list,
            score,
            text: String::new(),
        });
    }
}

/// The list of channels in trouble that a channel belongs to, and since when.
fn listed(channel: Option<&Channel>) -> Option<(&'static str, i64)> {
    match channel?.state {
        ChannelState::Live => None,
        ChannelState::Silent { until, .. } => {
            Some((ChannelKind::Silent.as_str(), until.as_millisecond()))
        }
        ChannelState::Suspect { since, .. } => {
            Some((ChannelKind::Suspect.as_str(), since.as_millisecond()))
        }
        ChannelState::Dead { since, .. } => {
            Some((ChannelKind::Dead.as_str(), since.as_millisecond()))
        }
    }
}
