//! How the console's word that a device has started a session is weighed.

use std::time::Duration;

use super::{kind::duration, schema::settings};

settings! {
    /// How the console's word that a device has started a session is weighed.
    pub struct Checkin at "checkin" {
        /// How far the clocks of console and broker may differ: a session that began this long before a push was opened
        /// still answers it.
        skew_tolerance: Duration = duration("0s", "5m").default("5s");
    }
}
