//! The part of the configuration that the domain follows.

use std::time::Duration;

use jiff::SignedDuration;

use crate::domain::schedule::{Backoff, Rules};

use super::Config;

impl Config {
    /// The policy of retries, intervals and re-pushes.
    #[must_use]
    pub fn rules(&self) -> Rules {
        let Self {
            wns,
            store,
            limits,
            retry,
            checkin,
            ..
        } = self;
        Rules {
            interval: signed(limits.channel_interval),
            interval_urgent: signed(limits.channel_interval_urgent),
            check_in_skew: signed(checkin.skew_tolerance),
            retry: backoff(retry.dropped_first, retry.dropped_max),
            outage: backoff(retry.unavailable_first, retry.unavailable_max),
            silence: backoff(retry.channel_throttled_first, retry.channel_throttled_max),
            repush: retry.repush.iter().copied().map(signed).collect(),
            ttl_max: signed(wns.ttl),
            verbose_events: store.events_verbose,
        }
    }
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).expect("every duration key is bounded by a year")
}

fn backoff(first: Duration, max: Duration) -> Backoff {
    Backoff::new(signed(first), signed(max)).expect("the keys are bounded above zero and in order")
}
