//! The rules of the broker as pure functions and types: no IO, no clock, no randomness that is not passed in.

pub mod api_key;
pub mod duration_text;
pub mod id;
