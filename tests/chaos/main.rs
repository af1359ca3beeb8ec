//! Several brokers over one Redis, each a process of its own, that are killed, frozen and cut off, while Redis restarts and
//! fails over: nothing accepted is lost, and what is repeated had been leased.

#![allow(
    clippy::disallowed_methods,
    reason = "processes of their own live in real time"
)]
#![allow(clippy::too_many_lines, reason = "a story reads from top to bottom")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "nobody else uses a test")]

mod campaign;
mod cost;
mod failover;
mod leases;
mod news;
mod one_server;
mod partition;
mod rig;
mod shares;
mod streams;

#[path = "../support/broker.rs"]
#[allow(dead_code, reason = "each suite uses a part of it")]
mod broker;
#[path = "../support/cable.rs"]
mod cable;
#[path = "../support/redis_cluster.rs"]
#[allow(dead_code, reason = "each suite uses a part of it")]
mod redis_cluster;
#[path = "../support/redis_monitor.rs"]
mod redis_monitor;
#[path = "../support/redis_server.rs"]
#[allow(dead_code, reason = "each suite uses a part of it")]
mod redis_server;
