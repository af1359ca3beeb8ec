//! One scripted reply, as people write it: `received`, `410`, `503:retry-after=2`, `slow:500ms`, `reset`.

use std::{fmt, str::FromStr, time::Duration};

use http::{HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};

use super::units::{Delay, Period};

/// Why a text is not a scripted reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot read the reply {text:?}: {detail}")]
pub struct StepError {
    text: String,
    detail: String,
}

/// The heart of a scripted reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// What the model says.
    Default,
    /// 200 `received`, whatever the model says.
    Received,
    /// 200 `dropped`.
    Dropped,
    /// 200 `channelthrottled`.
    ChannelThrottled,
    /// 406 `appthrottled`, this once, without a penalty.
    AppThrottled,
    /// 410 `revoked`.
    Revoked,
    /// 410 that says that the domain is blocked.
    Blocked,
    /// 200 without a status header; the notification is accepted.
    NoStatus,
    /// 200 with a status that nobody documents; the notification is accepted.
    UnknownStatus,
    /// 307 to another path.
    Redirect,
    /// The connection is cut (HTTP/2: the stream).
    Reset,
    /// No reply at all.
    Timeout,
    /// 503 with a page of HTML, as from a proxy on the way.
    Html,
    /// A bare status code.
    Code(StatusCode),
}

/// One scripted reply.
///
/// Written as `KIND[:ATTRIBUTE[;ATTRIBUTE…]]`, an attribute being `retry-after=TEXT`, `retry-after-date=PERIOD`,
/// `continue-after=SECONDS`, `status=TEXT`, `description=TEXT`, `delay=PERIOD` (or `FROM..TO`) or `times=N`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Step {
    /// What is answered.
    pub kind: StepKind,
    /// The text it was read from.
    text: String,
    /// Headers and other extras; most steps have none.
    pub(crate) extra: Option<Box<Extra>>,
}

/// What a step adds to its kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Extra {
    pub(crate) retry_after: Option<HeaderValue>,
    pub(crate) retry_after_date: Option<Duration>,
    pub(crate) continue_after: Option<HeaderValue>,
    pub(crate) status: Option<HeaderValue>,
    pub(crate) description: Option<HeaderValue>,
    pub(crate) delay: Option<Delay>,
    /// How often the step is played in a script.
    pub(crate) times: u32,
}

impl Step {
    /// How often the step is played in a script.
    pub(crate) fn times(&self) -> u32 {
        self.extra.as_ref().map_or(1, |extra| extra.times)
    }
}

impl FromStr for Step {
    type Err = StepError;

    fn from_str(text: &str) -> Result<Self, StepError> {
        let refused = |detail: String| StepError {
            text: text.to_owned(),
            detail,
        };
        let (head, attributes) = text.split_once(':').unwrap_or((text, ""));
        let mut step = Self {
            kind: StepKind::Default,
            text: text.to_owned(),
            extra: None,
        };
        if head == "slow" {
            let delay = attributes
                .parse::<Delay>()
                .map_err(|error| refused(error.to_string()))?;
            step.extra = Some(Box::new(Extra {
                delay: Some(delay),
                times: 1,
                ..Extra::default()
            }));
            return Ok(step);
        }
        step.kind = kind(head).ok_or_else(|| refused(format!("unknown kind {head:?}; {KINDS}")))?;
        if !attributes.is_empty() {
            let mut extra = Extra {
                times: 1,
                ..Extra::default()
            };
            for attribute in attributes.split(';') {
                extra.set(attribute).map_err(refused)?;
            }
            step.extra = Some(Box::new(extra));
        }
        Ok(step)
    }
}

const KINDS: &str = "known are default, slow:PERIOD, received, dropped, channelthrottled, appthrottled, revoked, blocked, \
    no-status, unknown-status, redirect, reset, timeout, html and every status code from 200 to 599";

fn kind(name: &str) -> Option<StepKind> {
    Some(match name {
        "default" => StepKind::Default,
        "received" => StepKind::Received,
        "dropped" => StepKind::Dropped,
        "channelthrottled" => StepKind::ChannelThrottled,
        "appthrottled" => StepKind::AppThrottled,
        "revoked" => StepKind::Revoked,
        "blocked" => StepKind::Blocked,
        "no-status" | "200-no-status" => StepKind::NoStatus,
        "unknown-status" => StepKind::UnknownStatus,
        "redirect" => StepKind::Redirect,
        "reset" => StepKind::Reset,
        "timeout" => StepKind::Timeout,
        "html" => StepKind::Html,
        code => {
            let code = code
                .parse::<u16>()
                .ok()
                .filter(|code| (200..600).contains(code))?;
            StepKind::Code(StatusCode::from_u16(code).ok()?)
        }
    })
}

impl Extra {
    fn set(&mut self, attribute: &str) -> Result<(), String> {
        let Some((key, value)) = attribute.split_once('=') else {
            return Err(format!("{attribute:?} is not key=value"));
        };
        let header = || {
            HeaderValue::from_str(value)
                .map(Some)
                .map_err(|_| format!("{key} cannot be sent as a header"))
        };
        match key {
            "retry-after" => self.retry_after = header()?,
            "retry-after-date" => {
                self.retry_after_date = Some(
                    value
                        .parse::<Period>()
                        .map_err(|error| error.to_string())?
                        .0,
                );
            }
            "continue-after" => self.continue_after = header()?,
            "status" => self.status = header()?,
            "description" => self.description = header()?,
            "delay" => self.delay = Some(value.parse().map_err(|error| format!("{error}"))?),
            "times" => {
                self.times = value
                    .parse()
                    .ok()
                    .filter(|times| *times > 0)
                    .ok_or("times must be a number above 0")?;
            }
            unknown => {
                return Err(format!(
                    "unknown attribute {unknown:?}; known are retry-after, retry-after-date, continue-after, status, \
                     description, delay, times"
                ));
            }
        }
        Ok(())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for Step {
    type Error = StepError;
    fn try_from(text: String) -> Result<Self, StepError> {
        text.parse()
    }
}

impl From<Step> for String {
    fn from(step: Step) -> String {
        step.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_codes_and_attributes_are_read() {
        let step: Step = "503:retry-after=2;times=3".parse().unwrap();
        assert_eq!(step.kind, StepKind::Code(StatusCode::SERVICE_UNAVAILABLE));
        assert_eq!(step.times(), 3);
        assert_eq!(
            step.extra.as_ref().unwrap().retry_after.as_ref().unwrap(),
            "2"
        );
        let slow: Step = "slow:500ms".parse().unwrap();
        assert_eq!(slow.kind, StepKind::Default);
        assert_eq!(
            slow.extra.unwrap().delay,
            Some(Delay::fixed(Duration::from_millis(500)))
        );
        assert_eq!(
            "200-no-status".parse::<Step>().unwrap().kind,
            StepKind::NoStatus
        );
        assert_eq!(
            "410:description=gone: for good"
                .parse::<Step>()
                .unwrap()
                .times(),
            1
        );
    }

    #[test]
    fn steps_that_cannot_be_played_are_refused() {
        for text in [
            "",
            "recieved",
            "100",
            "600",
            "503:retry-after",
            "503:colour=red",
            "slow:",
            "slow:fast",
            "410:times=0",
        ] {
            assert!(text.parse::<Step>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_step_is_written_as_it_was_read() {
        let step: Step = serde_json::from_str(r#""503:retry-after-date=30s""#).unwrap();
        assert_eq!(
            serde_json::to_string(&step).unwrap(),
            r#""503:retry-after-date=30s""#
        );
    }
}
