//! The two names of one WNS identity: package family name (PFN) and package security identifier (SID).
//!
//! The device is given the PFN, the token endpoint the SID; one follows from the other, so that a pair that does not belong
//! together is found before the first push. The derivation is how Windows makes app container SIDs; the test's first pair
//! was published by its owner.

use std::{fmt, sync::Arc};

use sha2::{Digest, Sha256};

/// Shortest and longest name part of a package, in characters (Package identity overview).
const NAME_LEN: std::ops::RangeInclusive<usize> = 3..=50;
const PUBLISHER_ID_LEN: usize = 13;
const RESOURCE_ID_LEN_MAX: usize = 30;
const SID_SCHEME: &str = "ms-app://";
/// The identifier authority 15 and the sub-authority 2 of app packages.
const SID_HEAD: &str = "s-1-15-2-";
const SID_NUMBERS: usize = 7;

/// Why a text is no package name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PfnError {
    /// Neither two parts (family name) nor five (full name) between underscores.
    #[error(
        "a package name is Name_PublisherId or Name_Version_Architecture_ResourceId_PublisherId, this has {parts} parts"
    )]
    Parts {
        /// Parts found.
        parts: usize,
    },
    /// The name has 3 to 50 letters, digits, dots and hyphens.
    #[error("the name part of the package name is not 3 to 50 characters of [A-Za-z0-9.-]")]
    Name,
    /// The publisher id is 13 characters of a base32 without i, l, o and u.
    #[error("the publisher id of the package name is not 13 characters of [0-9a-hjkmnp-tv-z]")]
    PublisherId,
    /// A full name's version is four numbers.
    #[error("the version of the package full name is not of the form 1.2.3.4")]
    Version,
    /// A full name's architecture or resource id has characters that do not belong there.
    #[error(
        "the {part} of the package full name has characters outside [A-Za-z0-9.~-] or is too long"
    )]
    Part {
        /// Which part.
        part: &'static str,
    },
}

/// The text is no package SID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a package SID is S-1-15-2- and seven numbers with hyphens between, with or without ms-app:// before it"
)]
pub struct PackageSidError;

/// A package family name in lower case, as Microsoft tells servers to set it. Windows compares it without case.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Pfn(Arc<str>);

/// A package security identifier. Equal by its numbers; the case of its `S` is kept as it was given.
#[derive(Clone)]
pub struct PackageSid {
    text: Arc<str>,
    numbers: [u32; SID_NUMBERS],
}

impl Pfn {
    /// Takes a family name, or a full name as Partner Center and `Get-AppxPackage` show it.
    ///
    /// ```
    /// use reveille::domain::identity::Pfn;
    /// let pfn = Pfn::parse("52314Publisher.TestWNS_1.1.0.0_x86__t6e9vsyjkrw9w").unwrap();
    /// assert_eq!(pfn.as_str(), "52314publisher.testwns_t6e9vsyjkrw9w");
    /// ```
    ///
    /// # Errors
    /// [`PfnError`] says which part is wrong.
    pub fn parse(text: &str) -> Result<Self, PfnError> {
        let text = text.trim().to_ascii_lowercase();
        let parts: Vec<&str> = text.split('_').collect();
        let (name, publisher_id) = match parts.as_slice() {
            [name, publisher_id] => (*name, *publisher_id),
            [name, version, architecture, resource_id, publisher_id] => {
                check_full_name(version, architecture, resource_id)?;
                (*name, *publisher_id)
            }
            [..] => return Err(PfnError::Parts { parts: parts.len() }),
        };
        if !NAME_LEN.contains(&name.len()) || !name.bytes().all(is_name_byte) {
            return Err(PfnError::Name);
        }
        if publisher_id.len() != PUBLISHER_ID_LEN || !publisher_id.bytes().all(is_base32_byte) {
            return Err(PfnError::PublisherId);
        }
        Ok(Self(format!("{name}_{publisher_id}").into()))
    }

    /// The family name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the underscore: the name reserved in Partner Center, with the publisher's prefix.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.split_once('_').map_or("", |(name, _)| name)
    }

    /// The part after the underscore: a hash of the publisher, the same for all of a publisher's packages.
    #[must_use]
    pub fn publisher_id(&self) -> &str {
        self.0
            .split_once('_')
            .map_or("", |(_, publisher_id)| publisher_id)
    }

    /// True if `sid` is the SID of this family.
    #[must_use]
    pub fn matches(&self, sid: &PackageSid) -> bool {
        PackageSid::of(self) == *sid
    }
}

impl PackageSid {
    /// Takes a SID with or without the `ms-app://` that the token endpoint wants.
    ///
    /// # Errors
    /// [`PackageSidError`] if it is not `S-1-15-2-` and seven numbers below 2³².
    pub fn parse(text: &str) -> Result<Self, PackageSidError> {
        let text = text.trim();
        let bare = match text.get(..SID_SCHEME.len()) {
            Some(scheme) if scheme.eq_ignore_ascii_case(SID_SCHEME) => &text[SID_SCHEME.len()..],
            Some(_) | None => text,
        };
        let head = bare.get(..SID_HEAD.len()).ok_or(PackageSidError)?;
        if !head.eq_ignore_ascii_case(SID_HEAD) {
            return Err(PackageSidError);
        }
        let numbers: Option<Vec<u32>> = bare[SID_HEAD.len()..].split('-').map(sid_number).collect();
        Ok(Self {
            numbers: numbers
                .ok_or(PackageSidError)?
                .try_into()
                .map_err(|_| PackageSidError)?,
            text: bare.into(),
        })
    }

    /// The SID that Windows gives to a family: the first seven little-endian words of SHA-256 over its lower-case UTF-16.
    #[must_use]
    pub fn of(pfn: &Pfn) -> Self {
        let utf16: Vec<u8> = pfn
            .as_str()
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let digest = Sha256::digest(utf16);
        let mut numbers = [0; SID_NUMBERS];
        for (number, word) in numbers.iter_mut().zip(digest.chunks_exact(4)) {
            *number = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        }
        let joined = numbers.map(|number| number.to_string()).join("-");
        Self {
            text: format!("S-1-15-2-{joined}").into(),
            numbers,
        }
    }

    /// The SID without a prefix.
    #[must_use]
    pub fn bare(&self) -> &str {
        &self.text
    }

    /// True if this is the SID of `pfn`.
    #[must_use]
    pub fn matches(&self, pfn: &Pfn) -> bool {
        pfn.matches(self)
    }
}

impl fmt::Display for Pfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Pfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PartialEq for PackageSid {
    fn eq(&self, other: &Self) -> bool {
        self.numbers == other.numbers
    }
}

impl Eq for PackageSid {}

/// With `ms-app://`, as the token endpoint wants it: a bare SID is an `invalid_client` there (field observation).
impl fmt::Display for PackageSid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SID_SCHEME}{}", self.text)
    }
}

impl fmt::Debug for PackageSid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn check_full_name(version: &str, architecture: &str, resource_id: &str) -> Result<(), PfnError> {
    let numbers: Vec<&str> = version.split('.').collect();
    let is_number =
        |text: &&str| text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok();
    if numbers.len() != 4 || !numbers.iter().all(is_number) {
        return Err(PfnError::Version);
    }
    if architecture.is_empty()
        || architecture.len() > 10
        || !architecture.bytes().all(|b| b.is_ascii_alphanumeric())
    {
        return Err(PfnError::Part {
            part: "architecture",
        });
    }
    // A bundle's resource id is a tilde.
    let is_resource_byte = |b: u8| is_name_byte(b) || b == b'~';
    if resource_id.len() > RESOURCE_ID_LEN_MAX || !resource_id.bytes().all(is_resource_byte) {
        return Err(PfnError::Part {
            part: "resource id",
        });
    }
    Ok(())
}

const fn is_name_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-')
}

/// Crockford's base32 in lower case.
const fn is_base32_byte(b: u8) -> bool {
    matches!(b, b'0'..=b'9' | b'a'..=b'h' | b'j' | b'k' | b'm' | b'n' | b'p'..=b't' | b'v'..=b'z')
}

/// A number with one spelling: no sign, no leading zero.
fn sid_number(text: &str) -> Option<u32> {
    let plain = !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_digit())
        && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests;
