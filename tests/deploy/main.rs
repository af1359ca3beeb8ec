//! What operators deploy: rules, alerts, runbooks, dashboards, image, stack and unit, held to the programs that read them and
//! to the metrics that the broker really has.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(unreachable_pub, reason = "nobody else uses a test")]

mod catalogue;
mod expressions;
mod packaging;
mod rules;
mod tools;
