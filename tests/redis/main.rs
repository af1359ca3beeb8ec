//! The Redis store against real servers: what the conformance suite does not reach, because it needs a server to fail, to
//! move, or to be measured.

mod cluster;
mod cost;
mod failures;
mod histories;
mod opening;
mod rig;
mod sentinel;

#[path = "../conformance/items.rs"]
#[expect(dead_code, reason = "shared with the conformance suite")]
mod items;
#[path = "../support/redis_cluster.rs"]
mod redis_cluster;
#[path = "../support/redis_server.rs"]
mod redis_server;
