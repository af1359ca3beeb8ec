//! WNS and its token endpoints over HTTP.

mod client;
mod exit;
mod failure;
mod line;
pub mod sender;
pub mod token_source;

pub use client::{ClientError, HttpClients, HttpConfig, Proxy};
