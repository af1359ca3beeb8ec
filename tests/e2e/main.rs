//! The broker as a process of its own, over real sockets, against the sandbox.

#![allow(
    clippy::disallowed_methods,
    reason = "processes of their own live in real time"
)]
#![allow(clippy::too_many_lines, reason = "a story reads from top to bottom")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod check;
mod crash;
mod hostile;
mod operations;
mod refusals;
mod rig;
