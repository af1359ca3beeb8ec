//! Whether a request to a channel is what WNS documents for a raw notification.
//!
//! Sources: WNS docs, "push request and response headers" and "raw notification overview". The conflict of a time to live of 0
//! with `cache` is a field observation, its text included.

use std::time::Duration;

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT},
};

use super::counters::Violation;

/// Largest body in bytes.
pub(crate) const BODY_BYTES_MAX: usize = 5_000;
/// Longest correlation vector in characters (version 2.1).
const CORRELATION_VECTOR_MAX: usize = 128;

pub(crate) const X_WNS_TYPE: HeaderName = HeaderName::from_static("x-wns-type");
pub(crate) const X_WNS_CACHE_POLICY: HeaderName = HeaderName::from_static("x-wns-cache-policy");
pub(crate) const X_WNS_TTL: HeaderName = HeaderName::from_static("x-wns-ttl");
pub(crate) const X_WNS_REQUEST_FOR_STATUS: HeaderName =
    HeaderName::from_static("x-wns-requestforstatus");
pub(crate) const X_WNS_PRIORITY: HeaderName = HeaderName::from_static("x-wns-priority");
pub(crate) const MS_CV: HeaderName = HeaderName::from_static("ms-cv");
const NOT_FOR_RAW: [HeaderName; 4] = [
    HeaderName::from_static("x-wns-tag"),
    HeaderName::from_static("x-wns-group"),
    HeaderName::from_static("x-wns-match"),
    HeaderName::from_static("x-wns-suppresspopup"),
];

/// What a valid request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    /// To be kept for a device that is offline.
    pub(crate) cache: bool,
    /// For how long; without an end if absent.
    pub(crate) time_to_live: Option<Duration>,
    /// Whether the reply shall say if the device is connected.
    pub(crate) device_status: bool,
    /// What is odd about the request but not refused.
    pub(crate) odd: Option<Violation>,
}

/// Reads the headers and the length of the body.
pub(crate) fn check(headers: &HeaderMap, body_bytes: usize) -> Result<Wish, Violation> {
    if headers.get(X_WNS_TYPE).is_none_or(|kind| kind != "wns/raw") {
        return Err(Violation::WnsType);
    }
    if headers
        .get(CONTENT_TYPE)
        .is_none_or(|kind| kind != "application/octet-stream")
    {
        return Err(Violation::ContentType);
    }
    check_body(headers, body_bytes)?;
    if NOT_FOR_RAW.iter().any(|name| headers.contains_key(name)) {
        return Err(Violation::NotForRaw);
    }
    if let Some(priority) = headers.get(X_WNS_PRIORITY)
        && !matches!(priority.as_bytes(), [b'1'..=b'4'])
    {
        return Err(Violation::Priority);
    }
    let cache =
        flag(headers.get(X_WNS_CACHE_POLICY), "cache", "no-cache").ok_or(Violation::CachePolicy)?;
    let time_to_live = match headers.get(X_WNS_TTL) {
        Some(seconds) => Some(Duration::from_secs(number(seconds).ok_or(Violation::Ttl)?)),
        None => None,
    };
    if cache && time_to_live == Some(Duration::ZERO) {
        return Err(Violation::TtlConflict);
    }
    Ok(Wish {
        cache,
        time_to_live,
        device_status: flag(headers.get(X_WNS_REQUEST_FOR_STATUS), "true", "false")
            .ok_or(Violation::RequestForStatus)?,
        odd: oddity(headers),
    })
}

/// What `X-WNS-Error-Description` says about a request that is refused.
pub(crate) fn description(violation: Violation) -> HeaderValue {
    HeaderValue::from_static(match violation {
        Violation::Method => "Only POST is supported.",
        Violation::Authorization => "The authorization header is missing or not a bearer token.",
        Violation::WnsType => "X-WNS-Type is missing or not supported.",
        Violation::ContentType => "Content-Type must be application/octet-stream for wns/raw.",
        Violation::ContentLength => "Content-Length is missing.",
        Violation::EmptyBody => "The notification payload is empty.",
        Violation::BodyTooLarge => "The notification payload exceeds the 5000 byte size limit.",
        Violation::CachePolicy => "Invalid value for X-WNS-Cache-Policy.",
        Violation::Ttl => "Invalid value for X-WNS-TTL.",
        Violation::TtlConflict => "Ttl value conflicts with X-WNS-Cache-Policy.",
        Violation::RequestForStatus => "Invalid value for X-WNS-RequestForStatus.",
        Violation::Priority => "Invalid value for X-WNS-PRIORITY.",
        Violation::NotForRaw => "A header is not supported for wns/raw.",
        Violation::CorrelationVector => "Invalid value for MS-CV.",
        Violation::Expect => "Expect is not supported.",
        Violation::FollowedRedirect => "A redirect was followed.",
    })
}

fn check_body(headers: &HeaderMap, body_bytes: usize) -> Result<(), Violation> {
    if body_bytes > BODY_BYTES_MAX {
        return Err(Violation::BodyTooLarge);
    }
    if body_bytes == 0 {
        return Err(Violation::EmptyBody);
    }
    if !headers.contains_key(CONTENT_LENGTH) {
        return Err(Violation::ContentLength);
    }
    Ok(())
}

/// True, false, or nothing for a third value; an absent header means false.
fn flag(value: Option<&HeaderValue>, yes: &str, no: &str) -> Option<bool> {
    let Some(value) = value else {
        return Some(false);
    };
    if value == yes {
        return Some(true);
    }
    (value == no).then_some(false)
}

fn number(value: &HeaderValue) -> Option<u64> {
    let text = value.to_str().ok()?;
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

fn oddity(headers: &HeaderMap) -> Option<Violation> {
    if headers.contains_key(EXPECT) {
        return Some(Violation::Expect);
    }
    let vector = headers.get(MS_CV)?;
    (!is_correlation_vector(vector.as_bytes())).then_some(Violation::CorrelationVector)
}

/// A base of 22 base64 characters, then at least one `.` and number.
fn is_correlation_vector(text: &[u8]) -> bool {
    let Some((base, rest)) = text.split_at_checked(22) else {
        return false;
    };
    let base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let Some(extensions) = rest.strip_prefix(b".") else {
        return false;
    };
    text.len() <= CORRELATION_VECTOR_MAX
        && base.iter().all(base64)
        && extensions
            .split(|byte| *byte == b'.')
            .all(|part| !part.is_empty() && part.iter().all(u8::is_ascii_digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(extra: &[(&'static str, &'static str)]) -> HeaderMap {
        let usual = [
            ("x-wns-type", "wns/raw"),
            ("content-type", "application/octet-stream"),
            ("content-length", "4"),
            ("authorization", "Bearer x"),
            ("host", "localhost"),
            ("accept", "*/*"),
        ];
        let mut map = HeaderMap::new();
        for (name, value) in usual.iter().chain(extra) {
            if value.is_empty() {
                map.remove(*name);
            } else {
                map.insert(*name, HeaderValue::from_static(value));
            }
        }
        map
    }

    #[test]
    fn a_documented_request_is_understood() {
        let wish = check(
            &headers(&[
                ("x-wns-cache-policy", "cache"),
                ("x-wns-ttl", "3600"),
                ("x-wns-requestforstatus", "true"),
                ("x-wns-priority", "1"),
                ("ms-cv", "abcdefghijklmnopqrstuv.0"),
            ]),
            4,
        );
        let expected = Wish {
            cache: true,
            time_to_live: Some(Duration::from_secs(3600)),
            device_status: true,
            odd: None,
        };
        assert_eq!(wish, Ok(expected));
    }

    #[test]
    fn each_departure_from_the_documents_has_its_name() {
        type Headers = &'static [(&'static str, &'static str)];
        let cases: [(Headers, usize, Violation); 16] = [
            (&[("x-wns-type", "")], 4, Violation::WnsType),
            (&[("x-wns-type", "wns/toast")], 4, Violation::WnsType),
            (&[("content-type", "text/xml")], 4, Violation::ContentType),
            (&[("content-type", "")], 4, Violation::ContentType),
            (&[("content-length", "")], 4, Violation::ContentLength),
            (&[], 0, Violation::EmptyBody),
            (&[], 5001, Violation::BodyTooLarge),
            (&[("x-wns-cache-policy", "yes")], 4, Violation::CachePolicy),
            (&[("x-wns-ttl", "-1")], 4, Violation::Ttl),
            (&[("x-wns-ttl", "1h")], 4, Violation::Ttl),
            (
                &[("x-wns-ttl", "0"), ("x-wns-cache-policy", "cache")],
                4,
                Violation::TtlConflict,
            ),
            (
                &[("x-wns-requestforstatus", "1")],
                4,
                Violation::RequestForStatus,
            ),
            (&[("x-wns-priority", "0")], 4, Violation::Priority),
            (&[("x-wns-priority", "high")], 4, Violation::Priority),
            (&[("x-wns-suppresspopup", "true")], 4, Violation::NotForRaw),
            (&[("x-wns-tag", "a")], 4, Violation::NotForRaw),
        ];
        for (extra, bytes, violation) in cases {
            assert_eq!(check(&headers(extra), bytes), Err(violation), "{extra:?}");
        }
        assert!(check(&headers(&[("x-wns-ttl", "0")]), 5000).is_ok());
    }

    #[test]
    fn an_odd_correlation_vector_is_noted_but_not_refused() {
        for odd in [
            "",
            ".0",
            "abcdefghijklmnopqrstuv",
            "abcdefghijklmnopqrstuv.",
            "abcdefghijklmnopqrst!v.0",
            "abcdefghijklmnopqrstuv.x",
        ] {
            assert!(!is_correlation_vector(odd.as_bytes()), "{odd}");
        }
        let wish = check(&headers(&[("ms-cv", "x")]), 4).unwrap();
        assert_eq!(wish.odd, Some(Violation::CorrelationVector));
        assert_eq!(
            check(&headers(&[("expect", "100-continue")]), 4)
                .unwrap()
                .odd,
            Some(Violation::Expect)
        );
    }
}
