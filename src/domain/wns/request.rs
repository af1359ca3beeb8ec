//! The headers of a raw push, in order.
//!
//! Source: "Push notification service request and response headers" (Microsoft). What is the same for every push is a
//! constant; what differs is four small values that need no allocation, so an adapter builds its header map once and fills
//! in the rest. `Authorization` is the adapter's: the token belongs to no request until it is sent.

use std::{fmt, time::Duration};

use jiff::Timestamp;

use crate::domain::wns::{ms_cv::MsCv, payload::Payload};

/// `Content-Length`: always sent, WNS takes no chunked bodies.
pub const CONTENT_LENGTH: &str = "content-length";
/// `X-WNS-TTL`: seconds from receipt by WNS.
pub const TTL: &str = "x-wns-ttl";
/// `X-WNS-PRIORITY`, of "Windows push notification priorities".
pub const PRIORITY: &str = "x-wns-priority";
/// `MS-CV`: a new one for each request.
pub const MS_CV: &str = "ms-cv";

/// The headers that every raw push has, in order. Names are in lower case; WNS reads them in any.
pub const CONSTANT_HEADERS: [(&str, &str); 4] = [
    ("x-wns-type", "wns/raw"),
    // Others are for XML payloads; without it a raw push is refused.
    ("content-type", "application/octet-stream"),
    // The default for raw is no-cache: a sleeping PC would lose the push. With it WNS keeps the newest one.
    ("x-wns-cache-policy", "cache"),
    // Asks for X-WNS-DeviceConnectionStatus: it tells a cached notification from a delivered one.
    ("x-wns-requestforstatus", "true"),
];

/// Shortest time to live: TTLs are meant to be "at least minutes", and 0 conflicts with `cache` (a 400, field observation).
pub const TTL_MIN: Duration = Duration::from_secs(60);
/// Longest time to live. A longer wish is pushed again; WNS keeps a notification for "a reasonable period" only.
pub const TTL_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// How long WNS may hold a notification: whole seconds from [`TTL_MIN`] to [`TTL_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ttl(u32);

/// How a device on battery treats the notification; without it raw ones are `Low`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WnsPriority {
    /// Delivered even with the screen off on battery.
    High,
    /// Held on battery unless the user allows it.
    Medium,
    /// Held until the user signs in or plugs in.
    Low,
    /// Named in the text of the page only.
    VeryLow,
}

/// One raw push, without the address and the token.
#[derive(Clone, Debug)]
pub struct RawPush {
    /// The body.
    pub payload: Payload,
    /// How long WNS may hold it.
    pub ttl: Ttl,
    /// How eager the device shall be; absent leaves it to WNS.
    pub priority: Option<WnsPriority>,
    /// The id of this request.
    pub ms_cv: MsCv,
}

/// A header's value, not yet text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderValue<'a> {
    /// ASCII text.
    Text(&'a str),
    /// A decimal number.
    Number(u32),
}

impl Ttl {
    /// The time from `now` to `deadline`, cut to what WNS takes. A deadline that is near or over gives [`TTL_MIN`].
    #[must_use]
    pub fn until(deadline: Timestamp, now: Timestamp) -> Self {
        let left = Duration::try_from(deadline.duration_since(now)).unwrap_or(Duration::ZERO);
        let left = left.clamp(TTL_MIN, TTL_MAX);
        Self(u32::try_from(left.as_secs()).expect("a day of seconds fits"))
    }

    /// Seconds, as the header carries them.
    #[must_use]
    pub const fn seconds(self) -> u32 {
        self.0
    }

    /// How long a cached notification is held.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.0 as u64)
    }
}

impl WnsPriority {
    /// The header's value, 1 to 4.
    #[must_use]
    pub const fn value(self) -> u32 {
        match self {
            Self::High => 1,
            Self::Medium => 2,
            Self::Low => 3,
            Self::VeryLow => 4,
        }
    }
}

impl RawPush {
    /// Every header but `Host` and `Authorization`, in order.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, HeaderValue<'_>)> {
        CONSTANT_HEADERS
            .into_iter()
            .map(|(name, value)| (name, HeaderValue::Text(value)))
            .chain(self.varying_headers())
    }

    /// The headers that differ from push to push, to be set on top of [`CONSTANT_HEADERS`].
    pub fn varying_headers(&self) -> impl Iterator<Item = (&'static str, HeaderValue<'_>)> {
        [
            Some((CONTENT_LENGTH, HeaderValue::Number(self.payload.length()))),
            Some((TTL, HeaderValue::Number(self.ttl.seconds()))),
            self.priority
                .map(|p| (PRIORITY, HeaderValue::Number(p.value()))),
            Some((MS_CV, HeaderValue::Text(self.ms_cv.as_str()))),
        ]
        .into_iter()
        .flatten()
    }
}

impl fmt::Display for HeaderValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use proptest::prelude::*;

    use super::*;

    fn now() -> Timestamp {
        "2026-11-22T12:00:00.9Z".parse().unwrap()
    }

    fn push(priority: Option<WnsPriority>) -> RawPush {
        RawPush {
            payload: Payload::default(),
            ttl: Ttl::until("2026-11-22T13:00:00Z".parse().unwrap(), now()),
            priority,
            ms_cv: MsCv::from_random([0; 16]),
        }
    }

    fn lines(push: &RawPush) -> Vec<String> {
        push.headers()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect()
    }

    #[test]
    fn a_raw_push_has_exactly_the_documented_headers() {
        let expected = [
            "x-wns-type: wns/raw",
            "content-type: application/octet-stream",
            "x-wns-cache-policy: cache",
            "x-wns-requestforstatus: true",
            "content-length: 4",
            "x-wns-ttl: 3599",
            "ms-cv: AAAAAAAAAAAAAAAAAAAAAA.0",
        ];
        assert_eq!(lines(&push(None)), expected);
        let with_priority = lines(&push(Some(WnsPriority::High)));
        assert_eq!(with_priority[6], "x-wns-priority: 1");
        assert_eq!(with_priority.len(), expected.len() + 1);
    }

    #[test]
    fn priorities_are_numbered_from_one() {
        let all = [
            WnsPriority::High,
            WnsPriority::Medium,
            WnsPriority::Low,
            WnsPriority::VeryLow,
        ];
        assert_eq!(all.map(WnsPriority::value), [1, 2, 3, 4]);
    }

    #[test]
    fn every_header_is_one_that_an_http_library_takes() {
        for (name, value) in push(Some(WnsPriority::Low)).headers() {
            assert_eq!(http::HeaderName::from_static(name).as_str(), name);
            assert!(http::HeaderValue::from_str(&value.to_string()).is_ok());
        }
    }

    #[test]
    fn the_ttl_fits_the_deadline_and_is_never_zero() {
        for (left_ms, seconds) in [
            (-1_000_000, 60),
            (0, 60),
            (59_999, 60),
            (60_999, 60),
            (61_000, 61),
            (3_600_000, 3_600),
            (86_400_000, 86_400),
            (30 * 86_400_000, 86_400),
        ] {
            let deadline = now() + SignedDuration::from_millis(left_ms);
            assert_eq!(
                Ttl::until(deadline, now()).seconds(),
                seconds,
                "{left_ms} ms"
            );
        }
    }

    proptest! {
        #[test]
        fn any_two_times_give_a_ttl_in_range(a in -377_705_000_000_i64..253_402_200_000, b in -377_705_000_000_i64..253_402_200_000) {
            let (a, b) = (Timestamp::from_second(a).unwrap(), Timestamp::from_second(b).unwrap());
            let ttl = Ttl::until(a, b).duration();
            prop_assert!((TTL_MIN..=TTL_MAX).contains(&ttl));
            prop_assert!(ttl == TTL_MIN || SignedDuration::try_from(ttl).unwrap() <= a.duration_since(b));
        }
    }
}
