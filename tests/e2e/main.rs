//! The broker as a process of its own, over real sockets, against the sandbox.

#![allow(
    clippy::disallowed_methods,
    reason = "processes of their own live in real time"
)]
#![allow(clippy::too_many_lines, reason = "a story reads from top to bottom")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod check;
mod copy;
mod crash;
mod hostile;
mod operations;
mod refusals;
mod rig;
mod streams;

#[path = "../support/redis_server.rs"]
#[allow(dead_code, reason = "each suite uses a part of it")]
mod redis_server;
