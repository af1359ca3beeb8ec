//! Signatures as the Standard Webhooks specification says: HMAC-SHA256 over `id.timestamp.body`.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Random bytes in a new secret; the specification asks for 24 to 64.
pub const SECRET_BYTES: usize = 32;
/// What the text of a secret begins with.
const PREFIX: &str = "whsec_";

/// A shared secret, as text `whsec_<base64>`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Secret {
    text: String,
    key: Vec<u8>,
}

/// The text is not a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a webhook secret is whsec_ and the base64 of 24 to 64 bytes")]
pub struct SecretError;

impl Secret {
    /// The secret of these random bytes.
    #[must_use]
    pub fn new(random: &[u8; SECRET_BYTES]) -> Self {
        Self {
            text: format!("{PREFIX}{}", STANDARD.encode(random)),
            key: random.to_vec(),
        }
    }

    /// The text, for the console that made it, once.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }
}

impl TryFrom<String> for Secret {
    type Error = SecretError;

    fn try_from(text: String) -> Result<Self, SecretError> {
        let encoded = text.strip_prefix(PREFIX).ok_or(SecretError)?;
        let key = STANDARD.decode(encoded).map_err(|_| SecretError)?;
        if !(24..=64).contains(&key.len()) {
            return Err(SecretError);
        }
        Ok(Self { text, key })
    }
}

impl From<Secret> for String {
    fn from(secret: Secret) -> Self {
        secret.text
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The `webhook-id` of a body: the same for every attempt, so that a console can tell repeats.
#[must_use]
pub fn message_id(body: &[u8]) -> String {
    let digest = Sha256::digest(body);
    let hex: String = digest[..16].iter().map(|b| format!("{b:02x}")).collect();
    format!("msg_{hex}")
}

/// The `webhook-signature` for these secrets; `timestamp` is the attempt's, in seconds.
#[must_use]
pub fn sign(secrets: &[&Secret], id: &str, timestamp: i64, body: &[u8]) -> String {
    let signatures = secrets.iter().map(|secret| {
        let mut mac = Hmac::<Sha256>::new_from_slice(&secret.key).expect("HMAC takes any key");
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    });
    signatures.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's own documentation.
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const TIMESTAMP: i64 = 1_614_265_330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    #[test]
    fn the_published_example_is_signed_as_published() {
        let secret = Secret::try_from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned());
        let secret = secret.unwrap();
        assert_eq!(sign(&[&secret], ID, TIMESTAMP, BODY), SIGNATURE);
        let other = Secret::new(&[3; SECRET_BYTES]);
        let both = sign(&[&other, &secret], ID, TIMESTAMP, BODY);
        assert!(both.ends_with(SIGNATURE) && both.len() > SIGNATURE.len());
    }

    #[test]
    fn secrets_survive_a_round_trip_and_others_are_refused() {
        let secret = Secret::new(&[9; SECRET_BYTES]);
        assert_eq!(Secret::try_from(secret.expose().to_owned()), Ok(secret));
        for wrong in [
            "",
            "whsec_",
            "whsec_AAAA",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        ] {
            assert_eq!(
                Secret::try_from(wrong.to_owned()),
                Err(SecretError),
                "{wrong}"
            );
        }
    }
}
