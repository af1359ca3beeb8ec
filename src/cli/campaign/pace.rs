//! `reveille campaign pace`: how fast a campaign goes from now on.

use std::str::FromStr;

use clap::Args;
use reqwest::Method;
use serde::Serialize;
use serde_json::{Value, json};

use super::{OneArgs, path, shown};
use crate::cli::{Exit, Failure, client::Api};

/// Change the pace of a campaign, at once. What is not given stays as it is.
#[derive(Args, Clone, Debug)]
pub(super) struct PaceArgs {
    #[command(flatten)]
    one: OneArgs,
    #[command(flatten)]
    limits: Limits,
}

#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = true)]
struct Limits {
    /// Targets released a second, or none: as fast as the app sends
    #[arg(long, visible_alias = "pace", value_name = "N")]
    per_second: Option<Limit<f64>>,
    /// Most devices woken within the last minute that have not checked in, or none: any number
    #[arg(long, value_name = "N")]
    open_sessions_max: Option<Limit<u64>>,
}

/// A number, or `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
struct Limit<T>(Option<T>);

/// The text is neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a limit is a number, or none")]
struct LimitError;

impl<T: FromStr> FromStr for Limit<T> {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        match text {
            "none" => Ok(Self(None)),
            number => number.parse().map(|n| Self(Some(n))).or(Err(LimitError)),
        }
    }
}

pub(super) async fn run(args: &PaceArgs) -> Result<Exit, Failure> {
    let api = Api::new(&args.one.server)?;
    let request = api.request(Method::GET, &path(&args.one.id, ""));
    let campaign = api.call(request).await?;
    let body = changed(&campaign["pace"], &args.limits);
    let request = api.request(Method::PUT, &path(&args.one.id, "/pace"));
    let campaign = api.call(request.json(&body)).await?;
    shown(&campaign, args.one.json)
}

/// The whole pace, as the API takes it: what it is, with the limits that are given.
fn changed(pace: &Value, limits: &Limits) -> Value {
    let mut pace = pace.clone();
    if let Some(limit) = &limits.per_second {
        pace["per_second"] = json!(limit);
    }
    if let Some(limit) = &limits.open_sessions_max {
        pace["open_sessions_max"] = json!(limit);
    }
    pace
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_not_given_stays_and_none_lifts_one() {
        let pace = json!({ "per_second": 500.0, "open_sessions_max": 2000 });
        let changed = |per_second: Option<&str>, sessions: Option<&str>| {
            let limits = Limits {
                per_second: per_second.map(|text| text.parse().unwrap()),
                open_sessions_max: sessions.map(|text| text.parse().unwrap()),
            };
            changed(&pace, &limits)
        };
        assert_eq!(
            changed(Some("50"), None),
            json!({ "per_second": 50.0, "open_sessions_max": 2000 })
        );
        assert_eq!(
            changed(Some("none"), Some("7")),
            json!({ "per_second": null, "open_sessions_max": 7 })
        );
        for wrong in ["", "-1", "many", "None"] {
            assert_eq!(wrong.parse::<Limit<u64>>(), Err(LimitError), "{wrong}");
        }
    }
}
