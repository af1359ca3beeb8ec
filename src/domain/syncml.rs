//! The device-management side of a channel: SyncML that sets and asks for it, and SyncML that reports it.
//!
//! A device makes a channel when its management server sets a package family name in the DMClient CSP, and tells the URI when
//! it is asked for it ("query the ChannelURI in every session", Push notification support for device management). A console
//! puts [`commands::PushCommands`] into a session and hands the device's answer to [`report::SyncMlReport`].

pub mod commands;
pub mod node;
pub mod report;
pub mod status;
mod xml;
