//! A device's WNS channel: the URI it last reported, since when, and whether WNS still takes notifications for it.

use jiff::{SignedDuration, Timestamp};

use super::wns::{channel_uri::ChannelUri, reply::ChannelRefusal};

/// WNS channels live for 30 days from their creation (MDM push documentation, "Push notification support").
pub const CHANNEL_LIFE: SignedDuration = SignedDuration::from_hours(30 * 24);
/// DMClient renews a channel when half its life is over (same source).
pub const CHANNEL_RENEWAL: SignedDuration = SignedDuration::from_hours(15 * 24);
/// How long a refused channel stays suspect before it is declared dead.
pub const SUSPECT_HOLD: SignedDuration = SignedDuration::from_secs(60);
/// A dead channel whose same URI is reported again gets one trial a day.
pub const TRIAL_INTERVAL: SignedDuration = SignedDuration::from_hours(24);

/// Counts the URIs that a device has had; what concerns a channel is compared with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(pub u32);

impl Generation {
    /// The generation of the next URI.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

/// Whether a dead channel may be tried once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trial {
    /// Nobody reported the URI again since it died.
    NotAsked,
    /// The device reported the same URI again: one attempt is allowed.
    Allowed,
    /// The attempt was made then and refused.
    Used(Timestamp),
}

/// What Reveille knows of the channel's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelState {
    /// WNS takes notifications for it, as far as anybody knows.
    Live,
    /// WNS throttles this channel; nothing is sent before `until`.
    Silent {
        /// End of the silence.
        until: Timestamp,
        /// How often in a row it was throttled; doubles the next silence.
        strikes: u8,
    },
    /// WNS refused it; not yet believed, since an app-wide fault looks the same.
    Suspect {
        /// When the refusal came.
        since: Timestamp,
        /// Which refusal.
        cause: ChannelRefusal,
        /// When it is judged.
        review_at: Timestamp,
    },
    /// Refused and confirmed; only a new URI (or one trial a day) helps.
    Dead {
        /// When the refusal came.
        since: Timestamp,
        /// Which refusal.
        cause: ChannelRefusal,
        /// Whether the same URI may be tried again.
        trial: Trial,
    },
}

/// The states as labels: for counters, indexes, metrics and the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChannelKind {
    /// The device has reported no URI.
    None,
    /// See [`ChannelState::Live`].
    Live,
    /// See [`ChannelState::Silent`].
    Silent,
    /// See [`ChannelState::Suspect`].
    Suspect,
    /// See [`ChannelState::Dead`].
    Dead,
}

impl ChannelKind {
    /// Every kind, in the order in which they are shown.
    pub const ALL: [Self; 5] = [
        Self::Live,
        Self::Silent,
        Self::Suspect,
        Self::Dead,
        Self::None,
    ];

    /// Stable text for counters, metrics and the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Live => "live",
            Self::Silent => "silent",
            Self::Suspect => "suspect",
            Self::Dead => "dead",
        }
    }
}

/// What is remembered of the URI that the current one replaced, so that it gets no second life if it comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EarlierUri {
    /// [`ChannelUri::fingerprint`].
    pub fingerprint: u32,
    /// When it was first reported: whole seconds since the epoch.
    pub first_seen: u32,
}

/// The channel of one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// The URI, byte for byte as the device reported it.
    pub uri: ChannelUri,
    /// Which of the device's URIs this is.
    pub generation: Generation,
    /// Its health.
    pub state: ChannelState,
    /// When this URI was first reported; its 30 days run from here.
    pub first_seen: Timestamp,
    /// When it was last reported; does not extend its life.
    pub last_seen: Timestamp,
    /// The URI before this one. Older ones are forgotten: the memory of a device is bounded.
    pub earlier: Option<EarlierUri>,
}

impl Channel {
    /// A URI reported for the first time at `now`.
    #[must_use]
    pub fn new(uri: ChannelUri, generation: Generation, now: Timestamp) -> Self {
        Self {
            uri,
            generation,
            state: ChannelState::Live,
            first_seen: now,
            last_seen: now,
            earlier: None,
        }
    }

    /// The channel after this one: `uri`, reported at `now`. If it is the one that this channel had replaced, its 30 days
    /// go on from where they began; it is live again until WNS says otherwise.
    #[must_use]
    pub fn succeeded_by(&self, uri: ChannelUri, now: Timestamp) -> Self {
        let returns = self.earlier.filter(|e| e.fingerprint == uri.fingerprint());
        let first_seen = returns.and_then(|e| Timestamp::from_second(e.first_seen.into()).ok());
        Self {
            first_seen: first_seen.map_or(now, |at| at.min(now)),
            earlier: self.as_earlier(),
            ..Self::new(uri, self.generation.next(), now)
        }
    }

    fn as_earlier(&self) -> Option<EarlierUri> {
        let first_seen = u32::try_from(self.first_seen.as_second()).ok()?;
        Some(EarlierUri {
            fingerprint: self.uri.fingerprint(),
            first_seen,
        })
    }

    /// The state as a label.
    #[must_use]
    pub fn kind(&self) -> ChannelKind {
        match self.state {
            ChannelState::Live => ChannelKind::Live,
            ChannelState::Silent { .. } => ChannelKind::Silent,
            ChannelState::Suspect { .. } => ChannelKind::Suspect,
            ChannelState::Dead { .. } => ChannelKind::Dead,
        }
    }

    /// Whether a notification may be sent to it, now or at the end of a silence.
    #[must_use]
    pub fn usable(&self) -> bool {
        match self.state {
            ChannelState::Live | ChannelState::Silent { .. } => true,
            ChannelState::Suspect { .. } => false,
            ChannelState::Dead { trial, .. } => trial == Trial::Allowed,
        }
    }

    /// When WNS is expected to expire it: 30 days after it was first seen.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.first_seen
            .saturating_add(CHANNEL_LIFE)
            .unwrap_or(Timestamp::MAX)
    }

    /// When its device should have renewed it: 15 days after it was first seen.
    #[must_use]
    pub fn renewal_due_at(&self) -> Timestamp {
        self.first_seen
            .saturating_add(CHANNEL_RENEWAL)
            .unwrap_or(Timestamp::MAX)
    }
}
