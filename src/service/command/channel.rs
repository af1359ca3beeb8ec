//! The channel URI that a device reported.

use serde::Deserialize;
use utoipa::ToSchema;

use super::{Wrong, device, json::Text};
use crate::domain::{
    id::DeviceId,
    wns::channel_uri::{ChannelUri, HostPolicy},
};

/// One line: the channel that a device reported.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChannelLine<'a> {
    /// The device.
    #[serde(borrow)]
    #[schema(value_type = String)]
    pub device: Text<'a>,
    /// The channel URI, byte for byte.
    #[serde(borrow)]
    #[schema(value_type = String)]
    pub uri: Text<'a>,
}

impl ChannelLine<'_> {
    /// Proves the id, and that the URI may be trusted with a token.
    ///
    /// # Errors
    /// The first field that cannot be taken.
    pub fn prove(&self, hosts: &HostPolicy) -> Result<(DeviceId, ChannelUri), Wrong> {
        let device = device(&self.device)?;
        let uri = ChannelUri::parse(self.uri.as_str(), hosts);
        Ok((device, uri.map_err(|error| Wrong::new("uri", error))?))
    }
}
