//! The closed set of things that an attempt can end in, and their stable names.

use std::time::Duration;

use super::raw::TransportFailure;
use crate::domain::wns::text::Text;

/// What an attempt came to. Each variant asks for something else next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// WNS took the notification; that does not say that the device got it.
    Accepted {
        /// WNS holds it for a device that is away, until its TTL.
        cached: bool,
        /// WNS said so in words; false for a 2xx without a status that is known.
        stated: bool,
    },
    /// WNS took it and threw it away: normal for a sleeping PC without cache.
    Dropped,
    /// This channel is over its limit; the notification is lost. Other channels are not concerned.
    ChannelThrottled {
        /// How long WNS asks to leave the channel alone, 1 s to 24 h, if it said so.
        retry_after: Option<Duration>,
    },
    /// The access token is invalid or expired.
    TokenRefused,
    /// WNS does not push to this channel for this app.
    ChannelRefused {
        /// By which status.
        cause: ChannelRefusal,
    },
    /// WNS refuses the sender, not the channel.
    DomainBlocked {
        /// The status it came with.
        status: u16,
    },
    /// The whole app is over its limit.
    AppThrottled {
        /// How long to leave WNS alone, 1 s to 24 h; 900 s if WNS did not say.
        retry_after: Duration,
    },
    /// WNS holds our request to be wrong; sending it again would not help.
    OurFault {
        /// The HTTP status.
        status: u16,
        /// WNS's words, if any.
        description: Option<Text>,
    },
    /// No verdict: nothing is known about channel, token or pace.
    Unavailable {
        /// What went wrong.
        kind: UnavailableKind,
        /// How long the server asks to wait, 1 s to 24 h, if it said so.
        retry_after: Option<Duration>,
    },
    /// A redirect, which is never followed: the token would go with it.
    Redirected {
        /// The HTTP status.
        status: u16,
    },
}

/// How WNS refused a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChannelRefusal {
    /// 403: the channel belongs to another app than the token.
    Forbidden,
    /// 404: not a channel WNS knows.
    NotFound,
    /// 410, or status `revoked`: expired, or revoked early.
    Gone,
}

/// Why there is no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnavailableKind {
    /// An HTTP status that says nothing about this request.
    Http {
        /// The status.
        status: u16,
    },
    /// Nothing within the request's time.
    Timeout,
    /// The connection could not be opened.
    Connect,
    /// The host's name was not resolved.
    Dns,
    /// The TLS handshake failed, or the certificate is not trusted.
    Tls,
    /// The connection broke.
    Reset,
    /// The egress proxy refused or failed.
    Proxy,
    /// What came was not HTTP.
    Protocol,
}

/// An [`Outcome`] without its data: a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each is the Outcome of the same name")]
pub enum OutcomeKind {
    Accepted,
    Dropped,
    ChannelThrottled,
    TokenRefused,
    ChannelRefused,
    DomainBlocked,
    AppThrottled,
    OurFault,
    Unavailable,
    Redirected,
}

impl Outcome {
    /// The outcome without its data.
    #[must_use]
    pub const fn kind(&self) -> OutcomeKind {
        match self {
            Self::Accepted { .. } => OutcomeKind::Accepted,
            Self::Dropped => OutcomeKind::Dropped,
            Self::ChannelThrottled { .. } => OutcomeKind::ChannelThrottled,
            Self::TokenRefused => OutcomeKind::TokenRefused,
            Self::ChannelRefused { .. } => OutcomeKind::ChannelRefused,
            Self::DomainBlocked { .. } => OutcomeKind::DomainBlocked,
            Self::AppThrottled { .. } => OutcomeKind::AppThrottled,
            Self::OurFault { .. } => OutcomeKind::OurFault,
            Self::Unavailable { .. } => OutcomeKind::Unavailable,
            Self::Redirected { .. } => OutcomeKind::Redirected,
        }
    }

    /// The stable name for metrics, logs and events.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        self.kind().label()
    }
}

impl OutcomeKind {
    /// Every kind, for metrics that start at zero.
    pub const ALL: [Self; 10] = [
        Self::Accepted,
        Self::Dropped,
        Self::ChannelThrottled,
        Self::TokenRefused,
        Self::ChannelRefused,
        Self::DomainBlocked,
        Self::AppThrottled,
        Self::OurFault,
        Self::Unavailable,
        Self::Redirected,
    ];

    /// The stable name for metrics, logs and events.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Dropped => "dropped",
            Self::ChannelThrottled => "channel_throttled",
            Self::TokenRefused => "token_refused",
            Self::ChannelRefused => "channel_refused",
            Self::DomainBlocked => "domain_blocked",
            Self::AppThrottled => "app_throttled",
            Self::OurFault => "our_fault",
            Self::Unavailable => "unavailable",
            Self::Redirected => "redirected",
        }
    }
}

impl ChannelRefusal {
    /// The stable name for logs and events.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Gone => "gone",
        }
    }
}

impl UnavailableKind {
    /// The stable name for logs and metrics; a status has no place in it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Http { .. } => "http",
            Self::Timeout => "timeout",
            Self::Connect => "connect",
            Self::Dns => "dns",
            Self::Tls => "tls",
            Self::Reset => "reset",
            Self::Proxy => "proxy",
            Self::Protocol => "protocol",
        }
    }
}

impl From<TransportFailure> for UnavailableKind {
    fn from(failure: TransportFailure) -> Self {
        match failure {
            TransportFailure::Timeout => Self::Timeout,
            TransportFailure::Connect => Self::Connect,
            TransportFailure::Dns => Self::Dns,
            TransportFailure::Tls => Self::Tls,
            TransportFailure::Reset => Self::Reset,
            TransportFailure::Proxy => Self::Proxy,
            TransportFailure::Protocol => Self::Protocol,
        }
    }
}
