//! The Redis store against real servers: what the conformance suite does not reach, because it needs a server to fail, to
//! move, or to be measured.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(
    clippy::disallowed_methods,
    reason = "servers are processes of their own and live in real time"
)]
#![allow(
    clippy::await_holding_lock,
    reason = "it keeps the tests of one server apart"
)]
#![allow(clippy::too_many_lines, reason = "a history reads from top to bottom")]
#![allow(unreachable_pub, reason = "nobody else uses a test")]

mod acknowledged;
mod cluster;
mod copy;
mod cost;
mod failures;
mod frozen;
mod histories;
mod inbox;
mod opening;
mod partial;
mod readiness;
mod rig;
mod sentinel;
mod streams;

#[path = "../conformance/items.rs"]
#[expect(dead_code, reason = "shared with the conformance suite")]
mod items;
#[path = "../support/redis_cluster.rs"]
#[allow(dead_code, reason = "each suite uses a part of it")]
mod redis_cluster;
#[path = "../support/redis_monitor.rs"]
mod redis_monitor;
#[path = "../support/redis_server.rs"]
#[allow(dead_code, reason = "each suite uses a part of it")]
mod redis_server;
