//! The message API over real loopback sockets: what consoles see, what breaks it, what it promises.

mod bad_input;
mod bulk;
mod devices;
mod docs;
mod events;
mod health;
mod idempotency;
mod keys;
mod openapi;
mod pushes;
mod store;
mod support;
mod tenants_and_apps;
