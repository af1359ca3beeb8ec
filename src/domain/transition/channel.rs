//! Registering channel URIs, and undoing marks that were made wrongly.

use jiff::Timestamp;

use super::{Effects, Step};
use crate::domain::{
    ask::Class,
    channel::{Channel, ChannelState, TRIAL_INTERVAL, Trial},
    event::{Event, EventKind},
    record::DeviceRecord,
    schedule::later,
    wns::channel_uri::ChannelUri,
};

/// What a reported URI came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registered {
    /// It is new for this device.
    New,
    /// It is the one already known.
    Unchanged,
}

/// Takes up the URI that the device reported.
///
/// A new URI revives a device and lets a blocked or silenced push go out now. Any other push goes out again after the first
/// step of the schedule at the latest: the device is awake and reporting, but should its session not come, what WNS holds for
/// the old URI is no use any more. The same URI does not extend the channel's life, nor does the one before it that comes back;
/// if the current one is dead, it earns one trial a day.
pub fn register(
    step: &Step<'_>,
    record: &mut DeviceRecord,
    uri: ChannelUri,
) -> (Registered, Effects) {
    let mut effects = Effects::default();
    if let Some(channel) = record.channel.as_mut().filter(|c| c.uri == uri) {
        channel.last_seen = channel.last_seen.max(step.now);
        let granted = grant_trial(channel, step.now);
        if granted {
            due_now(step, record);
        }
        return (Registered::Unchanged, effects);
    }
    let hindered = match record.channel.as_ref().map(|c| c.state) {
        None => true,
        Some(ChannelState::Live) => false,
        Some(
            ChannelState::Silent { .. } | ChannelState::Suspect { .. } | ChannelState::Dead { .. },
        ) => true,
    };
    let host = uri.host().to_owned();
    record.channel = Some(match &record.channel {
        Some(replaced) => replaced.succeeded_by(uri, step.now),
        None => Channel::new(uri, record.generation().next(), step.now),
    });
    if hindered {
        due_now(step, record);
    } else {
        due_soon(step, record);
    }
    effects.events.push(
        Event::of_device(EventKind::ChannelRegistered, step.now, step.device).with("host", host),
    );
    (Registered::New, effects)
}

fn grant_trial(channel: &mut Channel, now: Timestamp) -> bool {
    let ChannelState::Dead { trial, .. } = &mut channel.state else {
        return false;
    };
    let due = match *trial {
        Trial::NotAsked => true,
        Trial::Allowed => false,
        Trial::Used(at) => at > now || later(at, TRIAL_INTERVAL) <= now,
    };
    if due {
        *trial = Trial::Allowed;
    }
    due
}

/// Lets the open push, if there is one, go out as soon as the minimum interval allows.
fn due_now(step: &Step<'_>, record: &mut DeviceRecord) {
    let class = record.push.as_ref().and_then(|p| p.lead().map(|a| a.class));
    let at = step
        .rules
        .earliest(record, class.unwrap_or(Class::Bulk), step.now);
    if let Some(push) = &mut record.push {
        push.next_at = push.next_at.min(at);
        push.failures = 0;
    }
}

/// Lets the open push, if there is one, go out after the first step of the schedule: what WNS holds for an old URI is no
/// reason to wait with the new one.
pub(super) fn due_soon(step: &Step<'_>, record: &mut DeviceRecord) {
    if let Some(push) = &mut record.push {
        let soon = later(step.now, step.rules.repush_delay(1, step.jitter));
        push.next_at = push.next_at.min(soon);
    }
}

/// Makes a channel live again that was marked suspect or dead at or after `since`. Returns whether it was.
pub fn revive(step: &Step<'_>, record: &mut DeviceRecord, since: Timestamp) -> bool {
    let Some(channel) = &mut record.channel else {
        return false;
    };
    match channel.state {
        ChannelState::Suspect { since: at, .. } | ChannelState::Dead { since: at, .. }
            if at >= since =>
        {
            channel.state = ChannelState::Live;
            due_now(step, record);
            true
        }
        ChannelState::Live
        | ChannelState::Silent { .. }
        | ChannelState::Suspect { .. }
        | ChannelState::Dead { .. } => false,
    }
}
