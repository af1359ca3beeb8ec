//! When a push is tried again, and when an app that WNS refuses is.

use std::time::Duration;

use super::{
    kind::{Kind, duration, list},
    reader::{Place, Problems},
    schema::{Section, settings},
};

/// Most steps of the re-push schedule.
const REPUSH_STEPS_MAX: usize = 32;

settings! {
    /// When a push is tried again, and when an app that WNS refuses is. Each `…_first` doubles up to its `…_max`, with jitter;
    /// what WNS asks for in `Retry-After` wins.
    pub struct Retry at "retry" {
        /// First wait after an outage: a 5xx reply, a timeout, a refused or broken connection.
        unavailable_first: Duration = duration("100ms", "1h").default("2s");
        /// Longest wait after an outage.
        unavailable_max: Duration = duration("1s", "24h").default("5m");
        /// First wait after WNS dropped a notification, as it does for a device that is asleep.
        dropped_first: Duration = duration("1s", "24h").default("30s");
        /// Longest wait after a drop.
        dropped_max: Duration = duration("1s", "7d").default("30m");
        /// First wait after WNS throttled one channel without saying for how long.
        channel_throttled_first: Duration = duration("1s", "24h").default("10m");
        /// Longest such wait.
        channel_throttled_max: Duration = duration("1s", "7d").default("24h");
        /// First wait before an app whose token WNS refuses, or whose channels it refuses in a wave, is tried with one request.
        hold_first: Duration = duration("1s", "24h").default("5m");
        /// Longest such wait.
        hold_max: Duration = duration("1s", "24h").default("1h");
        /// Waits between notifications to a device that takes them and does not check in; the last one repeats.
        repush: Vec<Duration> = list(repush_step(), REPUSH_STEPS_MAX).default("15m,1h,6h,24h");
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
        let detail = "is empty; write at least one wait, such as [\"15m\"]";
        place.blame("repush", detail, problems);
    }
    Some(retry)
}

fn repush_step() -> Kind<Duration> {
    duration("1m", "30d")
}
