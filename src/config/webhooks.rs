//! How events reach consoles that do not read the feed.

use std::time::Duration;

use super::{
    kind::{duration, flag},
    schema::settings,
};

settings! {
    /// How events reach consoles that do not read the feed.
    pub struct Webhooks at "webhooks" {
        /// Whether webhooks may have addresses that are not on the public internet, also by plain HTTP. Whoever may make
        /// webhooks can then make this broker call whatever it reaches.
        private_addresses: bool = flag().default("false");
        /// A webhook that has failed for so long is switched off.
        disable_after: Duration = duration("1h", "30d").default("5d");
    }
}
