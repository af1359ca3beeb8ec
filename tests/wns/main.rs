//! What goes over the wire to WNS and to token endpoints, and what is made of what comes back.

mod sender;
mod server;
mod streams;
mod tokens;
