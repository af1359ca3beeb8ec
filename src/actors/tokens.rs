//! The access token of one app, as everybody may read it without asking.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use jiff::Timestamp;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout_at},
};

use crate::{
    domain::wns::token::{TokenFailure, TokenReply},
    ports::wns::Bearer,
};

/// Part of a token's life, and least time, by which it is renewed ahead of its end.
const MARGIN_PART: u32 = 10;
const MARGIN_MIN: Duration = Duration::from_mins(5);

/// A token that was granted.
#[derive(Clone, Debug)]
pub struct Token {
    /// Its header.
    pub bearer: Bearer,
    /// Which of the broker's tokens of this app it is; rises.
    pub serial: u64,
    /// When it ends.
    pub expires: Instant,
    /// The same by the time of day.
    pub expires_at: Timestamp,
    /// When the next one is fetched.
    pub renew: Instant,
}

/// How the last request for a token ended.
#[derive(Clone, Debug, Default)]
pub enum Standing {
    /// There was none yet.
    #[default]
    Starting,
    /// A token was granted.
    Granted,
    /// The credential was refused: nothing is sent once the token in hand has ended, until somebody mends it.
    Refused {
        /// The endpoint's words.
        failure: TokenFailure,
        /// Since when.
        since: Timestamp,
    },
    /// The endpoint was of no use; a token that is still valid stays in use.
    Unavailable {
        /// Why.
        failure: TokenFailure,
        /// Since when.
        since: Timestamp,
    },
}

/// The token in use, who wants another, and how the last request ended.
pub struct Tokens {
    current: ArcSwapOption<Token>,
    refused: AtomicU64,
    standing: ArcSwap<Standing>,
    changed: watch::Sender<u64>,
    wanted: Notify,
    by_hand: AtomicBool,
}

impl Default for Tokens {
    fn default() -> Self {
        Self {
            current: ArcSwapOption::empty(),
            refused: AtomicU64::new(0),
            standing: ArcSwap::default(),
            changed: watch::Sender::new(0),
            wanted: Notify::new(),
            by_hand: AtomicBool::new(false),
        }
    }
}

impl Tokens {
    /// The token to send with, unless it has ended or was refused.
    #[must_use]
    pub fn usable(&self) -> Option<Arc<Token>> {
        let token = self.current.load_full()?;
        let good =
            token.serial > self.refused.load(Ordering::Acquire) && token.expires > Instant::now();
        good.then_some(token)
    }

    /// The last token that was granted, usable or not.
    #[must_use]
    pub fn last(&self) -> Option<Arc<Token>> {
        self.current.load_full()
    }

    /// How the last request ended.
    #[must_use]
    pub fn standing(&self) -> Arc<Standing> {
        self.standing.load_full()
    }

    /// Whether the credential is refused. A token from before may still be good.
    #[must_use]
    pub fn credential_refused(&self) -> bool {
        matches!(**self.standing.load(), Standing::Refused { .. })
    }

    /// WNS refused this token: it is not used again, and another is wanted unless there is one already.
    pub fn refuse(&self, serial: u64) {
        if self.refused.fetch_max(serial, Ordering::AcqRel) < serial {
            self.wanted.notify_one();
        }
    }

    /// Somebody wants another token now, whatever stands against it.
    pub fn want(&self) {
        self.by_hand.store(true, Ordering::Release);
        self.wanted.notify_one();
    }

    /// Waits for a token newer than `serial`; none if there will be none before `until`.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn newer(&self, serial: u64, until: Instant) -> Option<Arc<Token>> {
        let mut changed = self.changed.subscribe();
        loop {
            changed.borrow_and_update();
            if let Some(token) = self.usable().filter(|token| token.serial > serial) {
                return Some(token);
            }
            if self.credential_refused() {
                return None;
            }
            let turn = timeout_at(until, changed.changed()).await;
            turn.ok()?.ok()?;
        }
    }

    pub(super) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    pub(super) fn take_by_hand(&self) -> bool {
        self.by_hand.swap(false, Ordering::AcqRel)
    }

    /// Whether the token was refused since it was granted.
    pub(super) fn refused(&self) -> bool {
        let refused = self.refused.load(Ordering::Acquire);
        self.current
            .load()
            .as_ref()
            .is_some_and(|token| token.serial <= refused)
    }

    pub(super) fn grant(
        &self,
        reply: &TokenReply,
        asked: Instant,
        asked_at: Timestamp,
    ) -> Arc<Token> {
        let serial = self.current.load().as_ref().map_or(1, |old| old.serial + 1);
        let token = Arc::new(Token {
            bearer: Bearer::new(&reply.access_token),
            serial,
            expires: asked + reply.expires_in,
            expires_at: asked_at
                .saturating_add(reply.expires_in)
                .unwrap_or(Timestamp::MAX),
            renew: asked + reply.expires_in.saturating_sub(margin(reply.expires_in)),
        });
        self.current.store(Some(token.clone()));
        self.stand(Standing::Granted);
        token
    }

    pub(super) fn fail(&self, failure: &TokenFailure, now: Timestamp) {
        let failure = failure.clone();
        let since = match &**self.standing.load() {
            Standing::Refused { since, .. } | Standing::Unavailable { since, .. } => *since,
            Standing::Starting | Standing::Granted => now,
        };
        self.stand(match failure {
            TokenFailure::Credential { .. } => Standing::Refused { failure, since },
            TokenFailure::Unavailable { .. } => Standing::Unavailable { failure, since },
        });
    }

    fn stand(&self, standing: Standing) {
        self.standing.store(Arc::new(standing));
        self.changed.send_modify(|turn| *turn += 1);
    }

    /// Told whenever the standing has changed.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

/// A tenth of the life, five minutes at least, and never more than half.
fn margin(life: Duration) -> Duration {
    (life / MARGIN_PART).max(MARGIN_MIN).min(life / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_renewed_well_ahead_of_their_end() {
        for (life, ahead) in [
            (86_400, 8_640),
            (3_600, 360),
            (1_200, 300),
            (600, 300),
            (60, 30),
        ] {
            assert_eq!(
                margin(Duration::from_secs(life)),
                Duration::from_secs(ahead),
                "{life}"
            );
        }
    }
}
