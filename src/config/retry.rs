//! When a push is tried again, and for how long an app is left alone.

use std::time::Duration;

use super::{
    kind::{Kind, duration, list, whole},
    reader::{Place, Problems},
    schema::{Section, settings},
};

/// Most steps of the re-push schedule.
const REPUSH_STEPS_MAX: usize = 32;

settings! {
    /// When a push is tried again, and for how long an app is left alone. Each `…_first` doubles up to its `…_max`; what WNS
    /// asks for in `Retry-After` wins.
    pub struct Retry at "retry" {
        /// First wait after an outage: a 5xx reply, a timeout, a refused or broken connection.
        unavailable_first: Duration = duration("100ms", "1h").default("2s");
        /// Longest wait after an outage.
        unavailable_max: Duration = duration("1s", "24h").default("5m");
        /// First wait after WNS dropped a notification, as it does for a device that is asleep.
        dropped_first: Duration = duration("1s", "24h").default("1m");
        /// Longest wait after a drop.
        dropped_max: Duration = duration("1s", "7d").default("6h");
        /// First wait after WNS throttled one channel.
        channel_throttled_first: Duration = duration("1s", "24h").default("10m");
        /// Longest wait after a throttled channel.
        channel_throttled_max: Duration = duration("1s", "7d").default("1d");
        /// Pause of an app that WNS throttles without saying for how long.
        app_throttled_pause: Duration = duration("1s", "24h").default("15m");
        /// Longest pause of an app, whatever WNS asks for.
        app_throttled_pause_max: Duration = duration("1s", "24h").default("1d");
        /// First wait before an app whose token WNS refuses, or whose channels it refuses in a wave, is tried with one request.
        hold_first: Duration = duration("1s", "24h").default("5m");
        /// Longest such wait.
        hold_max: Duration = duration("1s", "24h").default("1h");
        /// Time without an app-wide wave after which a refused channel counts as dead.
        suspect_for: Duration = duration("1s", "1h").default("1m");
        /// Waits between notifications to a device that takes them and does not check in; the last one repeats.
        repush: Vec<Duration> = list(repush_step(), REPUSH_STEPS_MAX).default("15m,1h,6h,1d");
        /// Random part added to each wait, so that a fleet does not come back at once.
        jitter_percent: u32 = whole(0, 100).default("20");
    }
}

/// Reads `[retry]`.
pub(super) fn read(root: &Place<'_>, problems: &mut Problems) -> Option<Retry> {
    let place = root.sub("retry", problems);
    let retry = Retry::read(&place, problems)?;
    let pairs = [
        (
            "unavailable_first",
            retry.unavailable_first,
            retry.unavailable_max,
        ),
        ("dropped_first", retry.dropped_first, retry.dropped_max),
        (
            "channel_throttled_first",
            retry.channel_throttled_first,
            retry.channel_throttled_max,
        ),
        (
            "app_throttled_pause",
            retry.app_throttled_pause,
            retry.app_throttled_pause_max,
        ),
        ("hold_first", retry.hold_first, retry.hold_max),
    ];
    for (name, _, _) in pairs.into_iter().filter(|(_, first, max)| first > max) {
        place.blame(
            name,
            "is longer than the longest wait that it grows to",
            problems,
        );
    }
    if retry.repush.is_empty() {
        place.blame(
            "repush",
            "is empty; write at least one wait, such as [\"15m\"]",
            problems,
        );
    }
    Some(retry)
}

fn repush_step() -> Kind<Duration> {
    duration("1m", "30d")
}
