//! The sandbox over real TLS sockets: every reply, both token endpoints, the ledger, the fleet.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod bench;
mod channels;
mod command;
mod fleet;
mod model;
mod scripts;
mod server;
mod tokens;

#[path = "../support/endpoint.rs"]
mod endpoint;
