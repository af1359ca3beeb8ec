//! The message API over real loopback sockets: what consoles see, what breaks it, what it promises.

mod bad_input;
mod bulk;
mod campaigns;
mod devices;
mod events;
mod health;
mod idempotency;
mod keys;
mod openapi;
mod pushes;
mod store;
mod support;
mod syncml;
mod tenants_and_apps;
mod webhooks;
