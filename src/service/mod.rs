//! Use cases over the ports, shared by everything that changes devices: API, inbox, dispatchers, campaigns, janitor.

pub mod apps;
pub mod campaign;
pub mod channels;
pub mod check_ins;
pub mod command;
pub mod copy;
pub mod desk;
pub mod devices;
pub mod edit;
pub mod expiry;
pub mod forecast;
pub mod idempotency;
pub mod pushes;
pub mod slow_down;
pub mod status;
pub mod tenants;
pub mod webhook;
