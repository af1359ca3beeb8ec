//! API keys: what a caller presents, what the broker keeps, and what a key may do.
//!
//! A key reads `rvk_<id>_<secret>`. The broker keeps only the SHA-256 of the secret: a slow password hash protects guessable
//! words, and 256 random bits cannot be guessed, so a plain hash is enough and a request costs a microsecond. The hash is
//! compared in constant time; the id is no secret and may be logged.

use std::{collections::HashMap, fmt};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::id::{AppId, KeyId, TenantId};

/// Random bytes in a key.
pub const KEY_SECRET_BYTES: usize = 32;
/// What every key begins with, so that a scanner can find one in a log or a repository.
pub const KEY_PREFIX: &str = "rvk_";
/// Length of [`KEY_SECRET_BYTES`] in base64url without padding.
const KEY_SECRET_CHARS: usize = 43;
/// What every stored hash begins with.
const HASH_PREFIX: &str = "sha256:";

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Look at tenants, devices, pushes, campaigns, events and apps.
    Read,
    /// Open and cancel pushes.
    Push,
    /// Register channels, report check-ins, delete devices.
    Register,
    /// Make, start, pause, resume and cancel campaigns.
    Campaign,
    /// Make tenants, change pace, pause and resume apps. Includes every other scope.
    Admin,
}

impl Scope {
    /// Every scope, in the order in which they are documented.
    pub const ALL: [Self; 5] = [
        Self::Read,
        Self::Push,
        Self::Register,
        Self::Campaign,
        Self::Admin,
    ];

    /// The word for the scope in configuration and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Push => "push",
            Self::Register => "register",
            Self::Campaign => "campaign",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which tenants a key reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Every tenant of every app, those made later too.
    All,
    /// The tenants of these apps, those made later too, and these tenants.
    Only {
        /// Apps whose tenants are all reached.
        apps: Vec<AppId>,
        /// Tenants reached by name.
        tenants: Vec<TenantId>,
    },
}

/// Who is calling, once a key has been recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The key's id; may be logged.
    pub key: KeyId,
    /// Which tenants the key reaches.
    pub reach: Reach,
    /// What the key may do there.
    pub scopes: Vec<Scope>,
    /// The last day (UTC) on which the key is taken.
    pub expires: Option<Date>,
}

impl Principal {
    /// Whether the key may do what `scope` covers.
    #[must_use]
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes
            .iter()
            .any(|held| *held == scope || *held == Scope::Admin)
    }

    /// Whether the key reaches `tenant`, which uses `app`.
    #[must_use]
    pub fn reaches(&self, tenant: &TenantId, app: &AppId) -> bool {
        match &self.reach {
            Reach::All => true,
            Reach::Only { apps, tenants } => tenants.contains(tenant) || apps.contains(app),
        }
    }

    /// Whether the key reaches `app` as a whole: its state, its pace, its tenants.
    #[must_use]
    pub fn reaches_app(&self, app: &AppId) -> bool {
        match &self.reach {
            Reach::All => true,
            Reach::Only { apps, .. } => apps.contains(app),
        }
    }

    fn expired(&self, now: Timestamp) -> bool {
        self.expires
            .is_some_and(|last| now.to_zoned(TimeZone::UTC).date() > last)
    }
}

/// Why a presented key was not taken. The caller is told none of this; the log is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefusal {
    /// Not of the form `rvk_<id>_<secret>`.
    #[error("the key is malformed")]
    Malformed,
    /// No key has this id.
    #[error("no key has the id {0}")]
    Unknown(KeyId),
    /// The id exists, the secret is another.
    #[error("the secret of key {0} does not match")]
    Mismatch(KeyId),
    /// The last day of the key is over.
    #[error("key {0} has expired")]
    Expired(KeyId),
}

/// Why a text is not a stored key hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key hash is sha256: and 64 hexadecimal digits, as `reveille key new` prints it")]
pub struct KeyHashError;

/// SHA-256 of a key's secret, as configuration holds it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// Reads `sha256:<64 hexadecimal digits>`.
    ///
    /// # Errors
    /// [`KeyHashError`] when the text has another form.
    pub fn parse(text: &str) -> Result<Self, KeyHashError> {
        let hex = text
            .strip_prefix(HASH_PREFIX)
            .ok_or(KeyHashError)?
            .as_bytes();
        if hex.len() != 64 {
            return Err(KeyHashError);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
            *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
        }
        Ok(Self(bytes))
    }

    fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    fn matches(&self, secret: &str) -> bool {
        Self::of(secret).0.ct_eq(&self.0).into()
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HASH_PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(…)")
    }
}

/// A key just made: the only moment at which its secret exists in readable form.
#[derive(Debug)]
pub struct NewKey {
    /// The whole key, to be handed to the caller once.
    pub key: SecretString,
    /// What the broker keeps.
    pub hash: KeyHash,
}

/// Makes a key from `random`, which must come from the operating system's generator.
#[must_use]
pub fn new_key(id: &KeyId, random: [u8; KEY_SECRET_BYTES]) -> NewKey {
    let secret = URL_SAFE_NO_PAD.encode(random);
    NewKey {
        hash: KeyHash::of(&secret),
        key: SecretString::from(format!("{KEY_PREFIX}{id}_{secret}")),
    }
}

/// The keys a broker takes.
#[derive(Clone, Debug, Default)]
pub struct KeyRing {
    keys: HashMap<KeyId, (KeyHash, Principal)>,
}

impl KeyRing {
    /// Holds `keys`; of two with one id the later stays.
    #[must_use]
    pub fn new(keys: impl IntoIterator<Item = (KeyHash, Principal)>) -> Self {
        let keys = keys
            .into_iter()
            .map(|(hash, principal)| (principal.key.clone(), (hash, principal)));
        Self {
            keys: keys.collect(),
        }
    }

    /// Whether there is no key at all: the broker then serves loopback only, and asks for none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The holders of all keys, in no order.
    pub fn principals(&self) -> impl Iterator<Item = &Principal> {
        self.keys.values().map(|(_, principal)| principal)
    }

    /// Recognises the whole key `presented` at the time `now`.
    ///
    /// # Errors
    /// [`KeyRefusal`] for the log. A caller must not learn which it was.
    pub fn authenticate(&self, presented: &str, now: Timestamp) -> Result<&Principal, KeyRefusal> {
        let (id, secret) = split_key(presented).ok_or(KeyRefusal::Malformed)?;
        let Some((hash, principal)) = self.keys.get(&id) else {
            return Err(KeyRefusal::Unknown(id));
        };
        if !hash.matches(secret) {
            return Err(KeyRefusal::Mismatch(id));
        }
        if principal.expired(now) {
            return Err(KeyRefusal::Expired(id));
        }
        Ok(principal)
    }
}

/// The secret has a fixed length, so the id may contain underscores itself.
fn split_key(presented: &str) -> Option<(KeyId, &str)> {
    let rest = presented.strip_prefix(KEY_PREFIX)?;
    let at = rest.len().checked_sub(KEY_SECRET_CHARS)?;
    let (id, secret) = (rest.get(..at)?, rest.get(at..)?);
    Some((KeyId::new(id.strip_suffix('_')?).ok()?, secret))
}

fn hex_digit(byte: u8) -> Result<u8, KeyHashError> {
    match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        b'A'..=b'F' => Ok(byte - b'A' + 10),
        _ => Err(KeyHashError),
    }
}

#[cfg(test)]
#[path = "api_key/tests.rs"]
mod tests;
