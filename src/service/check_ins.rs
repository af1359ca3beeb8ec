//! Taking the console's word that devices have started sessions.

use jiff::{SignedDuration, Timestamp};

use crate::{
    domain::{
        id::{DeviceId, TenantId},
        record::DeviceRecord,
        transition::{self, Effects, Registered, Step},
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
    if new.is_empty() {
        return Ok(answers);
    }
    let jobs = new.iter().map(|i| sessions[*i].clone()).collect();
    let made = desk.change(tenant, jobs, Urgency::Open, |step, session, record| {
        note(step, session, record.unwrap_or_default())
    });
    for (i, answer) in new.into_iter().zip(made.await?) {
        answers[i] = answer;
    }
    Ok(answers)
}

/// The check-in comes first: it closes what waited for the device, so that the channel does not push one that is awake.
fn note(step: &Step<'_>, session: &Session, mut record: DeviceRecord) -> Decision<CheckIn> {
    let mut effects = Effects::default();
    let noted = transition::check_in(step, &mut record, session.at.unwrap_or(step.now));
    let closed = noted.effects.closed.len();
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
    };
    Decision::Commit(Some(record), effects, answer)
}
