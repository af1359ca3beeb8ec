//! Bounds on pushes, and on how much of the broker one cause may take.

use std::time::Duration;

use super::{
    kind::{duration, whole},
    reader::{Place, Problems},
    schema::{Section, settings},
};

settings! {
    /// Bounds on pushes, and on how much of the broker one cause may take.
    pub struct Limits at "limits" {
        /// Deadline of a push that names none.
        push_deadline: Duration = duration("1m", "30d").default("24h");
        /// Deadline of a campaign that names none.
        campaign_deadline: Duration = duration("1m", "30d").default("7d");
        /// Farthest deadline that is taken.
        deadline_max: Duration = duration("1m", "365d").default("30d");
        /// Shortest time between two notifications to one channel. WNS throttles a channel that gets more.
        channel_interval: Duration = duration("1s", "1h").default("30s");
        /// The same for urgent pushes.
        channel_interval_urgent: Duration = duration("1s", "1h").default("5s");
        /// Dispatchers, each with a thread, an HTTP client and connections of its own. Without it one per core.
        dispatchers: Option<u32> = whole(1, 1024).optional();
        /// Most requests to WNS in flight for one dispatcher.
        in_flight_max: u32 = whole(1, 100_000).default("1024");
        /// Largest part of them for a WNS host that is slow or silent, so that a dead region does not take all; one in good health may take three quarters.
        in_flight_host_percent: u32 = whole(1, 100).default("25");
        /// Part of them kept for urgent pushes.
        in_flight_urgent_percent: u32 = whole(0, 50).default("10");
    }
}

/// Reads `[limits]`.
pub(super) fn read(root: &Place<'_>, problems: &mut Problems) -> Option<Limits> {
    let place = root.sub("limits", problems);
    let limits = Limits::read(&place, problems)?;
    let deadlines = [
        ("push_deadline", limits.push_deadline),
        ("campaign_deadline", limits.campaign_deadline),
    ];
    for (name, _) in deadlines
        .into_iter()
        .filter(|(_, deadline)| *deadline > limits.deadline_max)
    {
        place.blame(name, "is beyond deadline_max", problems);
    }
    if limits.channel_interval_urgent > limits.channel_interval {
        place.blame(
            "channel_interval_urgent",
            "is longer than channel_interval",
            problems,
        );
    }
    Some(limits)
}
