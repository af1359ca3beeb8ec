//! What stands outside, behind the ports: stores, WNS over HTTP, the clock.

pub mod clock;
pub mod embedded;
pub mod measured;
pub mod otlp;
pub mod redis;
pub mod webhook;
pub mod wns;
