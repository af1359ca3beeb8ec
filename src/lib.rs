//! Reveille wakes Windows fleets: a push broker between MDM consoles and WNS.
//!
//! The layers, from the bottom: [`domain`] (pure rules), [`ports`] (small traits), [`service`] (use cases), then
//! [`adapters`] (stores, WNS over HTTP, clock), [`actors`] (supervised shells), [`api`] (HTTP), [`inbox`]
//! (streams), `app` (wiring) and `cli`
//! (commands). [`sandbox`] is a WNS of its own and shares only the domain. `ARCHITECTURE.md` has the map and the life of a
//! push.

pub mod actors;
pub mod adapters;
pub mod api;
pub mod app;
pub mod cli;
pub mod config;
pub mod console;
pub mod domain;
pub mod inbox;
pub mod ports;
pub mod sandbox;
pub mod service;
pub mod telemetry;
