//! Access tokens: the request for one, and what the answer means.
//!
//! Two endpoints give them. The classic one (Microsoft account) is the only one documented for device management
//! (Push notification support for device management; WNS overview); Entra is that of Windows App SDK push (Push quickstart).
//! A refused credential is told from an outage, because asking again cures only the latter.

mod reply;
mod request;

use std::{fmt, time::Duration};

use secrecy::{ExposeSecret, SecretString};

pub use reply::{TokenFailure, TokenOutage, TokenReply, parse_reply};
pub use request::{CLASSIC_TOKEN_URL, EntraTenantError, TokenRequest};

/// Largest answer of a token endpoint that is worth reading, in bytes.
pub const TOKEN_REPLY_BYTES_MAX: usize = 64 * 1024;
/// Longest access token in bytes. Classic ones have about 400, Entra's a few thousand.
pub const ACCESS_TOKEN_BYTES_MAX: usize = 16 * 1024;
/// Life of a token whose endpoint did not state it: some answers lack `expires_in`.
pub const EXPIRES_IN_DEFAULT: Duration = Duration::from_secs(60 * 60);
/// Shortest life believed, so that a nonsensical answer does not make the broker ask without pause.
pub const EXPIRES_IN_MIN: Duration = Duration::from_secs(60);
/// Longest life believed: classic tokens live 24 h.
pub const EXPIRES_IN_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A bearer token that fits a header: 1 to [`ACCESS_TOKEN_BYTES_MAX`] visible ASCII characters, never printed.
#[derive(Clone)]
pub struct AccessToken(SecretString);

impl AccessToken {
    /// Takes a token, if it is one that fits a header.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let fits = (1..=ACCESS_TOKEN_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_graphic());
        fits.then(|| Self(SecretString::from(text)))
    }

    /// The token itself, for the `Authorization` header only.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken(redacted)")
    }
}

#[cfg(test)]
mod tests;
