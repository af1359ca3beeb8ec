//! Counters that the store keeps beside the records, moved in the same commit: they add up at every moment.

use std::{fmt, str::FromStr, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::{
    ask::{Class, CloseReason},
    channel::ChannelKind,
    delay::DelayBucket,
    id::CampaignId,
    schedule::earlier,
};

/// What is counted per tenant; as text the field name in the store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Counter {
    /// Devices by the state of their channel: `channels.<state>`.
    Channels(ChannelKind),
    /// Open pushes by the class of their leading ask: `pushes.<class>`.
    Pushes(Class),
    /// Asks that have ended, by reason: `closed.<reason>`; only grows.
    Closed(&'static str),
    /// Live or silent channels by the UTC day on which WNS is expected to expire them: `expiring.<yyyy-mm-dd>`.
    Expiring(jiff::civil::Date),
    /// A campaign's targets by state: `campaign.<id>.<state>`.
    Campaign(CampaignId, TargetState),
    /// The targets of one wave that its gate judges, by state: `campaign.<id>.wave<n>_<state>`.
    Wave(CampaignId, u8, TargetState),
    /// A campaign's targets that checked in, by how long it took: `campaign.<id>.delay_<bucket>`; only grows.
    Delay(CampaignId, DelayBucket),
    /// A campaign's targets whose session may be open, by when they were last told to wake: `campaign.<id>.woken_<slot>`.
    Woken(CampaignId, WakeSlot),
}

/// Ten seconds in which devices are told to wake, counted from the begin of 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WakeSlot(pub i64);

impl WakeSlot {
    /// A device that was woken this long ago has its session behind it, or will not open one.
    pub const SESSION: SignedDuration = SignedDuration::from_secs(60);
    const SECONDS: i64 = 10;
    /// How long a woken device counts at most, if it does not check in.
    pub const COUNTED: Duration =
        Duration::from_secs((Self::SESSION.as_secs() + Self::SECONDS).unsigned_abs());

    /// The slot of a moment.
    #[must_use]
    pub fn of(at: Timestamp) -> Self {
        Self(at.as_second().div_euclid(Self::SECONDS))
    }

    /// Whether a session of a device that was woken in this slot may be open: some seconds longer than
    /// [`WakeSlot::SESSION`], since it begins at any moment of the slot.
    #[must_use]
    pub fn may_be_open(self, now: Timestamp) -> bool {
        self >= Self::of(earlier(now, Self::SESSION))
    }

    /// Whether no commit that is still on its way moves the slot any more.
    #[must_use]
    pub fn is_over(self, now: Timestamp) -> bool {
        self < Self::of(earlier(now, Self::SESSION * 3))
    }
}

impl Counter {
    /// The day counter of a channel that expires at `at`.
    #[must_use]
    pub fn expiring(at: Timestamp) -> Self {
        Self::Expiring(at.to_zoned(jiff::tz::TimeZone::UTC).date())
    }
}

/// Where a campaign's target stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TargetState {
    /// Not yet released.
    Waiting,
    /// Released; its turn to be sent has not come, or it is being retried.
    Open,
    /// Its campaign is paused.
    Held,
    /// WNS accepted; the device has not checked in.
    Awaiting,
    /// The device has no usable channel.
    Blocked,
    /// Ended, by [`CloseReason::as_str`].
    Closed(&'static str),
    /// All of the above together.
    Targets,
    /// POSTs made for its targets.
    Attempts,
}

impl TargetState {
    /// Stable text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Open => "open",
            Self::Held => "held",
            Self::Awaiting => "awaiting",
            Self::Blocked => "blocked",
            Self::Closed(reason) => reason,
            Self::Targets => "targets",
            Self::Attempts => "attempts",
        }
    }
}

impl From<CloseReason> for TargetState {
    fn from(reason: CloseReason) -> Self {
        Self::Closed(reason.as_str())
    }
}

impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Channels(kind) => write!(f, "channels.{}", kind.as_str()),
            Self::Pushes(class) => write!(f, "pushes.{}", class.as_str()),
            Self::Closed(reason) => write!(f, "closed.{reason}"),
            Self::Expiring(day) => write!(f, "expiring.{day}"),
            Self::Campaign(id, state) => write!(f, "campaign.{id}.{}", state.as_str()),
            Self::Wave(id, wave, state) => {
                write!(f, "campaign.{id}.wave{wave}_{}", state.as_str())
            }
            Self::Delay(id, bucket) => write!(f, "campaign.{id}.delay_{}", bucket.0),
            Self::Woken(id, slot) => write!(f, "campaign.{id}.woken_{}", slot.0),
        }
    }
}

/// The text is not that of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a counter")]
pub struct UnknownCounter;

impl FromStr for Counter {
    type Err = UnknownCounter;

    fn from_str(text: &str) -> Result<Self, UnknownCounter> {
        let (family, rest) = text.split_once('.').ok_or(UnknownCounter)?;
        let read = match family {
            "channels" => one_of(&ChannelKind::ALL, ChannelKind::as_str, rest).map(Self::Channels),
            "pushes" => one_of(&Class::ALL, Class::as_str, rest).map(Self::Pushes),
            "closed" => one_of(&CloseReason::LABELS, |label| label, rest).map(Self::Closed),
            "expiring" => rest.parse().ok().map(Self::Expiring),
            // Ids may hold dots, what follows them does not.
            "campaign" => rest
                .rsplit_once('.')
                .and_then(|(id, what)| of_campaign(id, what)),
            _ => None,
        };
        read.ok_or(UnknownCounter)
    }
}

fn one_of<T: Copy>(all: &[T], text: fn(T) -> &'static str, wanted: &str) -> Option<T> {
    all.iter().copied().find(|one| text(*one) == wanted)
}

fn of_campaign(id: &str, what: &str) -> Option<Counter> {
    let id = CampaignId::new(id).ok()?;
    if let Some(bucket) = what.strip_prefix("delay_") {
        return Some(Counter::Delay(id, DelayBucket(bucket.parse().ok()?)));
    }
    if let Some(slot) = what.strip_prefix("woken_") {
        return Some(Counter::Woken(id, WakeSlot(slot.parse().ok()?)));
    }
    if let Some((wave, state)) = what.strip_prefix("wave").and_then(|w| w.split_once('_')) {
        return Some(Counter::Wave(id, wave.parse().ok()?, target_state(state)?));
    }
    Some(Counter::Campaign(id, target_state(what)?))
}

fn target_state(text: &str) -> Option<TargetState> {
    const PLAIN: [TargetState; 7] = [
        TargetState::Waiting,
        TargetState::Open,
        TargetState::Held,
        TargetState::Awaiting,
        TargetState::Blocked,
        TargetState::Targets,
        TargetState::Attempts,
    ];
    let closed = || one_of(&CloseReason::LABELS, |label| label, text).map(TargetState::Closed);
    one_of(&PLAIN, |state| state.as_str(), text).or_else(closed)
}

/// Movements of counters, each name at most once, none zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moves(Vec<(Counter, i64)>);

impl Moves {
    /// Adds `by` to the movement of `counter`.
    pub fn add(&mut self, counter: Counter, by: i64) {
        match self.0.iter().position(|(c, _)| *c == counter) {
            Some(at) => {
                self.0[at].1 += by;
                if self.0[at].1 == 0 {
                    self.0.swap_remove(at);
                }
            }
            None if by != 0 => self.0.push((counter, by)),
            None => {}
        }
    }

    /// The movements.
    pub fn iter(&self) -> impl Iterator<Item = &(Counter, i64)> {
        self.0.iter()
    }

    /// Whether nothing moves.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_read_from_its_name() {
        let id = || CampaignId::new("renew.7_x").unwrap();
        let counters = [
            Counter::Channels(ChannelKind::Dead),
            Counter::Pushes(Class::Bulk),
            Counter::Closed("checked_in"),
            Counter::Expiring("2026-12-01".parse().unwrap()),
            Counter::Campaign(id(), TargetState::Targets),
            Counter::Campaign(id(), TargetState::Closed("accepted")),
            Counter::Wave(id(), 12, TargetState::Closed("checked_in")),
            Counter::Delay(id(), DelayBucket(31)),
            Counter::Woken(id(), WakeSlot(179_000_000)),
        ];
        for counter in counters {
            assert_eq!(counter.to_string().parse(), Ok(counter));
        }
        for unknown in [
            "",
            "x",
            "closed.x",
            "campaign.c",
            "campaign.c.x",
            "pushes.",
            "campaign.c.wave_open",
        ] {
            assert_eq!(unknown.parse::<Counter>(), Err(UnknownCounter), "{unknown}");
        }
    }

    #[test]
    fn moves_that_cancel_out_vanish() {
        let mut moves = Moves::default();
        moves.add(Counter::Channels(ChannelKind::Live), 1);
        moves.add(Counter::Pushes(Class::Bulk), 2);
        moves.add(Counter::Channels(ChannelKind::Live), -1);
        let left: Vec<_> = moves.iter().map(|(c, by)| (c.to_string(), *by)).collect();
        assert_eq!(left, [("pushes.bulk".to_owned(), 2)]);
    }
}
