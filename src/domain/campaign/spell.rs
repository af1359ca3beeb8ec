//! Durations of a campaign's document as people write them, so that it reads well in the store.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

use crate::domain::duration_text::{format_duration, parse_duration};

/// Writes `"15m"`.
pub(super) fn serialize<S: Serializer>(duration: &Duration, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(&format_duration(*duration))
}

/// Reads `"15m"`.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    parse_duration(&text).map_err(D::Error::custom)
}
