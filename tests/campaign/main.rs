//! Campaigns as a whole: random lives of their targets, and two days of a million devices.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(unreachable_pub, reason = "nobody else uses a test")]

mod endings;
mod machine;
mod model;
mod service;
mod sessions;
mod simulation;
mod world;
