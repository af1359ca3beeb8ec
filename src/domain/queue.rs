//! Due queues: where an open push waits for its turn.
//!
//! A queue is named by tenant, lane and flow. The store orders each by due time; which queue is served next is the
//! broker's policy. A record has at most one place, and it is a pure function of the record ([`place`]).

use std::{fmt, str::FromStr};

use jiff::Timestamp;

use super::{
    ask::{Ask, Class, Phase, Source},
    channel::ChannelState,
    id::{CampaignId, TenantId},
    record::{DeviceRecord, Push},
};

/// Which kind of turn a push waits for, in the order of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// A first notification for an urgent ask.
    Urgent,
    /// A first notification for a normal ask.
    Normal,
    /// A first notification for a bulk ask.
    Bulk,
    /// A repeated notification for a device that has not checked in.
    Repush,
    /// Nothing to send: a deadline or a review. Served without pace, never parked.
    Timer,
}

impl Lane {
    /// Every lane, in the order of service.
    pub const ALL: [Self; 5] = [
        Self::Urgent,
        Self::Normal,
        Self::Bulk,
        Self::Repush,
        Self::Timer,
    ];

    /// Stable text for queue names.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Urgent => "urgent",
            Self::Normal => "normal",
            Self::Bulk => "bulk",
            Self::Repush => "repush",
            Self::Timer => "timer",
        }
    }
}

impl From<Class> for Lane {
    fn from(class: Class) -> Self {
        match class {
            Class::Urgent => Self::Urgent,
            Class::Normal => Self::Normal,
            Class::Bulk => Self::Bulk,
        }
    }
}

/// Whose turn: a campaign's, or that of direct requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Flow {
    /// Direct requests.
    Direct,
    /// One campaign.
    Campaign(CampaignId),
}

impl From<&Source> for Flow {
    fn from(source: &Source) -> Self {
        match source {
            Source::Direct => Self::Direct,
            Source::Campaign(id) => Self::Campaign(id.clone()),
        }
    }
}

/// The name of a due queue; as text `tenant:lane:direct` or `tenant:lane:c/<campaign>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Queue {
    /// The name space.
    pub tenant: TenantId,
    /// The kind of turn.
    pub lane: Lane,
    /// Whose turn.
    pub flow: Flow,
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tenant, lane) = (&self.tenant, self.lane.as_str());
        match &self.flow {
            Flow::Direct => write!(f, "{tenant}:{lane}:direct"),
            Flow::Campaign(id) => write!(f, "{tenant}:{lane}:c/{id}"),
        }
    }
}

/// The text is not the name of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a due queue")]
pub struct NotAQueue;

impl FromStr for Queue {
    type Err = NotAQueue;

    fn from_str(text: &str) -> Result<Self, NotAQueue> {
        let mut parts = text.splitn(3, ':');
        let (Some(tenant), Some(lane), Some(flow)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(NotAQueue);
        };
        let lane = Lane::ALL.into_iter().find(|l| l.as_str() == lane);
        let flow = match flow.strip_prefix("c/") {
            Some(id) => Flow::Campaign(CampaignId::new(id).map_err(|_| NotAQueue)?),
            None if flow == "direct" => Flow::Direct,
            None => return Err(NotAQueue),
        };
        Ok(Self {
            tenant: TenantId::new(tenant).map_err(|_| NotAQueue)?,
            lane: lane.ok_or(NotAQueue)?,
            flow,
        })
    }
}

/// A place in a due queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The queue.
    pub queue: Queue,
    /// When its turn comes.
    pub at: Timestamp,
}

/// Where `record` waits; `None` when nothing will ever have to be done for it.
#[must_use]
pub fn place(tenant: &TenantId, record: &DeviceRecord) -> Option<Due> {
    let review = record.channel.as_ref().and_then(|c| match c.state {
        ChannelState::Suspect { review_at, .. } => Some(review_at),
        ChannelState::Live | ChannelState::Silent { .. } | ChannelState::Dead { .. } => None,
    });
    let (lane, flow, at) = match &record.push {
        None => (Lane::Timer, Flow::Direct, review?),
        Some(push) => turn(record, push, review),
    };
    let queue = Queue {
        tenant: tenant.clone(),
        lane,
        flow,
    };
    Some(Due { queue, at })
}

fn turn(record: &DeviceRecord, push: &Push, review: Option<Timestamp>) -> (Lane, Flow, Timestamp) {
    let deadline = push.earliest_deadline();
    let usable = record
        .channel
        .as_ref()
        .is_some_and(super::channel::Channel::usable);
    let lead = if usable { push.lead() } else { None };
    let Some(lead) = lead else {
        let at = review.map_or(deadline, |r| r.min(deadline));
        return (Lane::Timer, Flow::Direct, at);
    };
    let lane = match lead.phase {
        Phase::Waiting => Lane::from(lead.class),
        Phase::Awaiting { .. } => Lane::Repush,
    };
    (lane, Flow::from(&lead.source), push.next_at.min(deadline))
}

impl Push {
    /// The ask that decides lane and flow: not held, waiting before awaiting, then the most urgent, then direct, then
    /// the oldest.
    #[must_use]
    pub fn lead(&self) -> Option<&Ask> {
        self.asks.iter().filter(|a| !a.held).min_by_key(|a| {
            (
                a.phase != Phase::Waiting,
                a.class,
                a.source != Source::Direct,
                a.opened_at,
            )
        })
    }

    /// When the first of its asks expires.
    #[must_use]
    pub fn earliest_deadline(&self) -> Timestamp {
        self.asks
            .iter()
            .map(|a| a.deadline)
            .min()
            .unwrap_or(Timestamp::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queue_names_survive_a_round_trip() {
        for name in ["contoso:urgent:direct", "a.b:repush:c/renew-7"] {
            assert_eq!(name.parse::<Queue>().unwrap().to_string(), name);
        }
        for wrong in [
            "",
            "a",
            "a:urgent",
            "a:quick:direct",
            "a:urgent:x",
            "a/b:urgent:direct",
        ] {
            assert_eq!(wrong.parse::<Queue>(), Err(NotAQueue), "{wrong}");
        }
    }
}
