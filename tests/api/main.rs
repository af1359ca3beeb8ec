//! The message API over real loopback sockets: what consoles see, what breaks it, what it promises.

#![allow(
    clippy::disallowed_methods,
    reason = "processes of their own live in real time"
)]
#![allow(clippy::too_many_lines, reason = "a story reads from top to bottom")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(unreachable_pub, reason = "nobody else uses a test")]

mod bad_input;
mod bulk;
mod devices;
mod events;
mod health;
mod idempotency;
mod keys;
mod openapi;
mod pushes;
mod store;
mod support;
mod tenants_and_apps;
