//! A device has started a session, by the console's word.

use jiff::{SignedDuration, Timestamp};

use super::{Effects, Step, close_asks, review::expired};
use crate::domain::{ask::CloseReason, record::DeviceRecord, schedule::later};

/// What a check-in came to.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckedIn {
    /// What it closed.
    pub effects: Effects,
    /// How far the session's begin lies ahead of our clock; zero when it does not.
    pub ahead: SignedDuration,
}

/// Notes a session that began `at`, and closes the asks opened before it. One that began after an ask's deadline came too
/// late for it: that ask has expired, though nobody has seen it until now.
///
/// Clocks differ: a session counts if it began no earlier than the tolerated skew before the ask was opened, and one that
/// seems to begin in the future began now. So does an ask: if it seems to be opened in the future, our clock was set back,
/// and how long ago it was opened nobody knows. Reports out of order never move the last check-in back.
pub fn check_in(step: &Step<'_>, record: &mut DeviceRecord, at: Timestamp) -> CheckedIn {
    let ahead = at.duration_since(step.now).max(SignedDuration::ZERO);
    let at = at.min(step.now);
    let latest = record.last_check_in.map_or(at, |last| last.max(at));
    // The asks are judged by this session, not by the latest known.
    record.last_check_in = Some(at);
    let mut effects = Effects::default();
    let counts_until = later(at, step.rules.check_in_skew);
    close_asks(step, record, &mut effects, |record, ask| {
        let answers = ask.opened_at.min(step.now) <= counts_until && at <= ask.deadline;
        let expires = || expired(step, record, ask);
        answers.then_some(CloseReason::CheckedIn).or_else(expires)
    });
    record.last_check_in = Some(latest);
    CheckedIn { effects, ahead }
}
