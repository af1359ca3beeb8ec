//! The broker's policy from its configuration.

use std::time::Duration;

use jiff::SignedDuration;

use crate::{
    config::Config,
    domain::schedule::{Backoff, BackoffError, Rules},
};

/// The rules that `config` asks for.
///
/// # Errors
/// [`BackoffError`] when two waits make no backoff; a proven configuration never does.
pub(super) fn rules(config: &Config) -> Result<Rules, BackoffError> {
    let retry = &config.retry;
    let backoff = |first, max| Backoff::new(signed(first), signed(max));
    Ok(Rules {
        interval: signed(config.limits.channel_interval),
        interval_urgent: signed(config.limits.channel_interval_urgent),
        check_in_skew: signed(config.checkin.skew_tolerance),
        retry: backoff(retry.dropped_first, retry.dropped_max)?,
        outage: backoff(retry.unavailable_first, retry.unavailable_max)?,
        silence: backoff(retry.channel_throttled_first, retry.channel_throttled_max)?,
        repush: retry.repush.iter().copied().map(signed).collect(),
        ttl_max: signed(config.wns.ttl),
        verbose_events: config.store.events_verbose,
    })
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Environment;

    #[test]
    fn the_defaults_of_the_configuration_are_the_defaults_of_the_rules() {
        let text = r#"
            [[apps]]
            id = "contoso"
            package_sid = "ms-app://s-1-15-2-3928704574-477015729-2320265743-508859788-3584887706-656216416-1642263338"
            secret_env = "SECRET"
        "#;
        let environment = [("SECRET", "s")].into_iter().collect::<Environment>();
        let config = Config::parse(text, "test", &environment).unwrap();
        assert_eq!(rules(&config).unwrap(), Rules::default());
    }
}
