//! The console's word that a device has started a session.

use std::time::Duration;

use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    Wrong, device,
    json::{Text, Time},
};
use crate::{
    domain::{
        duration_text::parse_duration,
        id::DeviceId,
        wns::channel_uri::{ChannelUri, HostPolicy},
    },
    service::check_ins::Session,
};

/// Longest time for which a console can ask campaigns to stand still; pausing them is for longer ones.
const SLOW_DOWN_MAX: Duration = Duration::from_secs(3_600);

/// A session that a device has started.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckInBody<'a> {
    /// The device.
    #[serde(borrow)]
    #[schema(value_type = String)]
    pub device: Text<'a>,
    /// When the session began; without it: now.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub at: Option<Time>,
    /// The channel URI that the device reported in the session.
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    pub channel_uri: Option<Text<'a>>,
    /// The console is overrun: campaigns of the tenant release and repeat nothing for so long, such as `60s`; at most `1h`. The longest
    /// that runs counts; `0s` takes all of them back.
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    pub slow_down: Option<Text<'a>>,
}

/// A check-in that is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The session.
    pub session: Session,
    /// For how long the console wants less.
    pub slow_down: Option<Duration>,
}

impl CheckInBody<'_> {
    /// Proves each field.
    ///
    /// # Errors
    /// The first one that cannot be taken.
    pub fn prove(&self, hosts: &HostPolicy) -> Result<(DeviceId, Report), Wrong> {
        let device = device(&self.device)?;
        let uri = self.channel_uri.as_ref();
        let uri = uri.map(|text| ChannelUri::parse(text.as_str(), hosts));
        let uri = uri
            .transpose()
            .map_err(|error| Wrong::new("channel_uri", error))?;
        let slow_down = self.slow_down.as_ref();
        let slow_down = slow_down.map(|text| parse_duration(text.as_str()));
        let slow_down = slow_down
            .transpose()
            .map_err(|error| Wrong::new("slow_down", error))?;
        if slow_down.is_some_and(|time| time > SLOW_DOWN_MAX) {
            return Err(Wrong::new("slow_down", "slow_down is from 0s to 1h"));
        }
        let at = self.at.map(|time| time.0);
        let session = Session { at, uri };
        Ok((device, Report { session, slow_down }))
    }
}
