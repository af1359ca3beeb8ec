//! Access tokens: issued by the token endpoints, checked with each notification by one look into a ring and one comparison.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    clock::Moment,
    mix::{Purpose, draw},
};

/// Tokens that are valid at the same time; an older one is refused once so many newer ones exist.
const TOKENS_MAX: usize = 4_096;
/// 1,024 characters of base64, about what WNS hands out.
const TOKEN_BYTES: usize = 768;
/// The first bytes: a constant, then the slot.
const HEAD: [u8; 2] = [0x13, 0x00];
const HEAD_CHARS: usize = 8;

/// All tokens that were issued and may still be valid.
#[derive(Debug)]
pub(crate) struct TokenStore {
    seed: u64,
    issued: AtomicU64,
    slots: Box<[ArcSwapOption<Token>]>,
}

#[derive(Debug)]
struct Token {
    text: String,
    app: u16,
    /// 0 once it is revoked.
    expires: AtomicU64,
}

impl TokenStore {
    /// `seed` must differ from run to run, so that no token of an earlier run is valid.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            issued: AtomicU64::new(0),
            slots: (0..TOKENS_MAX).map(|_| ArcSwapOption::empty()).collect(),
        }
    }

    /// Makes a token for an app; earlier ones stay valid.
    pub(crate) fn issue(&self, app: u16, now: Moment, lifetime: Duration) -> String {
        let number = self.issued.fetch_add(1, Relaxed);
        let slot = (number % TOKENS_MAX as u64) as u32;
        let mut bytes = [0_u8; TOKEN_BYTES];
        bytes[..2].copy_from_slice(&HEAD);
        bytes[2..6].copy_from_slice(&slot.to_be_bytes());
        for (at, chunk) in (0..).zip(bytes[6..].chunks_mut(8)) {
            let fill = draw(self.seed, Purpose::AccessToken, number, at);
            chunk.copy_from_slice(&fill.to_le_bytes()[..chunk.len()]);
        }
        let text = STANDARD.encode(bytes);
        self.slots[slot as usize].store(Some(Arc::new(Token {
            text: text.clone(),
            app,
            expires: AtomicU64::new(now.after(lifetime).0),
        })));
        text
    }

    /// The app that a token speaks for, while it is valid.
    pub(crate) fn verify(&self, text: &[u8], now: Moment) -> Option<u16> {
        let mut head = [0_u8; 6];
        STANDARD
            .decode_slice_unchecked(text.get(..HEAD_CHARS)?, &mut head)
            .ok()?;
        let slot = u32::from_be_bytes([head[2], head[3], head[4], head[5]]);
        let token = self.slots.get(slot as usize)?.load();
        let token = token.as_ref()?;
        (token.text.as_bytes() == text && now.0 < token.expires.load(Relaxed)).then_some(token.app)
    }

    /// Revokes the tokens of one app, or of all; returns how many were valid.
    pub(crate) fn revoke(&self, app: Option<u16>, now: Moment) -> u32 {
        let mut revoked = 0;
        for slot in &self.slots {
            if let Some(token) = slot
                .load()
                .as_ref()
                .filter(|token| app.is_none_or(|app| token.app == app))
            {
                revoked += u32::from(token.expires.swap(0, Relaxed) > now.0);
            }
        }
        revoked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    #[test]
    fn tokens_coexist_until_they_expire() {
        let (store, now) = (TokenStore::new(1), Moment(1));
        let one = store.issue(0, now, DAY);
        let other = store.issue(1, now, DAY / 2);
        assert_eq!(one.len(), 1024);
        assert_eq!(store.verify(one.as_bytes(), now), Some(0));
        assert_eq!(store.verify(other.as_bytes(), now), Some(1));
        assert_eq!(store.verify(other.as_bytes(), now.after(DAY / 2)), None);
        assert_eq!(store.verify(one.as_bytes(), now.after(DAY / 2)), Some(0));
    }

    #[test]
    fn revoking_one_app_spares_the_others() {
        let (store, now) = (TokenStore::new(1), Moment(1));
        let (one, other) = (store.issue(0, now, DAY), store.issue(1, now, DAY));
        assert_eq!(store.revoke(Some(0), now), 1);
        assert_eq!(store.revoke(Some(0), now), 0);
        assert_eq!(store.verify(one.as_bytes(), now), None);
        assert_eq!(store.verify(other.as_bytes(), now), Some(1));
    }

    #[test]
    fn altered_foreign_and_short_tokens_are_refused() {
        let (store, now) = (TokenStore::new(1), Moment(1));
        let good = store.issue(0, now, DAY);
        let mut altered = good.clone().into_bytes();
        altered[1000] ^= 1;
        assert_eq!(store.verify(&altered, now), None);
        assert_eq!(TokenStore::new(2).verify(good.as_bytes(), now), None);
        assert_eq!(
            store.verify(TokenStore::new(2).issue(0, now, DAY).as_bytes(), now),
            None
        );
        for text in [
            "",
            "EwA",
            "EwAAAAAA",
            "////////",
            "\u{e9}\u{e9}\u{e9}\u{e9}",
        ] {
            assert_eq!(store.verify(text.as_bytes(), now), None, "{text}");
        }
    }
}
