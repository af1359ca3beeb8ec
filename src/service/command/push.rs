//! Devices to wake, and how.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    Wrong,
    json::{Text, Time},
};
use crate::{
    domain::{
        ask::{Class, Goal, REASON_BYTES_MAX},
        duration_text::{format_duration, parse_duration},
        id::DeviceId,
        plain_text::prove_plain,
        schedule::later,
    },
    service::pushes::Wish,
};

/// Most texts of one list that are told to be no device ids.
pub const TOLD_MAX: usize = 1000;

/// Devices to wake, and how.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PushesBody<'a> {
    /// The devices.
    #[serde(borrow)]
    #[schema(value_type = Vec<String>)]
    pub devices: Vec<Text<'a>>,
    /// Why, at most 128 bytes; shown again with the push.
    pub reason: Option<String>,
    /// `urgent`, `normal` (default) or `bulk`.
    pub priority: Option<Class>,
    /// `accepted` (default): done when WNS took a notification; `check_in`: done when the device checked in.
    pub goal: Option<Goal>,
    /// Until when it is tried; at most 30 days ahead. Not together with `expires_in`.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub deadline: Option<Time>,
    /// For how long it is tried, such as `24h` (default).
    pub expires_in: Option<String>,
    /// Whether devices that nobody has named are made, to be woken when they report a channel.
    #[serde(default)]
    pub register_unknown: bool,
}

/// What is wanted of devices, wherever they are named.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WishFields {
    /// Why.
    pub reason: Option<String>,
    /// How urgent.
    pub priority: Option<Class>,
    /// When it is done.
    pub goal: Option<Goal>,
    /// Until when.
    pub deadline: Option<Time>,
    /// For how long.
    pub expires_in: Option<String>,
    /// Whether devices that nobody has named are made.
    #[serde(default)]
    pub register_unknown: bool,
}

/// How long a wish may live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// Of a wish that says nothing.
    pub default: Duration,
    /// The longest.
    pub max: Duration,
}

/// What is wrong with a list of devices: JSON pointers and why, at most [`TOLD_MAX`].
pub type WrongDevices = Vec<(String, String)>;

impl PushesBody<'_> {
    /// Proves the devices; there must be one at least.
    ///
    /// # Errors
    /// The texts that are no ids.
    pub fn devices(&self) -> Result<Vec<DeviceId>, WrongDevices> {
        if self.devices.is_empty() {
            let empty = ("/devices", "devices is empty");
            return Err(vec![(empty.0.to_owned(), empty.1.to_owned())]);
        }
        let mut devices = Vec::with_capacity(self.devices.len());
        let mut wrong = WrongDevices::new();
        for (i, text) in self.devices.iter().enumerate() {
            match DeviceId::new(text.as_str()) {
                Ok(device) => devices.push(device),
                Err(error) if wrong.len() < TOLD_MAX => {
                    wrong.push((format!("/devices/{i}"), error.to_string()));
                }
                Err(_) => break,
            }
        }
        if wrong.is_empty() {
            Ok(devices)
        } else {
            Err(wrong)
        }
    }

    /// What is wanted of them.
    #[must_use]
    pub fn wish(self) -> WishFields {
        WishFields {
            reason: self.reason,
            priority: self.priority,
            goal: self.goal,
            deadline: self.deadline,
            expires_in: self.expires_in,
            register_unknown: self.register_unknown,
        }
    }
}

impl WishFields {
    /// Proves a wish that is made at `now`.
    ///
    /// # Errors
    /// The first field that cannot be taken.
    pub fn prove(self, now: Timestamp, lifetimes: Lifetimes) -> Result<Wish, Wrong> {
        let reason = self.reason.filter(|reason| !reason.is_empty());
        if reason.as_ref().is_some_and(|r| r.len() > REASON_BYTES_MAX) {
            let detail = format!("reason is longer than {REASON_BYTES_MAX} bytes");
            return Err(Wrong::new("reason", detail));
        }
        let plain = reason.as_deref().map_or(Ok(()), prove_plain);
        plain.map_err(|error| Wrong::new("reason", format!("reason {error}")))?;
        Ok(Wish {
            class: self.priority.unwrap_or_default(),
            goal: self.goal.unwrap_or_default(),
            deadline: deadline(self.deadline, self.expires_in, now, lifetimes)?,
            reason: reason.map(Into::into),
            register_unknown: self.register_unknown,
        })
    }
}

fn deadline(
    deadline: Option<Time>,
    expires_in: Option<String>,
    now: Timestamp,
    Lifetimes { default, max }: Lifetimes,
) -> Result<Timestamp, Wrong> {
    let farthest = later(now, signed(max));
    let deadline = match (deadline, expires_in) {
        (Some(_), Some(_)) => {
            let detail = "deadline and expires_in exclude each other";
            return Err(Wrong::new("expires_in", detail));
        }
        (Some(deadline), None) => deadline.0,
        (None, Some(text)) => {
            let expires_in =
                parse_duration(&text).map_err(|error| Wrong::new("expires_in", error))?;
            if expires_in.is_zero() || expires_in > max {
                let most = format_duration(max);
                let detail = format!("expires_in is above 0s and at most {most}");
                return Err(Wrong::new("expires_in", detail));
            }
            later(now, signed(expires_in))
        }
        (None, None) => later(now, signed(default)),
    };
    if deadline <= now || deadline > farthest {
        let detail = format!("deadline lies ahead, by at most {}", format_duration(max));
        return Err(Wrong::new("deadline", detail));
    }
    Ok(deadline)
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}
