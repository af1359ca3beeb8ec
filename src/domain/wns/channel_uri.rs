//! The address WNS gave a device: proven once, then kept byte for byte.
//!
//! The URI is a bearer capability and opaque ("never modify the channel URI", WNS overview); one altered byte of its token
//! is a 404 (field observation). So it is checked here, never rebuilt, and never printed: `Debug` and `Display` show the
//! host alone. An access token may go to `.notify.windows.com` only ("the service should never push on any other
//! domain", WNS overview); other hosts need explicit configuration.

use std::{fmt, sync::Arc};

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use url::{Position, Url};

/// Longest URI in bytes. The longest seen is about 500; Microsoft gives no limit.
pub const CHANNEL_URI_BYTES_MAX: usize = 4096;
/// The domain whose subdomains hold all channels of the real WNS.
pub const WNS_DOMAIN: &str = "notify.windows.com";

const SCHEME: &str = "https://";
const HTTPS_PORT: u16 = 443;
const HOST_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// Which hosts may be given an access token: those of WNS, and sandboxes named by the operator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostPolicy {
    sandboxes: Arc<[Sandbox]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Sandbox {
    host: Box<str>,
    port: u16,
}

/// A configured sandbox host that is not `host:port`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("sandbox host {0:?} is not of the form host:port, for example localhost:9443")]
pub struct SandboxHostError(pub String);

/// Why a text is not a channel URI this broker may push to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChannelUriError {
    /// No text at all: the device has no channel yet.
    #[error("the channel URI is empty")]
    Empty,
    /// Longer than [`CHANNEL_URI_BYTES_MAX`].
    #[error("the channel URI has {bytes} bytes, at most {CHANNEL_URI_BYTES_MAX} are allowed")]
    TooLong {
        /// Length found.
        bytes: usize,
    },
    /// A byte that no URI may hold, or one that HTTP clients re-encode.
    #[error("the channel URI has a character that does not belong in a URI at byte {at}")]
    Character {
        /// Offset of the first offending byte.
        at: usize,
    },
    /// Not `https://`.
    #[error("the channel URI does not begin with https://")]
    Scheme,
    /// A user name or password before the host.
    #[error("the channel URI has user information before its host")]
    UserInfo,
    /// A `#fragment`.
    #[error("the channel URI has a fragment")]
    Fragment,
    /// The authority is not a plain host name with an optional port.
    #[error("the channel URI has no valid host name")]
    Host,
    /// A port other than 443 on a host that is no configured sandbox.
    #[error("the channel URI at host {host} has port {port}, only 443 is allowed")]
    Port {
        /// The host found.
        host: Box<str>,
        /// The port found.
        port: u16,
    },
    /// A host that is neither under `.notify.windows.com` nor a configured sandbox.
    #[error(
        "the channel URI's host {host} is not under .{WNS_DOMAIN} and is not a configured sandbox host"
    )]
    HostNotAllowed {
        /// The host found.
        host: Box<str>,
    },
    /// URL libraries read it differently or would rewrite it on the wire.
    #[error("the channel URI is ambiguous: an HTTP client would rewrite it")]
    Ambiguous,
}

/// A channel URI, 1 to [`CHANNEL_URI_BYTES_MAX`] bytes, exactly as the device reported it. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ChannelUri(Arc<str>);

/// A keyed 8-byte digest of a channel URI: names a channel in logs and answers without giving it away.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UriHash([u8; 8]);

/// The authority of a URI, split; borrows from the text.
struct Authority<'a> {
    text: &'a str,
    host: &'a str,
    port: u16,
    /// Everything from the path on.
    tail: &'a str,
}

impl HostPolicy {
    /// Allows WNS and, beside it, exactly these `host:port` authorities.
    ///
    /// # Errors
    /// [`SandboxHostError`] names the first entry that is not a host name or address with a port of 1 to 65535.
    pub fn new<I>(sandbox_hosts: I) -> Result<Self, SandboxHostError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let sandboxes: Result<Vec<Sandbox>, SandboxHostError> = sandbox_hosts
            .into_iter()
            .map(|entry| sandbox(entry.as_ref()))
            .collect();
        Ok(Self {
            sandboxes: sandboxes?.into(),
        })
    }

    /// True if a token may be sent to this host and port.
    fn check(&self, authority: &Authority<'_>) -> Result<(), ChannelUriError> {
        let (host, port) = (authority.host, authority.port);
        if self
            .sandboxes
            .iter()
            .any(|s| s.port == port && s.host.eq_ignore_ascii_case(host))
        {
            return Ok(());
        }
        if !is_wns_host(host) {
            return Err(ChannelUriError::HostNotAllowed { host: host.into() });
        }
        if port != HTTPS_PORT {
            return Err(ChannelUriError::Port {
                host: host.into(),
                port,
            });
        }
        Ok(())
    }
}

impl ChannelUri {
    /// Proves that `text` is a channel URI under `policy`, and keeps it byte for byte.
    ///
    /// # Errors
    /// [`ChannelUriError`] says which rule is broken; it never holds more of the text than the host.
    pub fn parse(text: &str, policy: &HostPolicy) -> Result<Self, ChannelUriError> {
        let authority = split(text)?;
        policy.check(&authority)?;
        if !is_plain(&authority) {
            agree_with_url(text, &authority)?;
        }
        Ok(Self(Arc::from(text)))
    }

    /// Takes a text that was proven before it was stored. Its host is asked again by [`ChannelUri::permits`] before a
    /// token is attached, because the stored URI may be older than the configuration.
    #[must_use]
    pub fn from_stored(text: &str) -> Self {
        Self(Arc::from(text))
    }

    /// True if `policy` allows a token to be sent here now. Cheap enough for every send.
    #[must_use]
    pub fn permits(&self, policy: &HostPolicy) -> bool {
        split(&self.0).is_ok_and(|authority| policy.check(&authority).is_ok())
    }

    /// The whole URI, for the wire and the store only: never for a log, an error or an answer.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The authority as the device wrote it: host, and the port if it has one. Empty for a stored text that is no URI.
    #[must_use]
    pub fn host(&self) -> &str {
        split(&self.0).map_or("", |authority| authority.text)
    }

    /// True for the shape of web push channels (`/w/…`), which MDM channels have never been seen to have.
    #[must_use]
    pub fn is_web_push(&self) -> bool {
        split(&self.0).is_ok_and(|authority| authority.tail.starts_with("/w/"))
    }

    /// SHA-256 cut to 4 bytes: tells the few URIs of one device apart, and stands in the store beside the URI itself. Unkeyed,
    /// so it is never shown; that is what [`ChannelUri::hash`] is for.
    #[must_use]
    pub fn fingerprint(&self) -> u32 {
        let digest: [u8; 32] = Sha256::digest(self.0.as_bytes()).into();
        u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
    }

    /// HMAC-SHA256 under the broker's own `key` (any length), cut to 8 bytes.
    #[must_use]
    pub fn hash(&self, key: &[u8]) -> UriHash {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
        mac.update(self.0.as_bytes());
        let digest: [u8; 32] = mac.finalize().into_bytes().into();
        let mut short = [0; 8];
        short.copy_from_slice(&digest[..8]);
        UriHash(short)
    }
}

impl fmt::Debug for ChannelUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChannelUri({})", self.host())
    }
}

impl fmt::Display for ChannelUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.host())
    }
}

impl UriHash {
    /// Takes a hash read from the store.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// The eight bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

impl fmt::Display for UriHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for UriHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn sandbox(entry: &str) -> Result<Sandbox, SandboxHostError> {
    let refused = || SandboxHostError(entry.to_owned());
    let (host, port) = entry.rsplit_once(':').ok_or_else(refused)?;
    let port = port_number(port).ok_or_else(refused)?;
    // Written as a URI it must survive both parsers, else it could never match one.
    let text = format!("{SCHEME}{entry}/");
    let authority = split(&text).map_err(|_| refused())?;
    agree_with_url(&text, &authority).map_err(|_| refused())?;
    Ok(Sandbox {
        host: host.into(),
        port,
    })
}

/// Splits `text` by the rules of this broker: stricter than RFC 3986, so that no two parsers can disagree.
fn split(text: &str) -> Result<Authority<'_>, ChannelUriError> {
    if text.is_empty() {
        return Err(ChannelUriError::Empty);
    }
    if text.len() > CHANNEL_URI_BYTES_MAX {
        return Err(ChannelUriError::TooLong { bytes: text.len() });
    }
    if text.contains('#') {
        return Err(ChannelUriError::Fragment);
    }
    if let Some(at) = text.bytes().position(|b| !URI_BYTES[usize::from(b)]) {
        return Err(ChannelUriError::Character { at });
    }
    match text.get(..SCHEME.len()) {
        Some(scheme) if scheme.eq_ignore_ascii_case(SCHEME) => {}
        Some(_) | None => return Err(ChannelUriError::Scheme),
    }
    let rest = &text[SCHEME.len()..];
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    if authority.contains('@') {
        return Err(ChannelUriError::UserInfo);
    }
    let (host, port) = host_and_port(authority).ok_or(ChannelUriError::Host)?;
    Ok(Authority {
        text: authority,
        host,
        port,
        tail,
    })
}

/// RFC 3986 characters without the fragment mark and without the quote, which URL libraries re-encode in a query.
static URI_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let marks = b"-._~:/?[]@!$&()*+,;=%";
    let mut b = 0;
    while b < marks.len() {
        table[marks[b] as usize] = true;
        b += 1;
    }
    let mut b = 0;
    while b < 128_u8 {
        if b.is_ascii_alphanumeric() {
            table[b as usize] = true;
        }
        b += 1;
    }
    table
};

fn host_and_port(authority: &str) -> Option<(&str, u16)> {
    let (host, port) = match authority.rfind(':') {
        Some(colon) if !authority.ends_with(']') => {
            (&authority[..colon], port_number(&authority[colon + 1..])?)
        }
        Some(_) | None => (authority, HTTPS_PORT),
    };
    let valid = match host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.len() <= HOST_BYTES_MAX && host.split('.').all(is_label),
    };
    valid.then_some((host, port))
}

fn is_label(label: &str) -> bool {
    (1..=LABEL_BYTES_MAX).contains(&label.len())
        && label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// A port without sign or leading zero, so that its text has one spelling.
fn port_number(text: &str) -> Option<u16> {
    if !text.starts_with(|c: char| ('1'..='9').contains(&c)) {
        return None;
    }
    text.parse().ok()
}

/// `notify.windows.com` itself or a name below it; the boundary is a label, not a suffix of bytes.
fn is_wns_host(host: &str) -> bool {
    let Some(start) = host.len().checked_sub(WNS_DOMAIN.len()) else {
        return false;
    };
    host[start..].eq_ignore_ascii_case(WNS_DOMAIN) && host[..start].ends_with('.')
}

/// Of the shape that every known channel URI has, in which no two parsers could differ: a lower-case name that ends in
/// letters, no port, a path without dots and escapes. Most of the cost of a registration is saved by not asking twice.
fn is_plain(ours: &Authority<'_>) -> bool {
    let (path, _) = ours.tail.split_once('?').unwrap_or((ours.tail, ""));
    let (_, last) = ours.host.rsplit_once('.').unwrap_or_default();
    path.starts_with('/')
        && path.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'/')
        && ours.text == ours.host
        && !ours.host.contains("--")
        && !ours.host.bytes().any(|b| b.is_ascii_uppercase())
        && !last.is_empty()
        && last.bytes().all(|b| b.is_ascii_lowercase())
}

/// The second opinion: the URL library must find the same host and port, and leave path and query as they are.
fn agree_with_url(text: &str, ours: &Authority<'_>) -> Result<(), ChannelUriError> {
    let theirs = Url::parse(text).map_err(|_| ChannelUriError::Ambiguous)?;
    let same = theirs.scheme() == "https"
        && theirs
            .host_str()
            .is_some_and(|host| host.eq_ignore_ascii_case(ours.host))
        && theirs.port_or_known_default() == Some(ours.port)
        && theirs.username().is_empty()
        && theirs.password().is_none()
        && &theirs[Position::BeforePath..] == ours.tail;
    if same {
        Ok(())
    } else {
        Err(ChannelUriError::Ambiguous)
    }
}

#[cfg(test)]
mod tests;
