//! What a report says of one target.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::state::{Campaign, State};
use crate::domain::{
    ask::{Ask, CancelCause, CloseReason, Source},
    counter::TargetState,
    id::DeviceId,
    item::target_state,
    record::DeviceRecord,
};

/// Where a target stands, as a report says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TargetStatus {
    /// Not yet released.
    Waiting,
    /// Its push is to be sent.
    Open,
    /// Its campaign is paused.
    Held,
    /// WNS accepted; the device has not checked in.
    Awaiting,
    /// The device has no usable channel.
    Blocked,
    /// WNS took a notification, which was the goal.
    Accepted,
    /// The device started a session.
    CheckedIn,
    /// The deadline came first.
    Expired,
    /// It was taken back.
    Cancelled,
    /// WNS refuses our request.
    Rejected,
}

impl TargetStatus {
    /// Every status, in the order in which they are shown.
    pub const ALL: [Self; 10] = [
        Self::Waiting,
        Self::Open,
        Self::Held,
        Self::Awaiting,
        Self::Blocked,
        Self::Accepted,
        Self::CheckedIn,
        Self::Expired,
        Self::Cancelled,
        Self::Rejected,
    ];

    /// Stable text; the same as the counter's.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Open => "open",
            Self::Held => "held",
            Self::Awaiting => "awaiting",
            Self::Blocked => "blocked",
            Self::Accepted => "accepted",
            Self::CheckedIn => "checked_in",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Rejected => "rejected",
        }
    }

    fn named(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }
}

impl std::str::FromStr for TargetStatus {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Self, UnknownStatus> {
        Self::named(text).ok_or(UnknownStatus)
    }
}

/// The text names no status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a target is waiting, open, held, awaiting, blocked, accepted, checked_in, expired, cancelled or rejected"
)]
pub struct UnknownStatus;

/// The kept result of a target cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the result of a target is damaged")]
pub struct DamagedResult;

/// What is known of a target's asks and attempts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetResult {
    /// What lies behind the status.
    pub cause: Option<String>,
    /// POSTs that WNS answered.
    pub attempts: u32,
    /// When it was released; none if it never was.
    pub opened_at: Option<Timestamp>,
    /// When it ended.
    pub closed_at: Option<Timestamp>,
    /// When WNS first accepted a notification for it.
    pub accepted_at: Option<Timestamp>,
    /// Begin of the session that ended it.
    pub checked_in_at: Option<Timestamp>,
    /// Outcome of the last POST to the device.
    pub last_outcome: Option<String>,
    /// `X-WNS-Msg-ID` of that POST.
    pub msg_id: Option<String>,
    /// `X-WNS-Debug-Trace` of that POST.
    pub debug_trace: Option<String>,
    /// `MS-CV` of that POST.
    pub ms_cv: Option<String>,
}

/// One line of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetView {
    /// The device.
    pub device: DeviceId,
    /// Where it stands.
    pub status: TargetStatus,
    /// What there is to say.
    pub result: TargetResult,
}

impl TargetResult {
    /// Reads what [`ClosedTarget::to_text`](crate::domain::transition::ClosedTarget::to_text) wrote.
    ///
    /// # Errors
    /// [`DamagedResult`] when it did not.
    pub fn parse(text: &str) -> Result<(TargetStatus, Self), DamagedResult> {
        let fields: Vec<&str> = text.split('|').collect();
        let [
            head,
            attempts,
            opened,
            closed,
            accepted,
            checked_in,
            last @ ..,
        ] = &fields[..]
        else {
            return Err(DamagedResult);
        };
        let [outcome, msg_id, debug_trace, ms_cv] = last else {
            return Err(DamagedResult);
        };
        let (status, cause) = match head.split_once(',') {
            Some((status, cause)) => (status, Some(cause.to_owned())),
            None => (*head, None),
        };
        let result = Self {
            cause,
            attempts: attempts.parse().map_err(|_| DamagedResult)?,
            // Lines of before have their end where they should have no release.
            opened_at: time(opened)?.filter(|_| opened != closed),
            closed_at: time(closed)?,
            accepted_at: time(accepted)?,
            checked_in_at: time(checked_in)?,
            last_outcome: some(outcome),
            msg_id: some(msg_id),
            debug_trace: some(debug_trace),
            ms_cv: some(ms_cv),
        };
        Ok((TargetStatus::named(status).ok_or(DamagedResult)?, result))
    }

    /// From push to check-in, zero if the clocks disagree; none where WNS has accepted no notification.
    #[must_use]
    pub fn check_in_delay(&self) -> Option<SignedDuration> {
        let delay = self.checked_in_at?.duration_since(self.accepted_at?);
        Some(delay.max(SignedDuration::ZERO))
    }

    fn of_ask(record: &DeviceRecord, ask: &Ask) -> Self {
        let attempts = record.push.as_ref().map_or(0, |p| p.attempts);
        let last = record
            .last_attempt
            .as_ref()
            .filter(|a| a.at >= ask.opened_at);
        Self {
            cause: None,
            attempts: attempts.saturating_sub(ask.attempts_before),
            opened_at: Some(ask.opened_at),
            accepted_at: match ask.phase {
                crate::domain::ask::Phase::Waiting => None,
                crate::domain::ask::Phase::Awaiting { accepted_at } => Some(accepted_at),
            },
            last_outcome: last.and_then(|l| some(&l.outcome)),
            msg_id: last.and_then(|l| some(&l.msg_id)),
            debug_trace: last.and_then(|l| some(&l.debug_trace)),
            ms_cv: last.and_then(|l| some(&l.ms_cv)),
            ..Self::default()
        }
    }
}

fn time(text: &str) -> Result<Option<Timestamp>, DamagedResult> {
    if text.is_empty() {
        return Ok(None);
    }
    let ms = text.parse().map_err(|_| DamagedResult)?;
    Timestamp::from_millisecond(ms)
        .map(Some)
        .map_err(|_| DamagedResult)
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

impl TargetView {
    /// The line of a target that has not ended, from its device's record. While the campaign is paused, what could be
    /// sent is held; in a cancelled one it has ended with the campaign.
    #[must_use]
    pub fn unfinished(
        device: DeviceId,
        campaign: &Campaign,
        record: Option<&DeviceRecord>,
    ) -> Self {
        let ours = |a: &&Ask| matches!(&a.source, Source::Campaign(id) if *id == campaign.id);
        let asked = record.and_then(|r| {
            let ask = r.push.as_ref()?.asks.iter().find(ours)?;
            Some((r, ask))
        });
        let mut view = match asked {
            Some((record, ask)) => Self {
                device,
                status: status_of(target_state(record, ask)),
                result: TargetResult::of_ask(record, ask),
            },
            None => Self {
                device,
                status: TargetStatus::Waiting,
                result: TargetResult::default(),
            },
        };
        match campaign.state {
            State::Paused if view.status == TargetStatus::Open => view.status = TargetStatus::Held,
            State::Cancelled => {
                view.status = TargetStatus::Cancelled;
                let cause = CloseReason::Cancelled(CancelCause::Request).cause();
                view.result.cause = cause.map(str::to_owned);
                view.result.closed_at = campaign.ended_at;
            }
            State::Draft | State::Preparing | State::Running | State::Paused | State::Finished => {}
        }
        view
    }
}

fn status_of(state: TargetState) -> TargetStatus {
    match state {
        TargetState::Open => TargetStatus::Open,
        TargetState::Held => TargetStatus::Held,
        TargetState::Awaiting => TargetStatus::Awaiting,
        TargetState::Blocked => TargetStatus::Blocked,
        TargetState::Waiting
        | TargetState::Closed(_)
        | TargetState::Targets
        | TargetState::Attempts => TargetStatus::Waiting,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_results_are_told() {
        for wrong in [
            "",
            "expired",
            "sleeping|0||||||||",
            "expired|x||||||||",
            "expired|0|x|||||||",
            "expired|0||||||||more|",
        ] {
            assert_eq!(TargetResult::parse(wrong), Err(DamagedResult), "{wrong}");
        }
        let (status, result) = TargetResult::parse("expired,no_channel|0|1|2||||||").unwrap();
        assert_eq!(status, TargetStatus::Expired);
        assert_eq!(result.cause.as_deref(), Some("no_channel"));
    }

    #[test]
    fn a_target_that_was_never_released_has_no_release_whoever_wrote_its_line() {
        for line in ["checked_in|0|5|5||3||||", "checked_in|0||5||3||||"] {
            let (_, result) = TargetResult::parse(line).unwrap();
            assert_eq!(result.opened_at, None, "{line}");
            assert_eq!(result.closed_at, Timestamp::from_millisecond(5).ok());
            assert_eq!(result.check_in_delay(), None);
        }
    }

    #[test]
    fn only_a_notification_that_wns_accepted_has_a_delay_until_the_check_in() {
        for (line, seconds) in [
            ("checked_in|0|1000|9000||9000||||", None),
            ("checked_in|1|1000|9000|2000|9000||||", Some(7)),
        ] {
            let (_, result) = TargetResult::parse(line).unwrap();
            assert_eq!(result.check_in_delay().map(|d| d.as_secs()), seconds);
        }
    }
}
