//! How channels answer: latency, shares, ceilings. May be replaced as a whole while the sandbox runs.

use std::{str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    config::ConfigError,
    fleet::CheckIns,
    gcra::Gcra,
    step::Step,
    units::{Delay, Period, Share},
};

/// Everything about replies that can change at run time; the body of `PATCH /sandbox/v1/behaviour`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// Time before a reply to a notification.
    pub latency: Delay,
    /// Shares of notifications that get a given reply instead of the model's.
    pub replies: Vec<ReplyShare>,
    /// Share of devices that are offline until they return or are told to.
    pub offline: Share,
    /// How long an offline device stays so after a notification for it was cached; for ever if absent.
    pub offline_for: Option<Delay>,
    /// Share of devices whose first channel is dead: half of them answer 410, half 404.
    pub dead: Share,
    /// Requests per second that one app may send.
    pub app_ceiling: Option<AppCeiling>,
    /// Notifications that one channel takes.
    pub channel_ceiling: Option<ChannelCeiling>,
    /// `X-WNS-CONTINUE-AFTER` on `channelthrottled`, whole seconds; absent as in recent captures if not given.
    pub continue_after: Option<Period>,
    /// Which spelling of the status header is sent.
    pub status_headers: StatusHeaders,
    /// What devices do when woken.
    pub check_in: CheckIns,
}

/// A reply that a share of notifications gets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplyShare {
    /// How many of them.
    pub share: Share,
    /// The reply.
    pub reply: Step,
}

/// Which spelling of the status header is sent; real replies carry both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StatusHeaders {
    /// `X-WNS-Status` and `X-WNS-NotificationStatus`.
    #[default]
    Both,
    /// `X-WNS-Status` only.
    Status,
    /// `X-WNS-NotificationStatus` only.
    NotificationStatus,
    /// None of them.
    None,
}

/// The limit that an app must not exceed, and what happens if it does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AppCeiling {
    /// Requests per second.
    pub per_second: f64,
    /// Requests that may come at once; a tenth of a second's worth if absent.
    pub burst: Option<u32>,
    /// How long every request of the app is refused after the first excess.
    pub penalty: Period,
    /// The status code of the refusal: 406 or 429.
    pub status: u16,
    /// What `Retry-After` says.
    pub retry_after: RetryAfter,
}

impl Default for AppCeiling {
    /// What the field reports of WNS: about 1,000 requests per second, then 406 for 15 minutes.
    fn default() -> Self {
        Self {
            per_second: 1_000.0,
            burst: None,
            penalty: Period(Duration::from_mins(15)),
            status: 406,
            retry_after: RetryAfter::Remaining,
        }
    }
}

impl AppCeiling {
    pub(crate) fn gcra(&self) -> Gcra {
        let burst = self.burst.unwrap_or((self.per_second / 10.0) as u32);
        Gcra::per_second(self.per_second, burst.max(1))
    }
}

/// What the `Retry-After` of a throttled app says; written as `remaining`, `date`, `absent` or a number of seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RetryAfter {
    /// Whole seconds to the end of the penalty.
    #[default]
    Remaining,
    /// The end of the penalty as an HTTP date.
    Date,
    /// The header is left out.
    Absent,
    /// Always this many seconds.
    Seconds(u32),
}

impl FromStr for RetryAfter {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let refused = |_| ConfigError::Range {
            what: "Retry-After",
            range: format!("remaining, date, absent or a number of seconds, not {text:?}"),
        };
        Ok(match text {
            "remaining" => Self::Remaining,
            "date" => Self::Date,
            "absent" => Self::Absent,
            seconds => Self::Seconds(seconds.parse().map_err(refused)?),
        })
    }
}

impl TryFrom<String> for RetryAfter {
    type Error = ConfigError;
    fn try_from(text: String) -> Result<Self, ConfigError> {
        text.parse()
    }
}

impl From<RetryAfter> for String {
    fn from(says: RetryAfter) -> String {
        match says {
            RetryAfter::Remaining => "remaining".to_owned(),
            RetryAfter::Date => "date".to_owned(),
            RetryAfter::Absent => "absent".to_owned(),
            RetryAfter::Seconds(seconds) => seconds.to_string(),
        }
    }
}

/// The limit of one channel; what exceeds it is answered 200 with `channelthrottled` and lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ChannelCeiling {
    /// Notifications that may come within the window.
    pub count: u32,
    /// The window.
    pub window: Period,
}

impl ChannelCeiling {
    pub(crate) fn gcra(self) -> Gcra {
        Gcra::per_window(self.count, self.window.0)
    }
}

impl FromStr for ChannelCeiling {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let parsed = text.split_once('/').and_then(|(count, window)| {
            Some((count.parse().ok()?, window.parse::<Period>().ok()?))
        });
        match parsed {
            Some((count, window)) if count > 0 && !window.0.is_zero() => Ok(Self { count, window }),
            _ => Err(ConfigError::Range {
                what: "a channel ceiling",
                range: format!("a count and a window such as 1/30s, not {text:?}"),
            }),
        }
    }
}

impl TryFrom<String> for ChannelCeiling {
    type Error = ConfigError;
    fn try_from(text: String) -> Result<Self, ConfigError> {
        text.parse()
    }
}

impl From<ChannelCeiling> for String {
    fn from(ceiling: ChannelCeiling) -> String {
        format!("{}/{}", ceiling.count, ceiling.window)
    }
}

impl FromStr for ReplyShare {
    type Err = ConfigError;

    /// Reads `503=1%` or `410:retry-after=5=0.1`: the share follows the last equals sign.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let refused = |detail: String| ConfigError::Range {
            what: "a share of replies",
            range: format!("a reply and its share such as 503=1%, not {text:?}: {detail}"),
        };
        let (reply, share) = text
            .rsplit_once('=')
            .ok_or_else(|| refused("no equals sign".to_owned()))?;
        Ok(Self {
            share: share.parse().map_err(|error| refused(format!("{error}")))?,
            reply: reply.parse().map_err(|error| refused(format!("{error}")))?,
        })
    }
}

impl Behaviour {
    /// Refuses what cannot be acted upon.
    pub(crate) fn prove(&self) -> Result<(), ConfigError> {
        let sum: f64 = self.replies.iter().map(|part| part.share.as_ratio()).sum();
        if sum > 1.0 + 1e-9 {
            return Err(ConfigError::Range {
                what: "the sum of the shares of replies",
                range: format!("at most 100%, not {}%", sum * 100.0),
            });
        }
        let Some(ceiling) = &self.app_ceiling else {
            return Ok(());
        };
        if !(ceiling.per_second > 0.0 && ceiling.per_second <= 1e9) {
            return Err(ConfigError::Range {
                what: "the ceiling of an app",
                range: format!(
                    "above 0 and at most 1000000000 per second, not {}",
                    ceiling.per_second
                ),
            });
        }
        if !matches!(ceiling.status, 406 | 429) {
            return Err(ConfigError::Range {
                what: "the status of a throttled app",
                range: format!("406 or 429, not {}", ceiling.status),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behaviour_is_read_from_json_and_unknown_keys_are_refused() {
        let text = r#"{"latency":"20ms","offline":"10%","replies":[{"share":"1%","reply":"503:retry-after=2"}],
            "app_ceiling":{"per_second":900,"penalty":"15m"},"channel_ceiling":"1/30s","status_headers":"notification-status"}"#;
        let behaviour: Behaviour = serde_json::from_str(text).unwrap();
        assert_eq!(behaviour.channel_ceiling.unwrap().count, 1);
        assert_eq!(behaviour.app_ceiling.as_ref().unwrap().status, 406);
        assert_eq!(behaviour.status_headers, StatusHeaders::NotificationStatus);
        let back = serde_json::to_string(&behaviour).unwrap();
        assert_eq!(serde_json::from_str::<Behaviour>(&back).unwrap(), behaviour);
        assert!(serde_json::from_str::<Behaviour>(r#"{"ofline":"10%"}"#).is_err());
    }

    #[test]
    fn impossible_behaviour_is_refused() {
        let mut behaviour = Behaviour {
            replies: vec!["503=60%".parse().unwrap(), "410=50%".parse().unwrap()],
            ..Behaviour::default()
        };
        assert!(behaviour.prove().is_err());
        behaviour.replies.pop();
        assert!(behaviour.prove().is_ok());
        behaviour.app_ceiling = Some(AppCeiling {
            status: 500,
            ..AppCeiling::default()
        });
        assert!(behaviour.prove().is_err());
        behaviour.app_ceiling = Some(AppCeiling {
            per_second: 0.0,
            ..AppCeiling::default()
        });
        assert!(behaviour.prove().is_err());
        for text in ["0/30s", "1/0s", "1", "a/30s"] {
            assert!(text.parse::<ChannelCeiling>().is_err(), "{text}");
        }
    }
}
