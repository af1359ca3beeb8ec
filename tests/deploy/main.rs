//! What operators deploy: rules, alerts, runbooks, dashboards, image, stack and unit, held to the programs that read them and
//! to the metrics that the broker really has.

#![allow(
    clippy::disallowed_methods,
    reason = "processes of their own live in real time"
)]
#![allow(clippy::too_many_lines, reason = "a story reads from top to bottom")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(unreachable_pub, reason = "nobody else uses a test")]

#[path = "../support/broker.rs"]
#[allow(dead_code, reason = "other tests use more of it")]
mod broker;
mod bundle;
mod catalogue;
mod expressions;
mod live;
mod packaging;
#[path = "../support/redis_server.rs"]
#[allow(dead_code, reason = "other tests use more of it")]
mod redis_server;
#[allow(
    dead_code,
    reason = "shared with the end-to-end tests, which use all of it"
)]
#[path = "../e2e/rig.rs"]
mod rig;
mod rules;
mod scrape;
mod tools;
