//! The broker as a process of its own, over real sockets, against the sandbox.

#![allow(
    clippy::disallowed_methods,
    reason = "processes of their own live in real time"
)]
#![allow(clippy::too_many_lines, reason = "a story reads from top to bottom")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "nobody else uses a test")]

mod campaign;
mod check;
mod collector;
mod console;
mod copy;
mod copy_past;
mod crash;
mod demo;
mod fleet;
mod hook;
mod hostile;
mod layout;
mod live;
mod memory;
mod operations;
mod redis_store;
mod refusals;
mod rig;
mod storm;
mod streams;
mod traces;

#[path = "../support/broker.rs"]
#[allow(dead_code, reason = "each suite uses a part of it")]
mod broker;
#[path = "../support/endpoint.rs"]
mod endpoint;
#[path = "../support/redis_cluster.rs"]
#[allow(dead_code, reason = "each suite uses a part of it")]
mod redis_cluster;
#[path = "../support/redis_server.rs"]
#[allow(dead_code, reason = "each suite uses a part of it")]
mod redis_server;
