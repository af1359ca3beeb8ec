//! `MS-CV`: the id by which WNS support finds one request.
//!
//! "Generate a new CV for each push notification request" (push-request-response-headers). Its form is Microsoft's
//! Correlation Vector 2.1: a base of 128 random bits in unpadded base64, a dot, and a counter that starts at zero.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};

const BASE_LEN: usize = 22;
const LEN: usize = BASE_LEN + 2;

/// A fresh correlation vector: 24 ASCII characters, without allocation.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct MsCv([u8; LEN]);

impl MsCv {
    /// Makes a vector of 16 random bytes.
    #[must_use]
    pub fn from_random(random: [u8; 16]) -> Self {
        let mut text = *b"----------------------.0";
        STANDARD_NO_PAD
            .encode_slice(random, &mut text[..BASE_LEN])
            .expect("16 bytes are 22 base64 characters");
        Self(text)
    }

    /// The value of the header.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("base64 is ASCII")
    }

    /// The base without the counter: what a log line needs to find the request again.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.as_str()[..BASE_LEN]
    }
}

impl fmt::Display for MsCv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for MsCv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_vector_is_the_base64_of_its_bytes_and_a_zero() {
        assert_eq!(
            MsCv::from_random([0; 16]).as_str(),
            "AAAAAAAAAAAAAAAAAAAAAA.0"
        );
        assert_eq!(
            MsCv::from_random([0xff; 16]).to_string(),
            "/////////////////////w.0"
        );
        assert_eq!(
            MsCv::from_random([0xff; 16]).short(),
            "/////////////////////w"
        );
    }

    proptest! {
        #[test]
        fn different_bytes_give_different_vectors(a in any::<[u8; 16]>(), b in any::<[u8; 16]>()) {
            prop_assert_eq!(MsCv::from_random(a) == MsCv::from_random(b), a == b);
            prop_assert_eq!(STANDARD_NO_PAD.decode(MsCv::from_random(a).short()).unwrap(), a.to_vec());
        }
    }
}
