//! Where the push settings live in a device's tree: the `Push` node of the DMClient CSP, under the server's provider id.

use std::{fmt, sync::Arc};

/// Longest provider id in bytes.
pub const PROVIDER_ID_BYTES_MAX: usize = 256;

/// The current form of the path; `./Vendor/…` names the same node (OMA DM protocol support).
const ROOT: &str = "./Device/Vendor/MSFT/DMClient/Provider/";
const ROOT_SEGMENTS: [&str; 4] = ["Vendor", "MSFT", "DMClient", "Provider"];

/// The text is no provider id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a provider id has 1 to {PROVIDER_ID_BYTES_MAX} bytes and no control characters")]
pub struct ProviderIdError;

/// The `PROVIDER-ID` of the enrolment (its w7 APPLICATION), decoded: `MS DM Server`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ProviderId(Arc<str>);

/// A node of the push settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PushNode {
    /// `Push`: the interior node; without it the rest is 404.
    Push,
    /// `Push/PFN`: set by the server.
    Pfn,
    /// `Push/ChannelURI`: made by the device; empty until it has registered with WNS.
    ChannelUri,
    /// `Push/Status`: how the registration went.
    Status,
}

impl PushNode {
    /// Stable text for answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Pfn => "pfn",
            Self::ChannelUri => "channel_uri",
            Self::Status => "status",
        }
    }
}

/// A node of the push settings of one provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushTarget {
    /// Whose settings.
    pub provider: ProviderId,
    /// Which node.
    pub node: PushNode,
}

impl ProviderId {
    /// Proves a provider id as it is written in the enrolment, not percent-encoded.
    ///
    /// # Errors
    /// [`ProviderIdError`] when it is empty, too long or has control characters.
    pub fn new(text: &str) -> Result<Self, ProviderIdError> {
        let fits = (1..=PROVIDER_ID_BYTES_MAX).contains(&text.len());
        if !fits || text.chars().any(char::is_control) {
            return Err(ProviderIdError);
        }
        Ok(Self(text.into()))
    }

    /// The id, decoded.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id as a segment of a path: all but unreserved characters percent-encoded, so it is safe in XML as well.
    fn segment(&self) -> String {
        let mut segment = String::with_capacity(self.0.len());
        for byte in self.0.bytes() {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
                segment.push(char::from(byte));
            } else {
                segment.push_str(&format!("%{byte:02X}"));
            }
        }
        segment
    }

    /// Reads a segment of a path: devices send the id encoded or as it is.
    fn from_segment(segment: &str) -> Option<Self> {
        let decoded = percent_decode(segment).unwrap_or_else(|| segment.to_owned());
        Self::new(&decoded).ok()
    }
}

impl PushNode {
    /// What follows `Push` in the path.
    const fn tail(self) -> &'static str {
        match self {
            Self::Push => "",
            Self::Pfn => "/PFN",
            Self::ChannelUri => "/ChannelURI",
            Self::Status => "/Status",
        }
    }

    fn from_segment(segment: &str) -> Option<Self> {
        [Self::Pfn, Self::ChannelUri, Self::Status]
            .into_iter()
            .find(|node| segment.eq_ignore_ascii_case(&node.tail()[1..]))
    }
}

impl PushTarget {
    /// Reads a `LocURI`; `None` if it is no node of the push settings. `./Vendor` and `./Device/Vendor` are the same.
    #[must_use]
    pub fn parse(loc_uri: &str) -> Option<Self> {
        let path = loc_uri.trim();
        let path = path.strip_prefix("./").unwrap_or(path);
        let mut segments = path.trim_end_matches('/').split('/').peekable();
        if segments
            .peek()
            .is_some_and(|segment| segment.eq_ignore_ascii_case("Device"))
        {
            segments.next();
        }
        for expected in ROOT_SEGMENTS {
            if !segments.next()?.eq_ignore_ascii_case(expected) {
                return None;
            }
        }
        let provider = ProviderId::from_segment(segments.next()?)?;
        if !segments.next()?.eq_ignore_ascii_case("Push") {
            return None;
        }
        let node = match segments.next() {
            Some(segment) => PushNode::from_segment(segment)?,
            None => PushNode::Push,
        };
        segments.next().is_none().then_some(Self { provider, node })
    }
}

/// The `LocURI` to send.
impl fmt::Display for PushTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{ROOT}{}/Push{}",
            self.provider.segment(),
            self.node.tail()
        )
    }
}

impl fmt::Display for ProviderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ProviderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// `None` when a percent sign is not followed by two hexadecimal digits, or the bytes are not UTF-8.
fn percent_decode(segment: &str) -> Option<String> {
    let mut bytes = segment.bytes();
    let mut decoded = Vec::with_capacity(segment.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|b| char::from(b).to_digit(16));
        let (high, low) = (digit()?, digit()?);
        decoded.push(u8::try_from(high * 16 + low).expect("two hexadecimal digits are a byte"));
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn target(provider: &str, node: PushNode) -> PushTarget {
        let provider = ProviderId::new(provider).unwrap();
        PushTarget { provider, node }
    }

    #[test]
    fn both_roots_and_every_spelling_name_the_same_node() {
        for loc_uri in [
            "./Device/Vendor/MSFT/DMClient/Provider/MS%20DM%20Server/Push/ChannelURI",
            "./Vendor/MSFT/DMClient/Provider/MS%20DM%20Server/Push/ChannelURI",
            "./Vendor/MSFT/DMClient/Provider/MS DM Server/Push/ChannelURI",
            "./vendor/msft/dmclient/provider/MS%20DM%20Server/push/channeluri",
            " Vendor/MSFT/DMClient/Provider/MS%20DM%20Server/Push/ChannelURI/ ",
        ] {
            let expected = target("MS DM Server", PushNode::ChannelUri);
            assert_eq!(PushTarget::parse(loc_uri), Some(expected), "{loc_uri}");
        }
    }

    #[test]
    fn every_node_is_written_in_the_current_form() {
        let root = "./Device/Vendor/MSFT/DMClient/Provider/A%2F%26%C3%A9/Push";
        for (node, tail) in [
            (PushNode::Push, ""),
            (PushNode::Pfn, "/PFN"),
            (PushNode::ChannelUri, "/ChannelURI"),
            (PushNode::Status, "/Status"),
        ] {
            assert_eq!(target("A/&é", node).to_string(), format!("{root}{tail}"));
        }
    }

    #[test]
    fn other_nodes_are_not_ours() {
        for loc_uri in [
            "",
            "./",
            "./User/Vendor/MSFT/DMClient/Provider/P/Push/PFN",
            "./Device/Device/Vendor/MSFT/DMClient/Provider/P/Push/PFN",
            "./Vendor/MSFT/DMClient/Provider/P",
            "./Vendor/MSFT/DMClient/Provider/P/Poll/NumberOfFirstRetries",
            "./Vendor/MSFT/DMClient/Provider//Push/PFN",
            "./Vendor/MSFT/DMClient/Provider/P/Push/Other",
            "./Vendor/MSFT/DMClient/Provider/P/Push/PFN/x",
            "./DevInfo/DevId",
        ] {
            assert_eq!(PushTarget::parse(loc_uri), None, "{loc_uri}");
        }
    }

    #[test]
    fn a_broken_percent_encoding_is_taken_as_it_is() {
        for id in ["100%", "%zz", "%C3"] {
            let loc_uri = format!("./Vendor/MSFT/DMClient/Provider/{id}/Push/PFN");
            assert_eq!(PushTarget::parse(&loc_uri), Some(target(id, PushNode::Pfn)));
        }
    }

    proptest! {
        #[test]
        fn every_provider_id_is_read_back(id in "\\PC{1,60}") {
            let target = target(&id, PushNode::Status);
            let text = target.to_string();
            prop_assert!(text.bytes().all(|b| b.is_ascii_graphic() && !b"<>&\"'".contains(&b)));
            prop_assert_eq!(PushTarget::parse(&text), Some(target));
        }
    }
}
