//! Taking the console's word that devices have started sessions.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::{
    domain::{
        ask::CloseReason,
        id::{DeviceId, TenantId},
        record::DeviceRecord,
        transition::{self, ClosedTarget, Effects, Registered, Step},
        wns::channel_uri::ChannelUri,
    },
    ports::{error::StoreError, records::Urgency},
};

use super::{desk::Desk, edit::Decision};

/// One session that the console reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// When it began; none means now.
    pub at: Option<Timestamp>,
    /// The channel URI that the device reported in it.
    pub uri: Option<ChannelUri>,
}

/// What a report came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckIn {
    /// It was noted.
    Noted {
        /// Asks that it closed.
        closed: usize,
        /// Whether it brought a new channel URI.
        channel_updated: bool,
        /// How far the session's begin lies ahead of our clock; zero when it does not.
        ahead: SignedDuration,
        /// From the notification that WNS took to the session, if one had been sent.
        delay: Option<Duration>,
    },
    /// Nobody has named the device before, and the report brought no channel.
    Unknown,
}

/// Notes sessions; one answer for each, in order. A report with a channel URI makes a device that nobody has named before.
///
/// Closing goes on when the store is full; only devices that are new need room.
///
/// # Errors
/// [`StoreError`]; some may have been noted then. Repeating is harmless.
pub async fn check_in(
    desk: &Desk,
    tenant: &TenantId,
    sessions: Vec<(DeviceId, Session)>,
) -> Result<Vec<CheckIn>, StoreError> {
    let newcomers = |answers: &[CheckIn]| {
        let unknown = |(i, answer): (usize, &CheckIn)| {
            (*answer == CheckIn::Unknown && sessions[i].1.uri.is_some()).then_some(i)
        };
        answers
            .iter()
            .enumerate()
            .filter_map(unknown)
            .collect::<Vec<usize>>()
    };
    let known = desk.change(
        tenant,
        sessions.clone(),
        Urgency::Settle,
        |step, session, record| match record {
            Some(record) => note(step, session, record),
            None => Decision::Leave(CheckIn::Unknown),
        },
    );
    let mut answers = known.await?;
    let new = newcomers(&answers);
    let jobs: Vec<_> = new.iter().map(|i| sessions[*i].clone()).collect();
    if !jobs.is_empty() {
        let made = desk.change(tenant, jobs, Urgency::Open, |step, session, record| {
            note(step, session, record.unwrap_or_default())
        });
        for (i, answer) in new.into_iter().zip(made.await?) {
            answers[i] = answer;
        }
    }
    tell(desk, tenant, &answers);
    Ok(answers)
}

fn tell(desk: &Desk, tenant: &TenantId, answers: &[CheckIn]) {
    let metrics = desk.telemetry.tenant(tenant);
    let mut farthest = SignedDuration::ZERO;
    let mut noted = false;
    for answer in answers {
        if let CheckIn::Noted { ahead, delay, .. } = answer {
            desk.telemetry.checked_in(&metrics, *delay);
            farthest = farthest.max(*ahead);
            noted = true;
        }
    }
    if noted {
        desk.telemetry
            .check_in_skew(&metrics, farthest.unsigned_abs());
    }
    if farthest > desk.rules.check_in_skew {
        let ahead = farthest.unsigned_abs();
        desk.telemetry
            .check_in_ahead(&metrics, ahead, Instant::now());
    }
}

/// The check-in comes first: it closes what waited for the device, so that the channel does not push one that is awake.
fn note(step: &Step<'_>, session: &Session, mut record: DeviceRecord) -> Decision<CheckIn> {
    let mut effects = Effects::default();
    let noted = transition::check_in(step, &mut record, session.at.unwrap_or(step.now));
    let answered = |c: &&ClosedTarget| c.ask.reason == CloseReason::CheckedIn;
    let closed = noted.effects.closed.iter().filter(answered).count();
    let delay = noted.effects.closed.iter().find_map(delay_of);
    effects.absorb(noted.effects);
    let mut channel_updated = false;
    if let Some(uri) = &session.uri {
        let (registered, more) = transition::register(step, &mut record, uri.clone());
        channel_updated = registered == Registered::New;
        effects.absorb(more);
    }
    let answer = CheckIn::Noted {
        closed,
        channel_updated,
        ahead: noted.ahead,
        delay,
    };
    Decision::Commit(Some(record), effects, answer)
}

fn delay_of(closed: &ClosedTarget) -> Option<Duration> {
    let delay = closed.checked_in_at?.duration_since(closed.accepted_at?);
    Some(delay.max(SignedDuration::ZERO).unsigned_abs())
}
