//! The broker as a process of its own, over real sockets, against the sandbox.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod check;
mod crash;
mod hostile;
mod operations;
mod refusals;
mod rig;
