//! The body of a raw push: never empty, never large, never of interest to the device.
//!
//! Device management ignores it ("don't support or utilize push notification payloads", Push notification support for device
//! management), but an empty one is refused ("must not be an empty string", Raw notification overview).

use bytes::Bytes;

/// Largest payload in bytes: 413 is documented for more than 5,000, though other pages say 5 KB.
pub const PAYLOAD_BYTES_MAX: usize = 5_000;

const DEFAULT: &[u8] = b"wake";

/// The bytes are not a payload WNS takes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a payload has 1 to {PAYLOAD_BYTES_MAX} bytes, not {bytes}")]
pub struct PayloadError {
    /// Length found.
    pub bytes: usize,
}

/// 1 to [`PAYLOAD_BYTES_MAX`] bytes. Cloning is cheap; the default is the constant `wake`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload(Bytes);

impl Payload {
    /// Proves the length of `bytes`.
    ///
    /// # Errors
    /// [`PayloadError`] when there are none or more than [`PAYLOAD_BYTES_MAX`].
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, PayloadError> {
        let bytes = bytes.into();
        if (1..=PAYLOAD_BYTES_MAX).contains(&bytes.len()) {
            return Ok(Self(bytes));
        }
        Err(PayloadError { bytes: bytes.len() })
    }

    /// The body to send.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// Its length, for `Content-Length`.
    #[must_use]
    pub fn length(&self) -> u32 {
        u32::try_from(self.0.len()).expect("a payload has at most 5,000 bytes")
    }
}

impl Default for Payload {
    fn default() -> Self {
        Self(Bytes::from_static(DEFAULT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_has_one_to_five_thousand_bytes() {
        assert_eq!(Payload::new(""), Err(PayloadError { bytes: 0 }));
        assert_eq!(Payload::new("x").unwrap().length(), 1);
        assert_eq!(Payload::new(vec![0; 5_000]).unwrap().length(), 5_000);
        assert_eq!(
            Payload::new(vec![0; 5_001]),
            Err(PayloadError { bytes: 5_001 })
        );
    }

    #[test]
    fn the_default_is_plain_ascii() {
        assert_eq!(Payload::default(), Payload::new("wake").unwrap());
    }
}
