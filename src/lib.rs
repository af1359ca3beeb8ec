//! Reveille wakes Windows fleets: a push broker between MDM consoles and WNS.
//!
//! The layers, from the bottom: [`domain`] (pure rules), [`ports`] (small traits), then adapters (stores, WNS over HTTP,
//! clock), actors (supervised shells), the API and the wiring. `ARCHITECTURE.md` has the map and the life of a push.

pub mod actors;
pub mod adapters;
pub mod config;
pub mod domain;
pub mod ports;
pub mod sandbox;
pub mod service;
pub mod telemetry;
