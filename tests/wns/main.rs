//! What goes over the wire to WNS and to token endpoints, and what is made of what comes back.

#![allow(
    clippy::disallowed_methods,
    reason = "processes of their own live in real time"
)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod proxy;
mod sender;
mod server;
mod streams;
mod tokens;
