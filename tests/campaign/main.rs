//! Campaigns as a whole: random lives of their targets, and two days of a million devices.

mod machine;
mod model;
mod service;
mod simulation;
mod world;
