//! The rules of the broker as pure functions and types: no IO, no clock, no randomness that is not passed in.

pub mod api_key;
pub mod app_state;
pub mod ask;
pub mod breaker;
pub mod campaign;
pub mod channel;
pub mod counted;
pub mod counter;
pub mod delay;
pub mod duration_text;
pub mod event;
pub mod id;
pub mod identity;
pub mod item;
pub mod pace;
pub mod plain_text;
pub mod queue;
pub mod record;
pub mod schedule;
pub mod syncml;
pub mod trace_context;
pub mod transition;
pub mod wave;
pub mod webhook;
pub mod wns;
