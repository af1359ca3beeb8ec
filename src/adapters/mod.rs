//! What the ports are in reality: stores, WNS over HTTP, the clock. An adapter knows no other adapter.

pub mod redis;
