//! What each thread counts while it serves: replies, violations and the requests of each app.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::rate::RateRing;

macro_rules! counted {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $label:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// Every kind, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name in the ledger.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$variant => $label,)*
                }
            }
        }
    };
}

counted! {
    /// What became of a request to a channel.
    ReplyKind {
        /// 200 received, the device is connected.
        Received = "received",
        /// 200 received, kept for a device that is offline.
        Cached = "cached",
        /// 200 dropped.
        Dropped = "dropped",
        /// 200 channelthrottled.
        ChannelThrottled = "channelthrottled",
        /// 200 without a status header.
        NoStatus = "no_status",
        /// 200 with a status nobody documents.
        UnknownStatus = "unknown_status",
        /// 3xx.
        Redirect = "redirect",
        /// 400.
        BadRequest = "400",
        /// 401.
        Unauthorized = "401",
        /// 403.
        Forbidden = "403",
        /// 404.
        NotFound = "404",
        /// 405.
        MethodNotAllowed = "405",
        /// 406.
        NotAcceptable = "406",
        /// 410.
        Gone = "410",
        /// 413.
        TooLarge = "413",
        /// 429.
        TooManyRequests = "429",
        /// 5xx.
        ServerError = "5xx",
        /// Any other status code.
        Other = "other",
        /// The connection was cut.
        Reset = "reset",
        /// No reply was given.
        Timeout = "timeout",
    }
}

counted! {
    /// In which way a request was not what WNS documents.
    Violation {
        /// Another method than POST on a channel.
        Method = "method",
        /// `Authorization` is absent or not `Bearer`.
        Authorization = "authorization",
        /// `X-WNS-Type` is absent or not `wns/raw`.
        WnsType = "wns_type",
        /// `Content-Type` is not `application/octet-stream`.
        ContentType = "content_type",
        /// No `Content-Length`.
        ContentLength = "content_length",
        /// An empty body.
        EmptyBody = "empty_body",
        /// A body above 5,000 bytes.
        BodyTooLarge = "body_too_large",
        /// `X-WNS-Cache-Policy` is neither `cache` nor `no-cache`.
        CachePolicy = "cache_policy",
        /// `X-WNS-TTL` is not a whole number of seconds.
        Ttl = "ttl",
        /// A time to live of 0 together with `cache`.
        TtlConflict = "ttl_conflict",
        /// `X-WNS-RequestForStatus` is neither `true` nor `false`.
        RequestForStatus = "request_for_status",
        /// `X-WNS-PRIORITY` is not a number from 1 to 4.
        Priority = "priority",
        /// A header that is not for raw notifications: tag, group, match, suppress popup.
        NotForRaw = "not_for_raw",
        /// `MS-CV` is not a correlation vector; the notification is taken nevertheless.
        CorrelationVector = "correlation_vector",
        /// `Expect` was sent; the notification is taken nevertheless.
        Expect = "expect",
        /// A redirect was followed.
        FollowedRedirect = "followed_redirect",
    }
}

/// The counters of one thread; only that thread writes them, so they are never contended.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Shard {
    replies: [AtomicU64; ReplyKind::ALL.len()],
    violations: [AtomicU64; Violation::ALL.len()],
    apps: Box<[AppShard]>,
}

/// What one thread counts for one app.
#[derive(Debug, Default)]
pub(crate) struct AppShard {
    pub(crate) requests: AtomicU64,
    pub(crate) accepted: AtomicU64,
    pub(crate) during_penalty: AtomicU64,
    pub(crate) rate: RateRing,
}

impl Shard {
    pub(crate) fn new(apps: usize) -> Self {
        Self {
            replies: std::array::from_fn(|_| AtomicU64::new(0)),
            violations: std::array::from_fn(|_| AtomicU64::new(0)),
            apps: (0..apps).map(|_| AppShard::default()).collect(),
        }
    }

    pub(crate) fn reply(&self, kind: ReplyKind) {
        self.replies[kind as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn violation(&self, kind: Violation) {
        self.violations[kind as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn app(&self, app: u16) -> &AppShard {
        &self.apps[usize::from(app)]
    }

    pub(crate) fn replies(&self, kind: ReplyKind) -> u64 {
        self.replies[kind as usize].load(Relaxed)
    }

    pub(crate) fn violations(&self, kind: Violation) -> u64 {
        self.violations[kind as usize].load(Relaxed)
    }

    pub(crate) fn reset(&self) {
        for counter in self.replies.iter().chain(&self.violations) {
            counter.store(0, Relaxed);
        }
        for app in &self.apps {
            for counter in [&app.requests, &app.accepted, &app.during_penalty] {
                counter.store(0, Relaxed);
            }
            app.rate.reset();
        }
    }
}

/// Requests to an app in the second that ends with a step, by all threads.
pub(crate) fn second_to(shards: &[Shard], app: u16, step: u64) -> u64 {
    shards
        .iter()
        .map(|shard| shard.app(app).rate.second_to(step))
        .sum()
}
