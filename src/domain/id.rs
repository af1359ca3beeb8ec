//! Names of apps, tenants, devices and campaigns, proven once at the edge.

use std::{borrow::Borrow, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// Longest device id in bytes.
pub const DEVICE_ID_BYTES_MAX: usize = 128;
/// Longest app, tenant or campaign id in bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// Why a text is not an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text has no bytes at all.
    #[error("{what} is empty")]
    Empty {
        /// Which kind of id was expected.
        what: &'static str,
    },
    /// The text is longer than the kind allows.
    #[error("{what} has {bytes} bytes, at most {max} are allowed")]
    TooLong {
        /// Which kind of id was expected.
        what: &'static str,
        /// Length found.
        bytes: usize,
        /// Length allowed.
        max: usize,
    },
    /// A byte outside the alphabet.
    #[error("{what} has a character outside {alphabet} at byte {at}")]
    Alphabet {
        /// Which kind of id was expected.
        what: &'static str,
        /// The characters allowed.
        alphabet: &'static str,
        /// Offset of the first offending byte.
        at: usize,
    },
}

fn prove(
    text: &str,
    what: &'static str,
    max: usize,
    extra: &[u8],
    alphabet: &'static str,
) -> Result<Arc<str>, IdError> {
    if text.is_empty() {
        return Err(IdError::Empty { what });
    }
    if text.len() > max {
        return Err(IdError::TooLong {
            what,
            bytes: text.len(),
            max,
        });
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || extra.contains(&b);
    match text.bytes().position(|b| !allowed(b)) {
        Some(at) => Err(IdError::Alphabet { what, alphabet, at }),
        None => Ok(Arc::from(text)),
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:expr, $extra:literal, $alphabet:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Proves `text`.
            ///
            /// # Errors
            /// [`IdError`] when the text is empty, too long or has a byte outside the alphabet.
            pub fn new(text: &str) -> Result<Self, IdError> {
                prove(text, $what, $max, $extra, $alphabet).map(Self)
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::new(&text)
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.as_ref().to_owned()
            }
        }
    };
}

id!(
    /// One WNS identity: 1 to 64 bytes of `[A-Za-z0-9._-]`.
    AppId, "app id", NAME_BYTES_MAX, b"._-", "[A-Za-z0-9._-]"
);
id!(
    /// A console's name space: 1 to 64 bytes of `[A-Za-z0-9._-]`.
    TenantId, "tenant id", NAME_BYTES_MAX, b"._-", "[A-Za-z0-9._-]"
);
id!(
    /// A campaign within its tenant: 1 to 64 bytes of `[A-Za-z0-9._-]`.
    CampaignId, "campaign id", NAME_BYTES_MAX, b"._-", "[A-Za-z0-9._-]"
);
id!(
    /// A webhook within its tenant: 1 to 64 bytes of `[A-Za-z0-9._-]`.
    WebhookId, "webhook id", NAME_BYTES_MAX, b"._-", "[A-Za-z0-9._-]"
);
id!(
    /// A managed machine within its tenant, by the console's own id: 1 to 128 bytes of `[A-Za-z0-9._~:@-]`, case-sensitive.
    DeviceId, "device id", DEVICE_ID_BYTES_MAX, b"._~:@-", "[A-Za-z0-9._~:@-]"
);

id!(
    /// An API key, without its secret: 1 to 64 bytes of `[A-Za-z0-9._-]`.
    KeyId, "key id", NAME_BYTES_MAX, b"._-", "[A-Za-z0-9._-]"
);

/// The whole name of a device: unique in a store.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceKey {
    /// The name space.
    pub tenant: TenantId,
    /// The device in it.
    pub device: DeviceId,
}

impl DeviceKey {
    /// Joins a tenant and a device.
    #[must_use]
    pub fn new(tenant: TenantId, device: DeviceId) -> Self {
        Self { tenant, device }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_bounded_and_keep_their_case() {
        assert_eq!(
            DeviceId::new("a~B:c@d-1._").unwrap().as_str(),
            "a~B:c@d-1._"
        );
        assert!(DeviceId::new(&"x".repeat(DEVICE_ID_BYTES_MAX)).is_ok());
        assert_eq!(DeviceId::new(""), Err(IdError::Empty { what: "device id" }));
        assert!(matches!(
            DeviceId::new(&"x".repeat(DEVICE_ID_BYTES_MAX + 1)),
            Err(IdError::TooLong {
                bytes: 129,
                max: 128,
                ..
            })
        ));
        assert!(matches!(
            DeviceId::new("a/b"),
            Err(IdError::Alphabet { at: 1, .. })
        ));
        assert!(matches!(
            TenantId::new("a:b"),
            Err(IdError::Alphabet { at: 1, .. })
        ));
        assert!(matches!(
            DeviceId::new("é"),
            Err(IdError::Alphabet { at: 0, .. })
        ));
    }
}
