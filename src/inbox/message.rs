//! What a message asks for, or why it cannot be taken.

use jiff::Timestamp;

use super::Parts;
use crate::{
    domain::{
        id::DeviceId,
        wns::channel_uri::{ChannelUri, HostPolicy},
    },
    ports::streams::Message,
    service::{
        command::{
            Wrong,
            channel::ChannelLine,
            check_in::{CheckInBody, Report},
            json,
            push::{Lifetimes, PushesBody},
        },
        pushes::Wish,
    },
};

/// Deliveries after which a message is taken for one that ends brokers.
const DELIVERIES_MAX: u64 = 16;
/// Wrong devices of one push that are named.
const NAMED_MAX: usize = 10;

/// A command that is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// A device reported a channel.
    Register(DeviceId, ChannelUri),
    /// Devices are to be woken.
    Push(Wish, Vec<DeviceId>),
    /// A device has started a session.
    CheckIn(DeviceId, Report),
}

/// How commands are proven.
#[derive(Clone, Copy)]
pub(super) struct Bounds<'a> {
    pub(super) now: Timestamp,
    pub(super) hosts: &'a HostPolicy,
    pub(super) lifetimes: Lifetimes,
    pub(super) body_bytes_max: usize,
}

impl<'a> Bounds<'a> {
    pub(super) fn of(parts: &'a Parts) -> Self {
        Self {
            now: parts.desk.clock.now(),
            hosts: &parts.hosts,
            lifetimes: parts.settings.lifetimes,
            body_bytes_max: parts.settings.message_bytes_max,
        }
    }
}

/// Proves a message; the error is the reason for the dead letter, and repeats no value that may be secret.
pub(super) fn prove(message: &Message, bounds: Bounds<'_>) -> Result<Command, String> {
    if message.deliveries > DELIVERIES_MAX {
        return Err(format!(
            "given to brokers {} times, and none has come to an end with it",
            message.deliveries
        ));
    }
    let Some(body) = &message.body else {
        return Err("the field body is missing".to_owned());
    };
    if message.body_bytes > bounds.body_bytes_max as u64 {
        let max = bounds.body_bytes_max;
        return Err(format!("the body is longer than {max} bytes"));
    }
    match message.command.as_deref() {
        Some(b"register") => {
            let line: ChannelLine<'_> = json::read(body).map_err(unreadable)?;
            let (device, uri) = line.prove(bounds.hosts).map_err(wrong)?;
            Ok(Command::Register(device, uri))
        }
        Some(b"check_in") => {
            let body: CheckInBody<'_> = json::read(body).map_err(unreadable)?;
            let (device, mut report) = body.prove(bounds.hosts).map_err(wrong)?;
            // Done late, or once more, it closes nothing that was asked for after it.
            report.session.at = report.session.at.or_else(|| came_at(message));
            Ok(Command::CheckIn(device, report))
        }
        Some(b"push") => {
            let body: PushesBody<'_> = json::read(body).map_err(unreadable)?;
            let devices = body.devices().map_err(|these| listed(&these))?;
            let wish = body.wish().prove(bounds.now, bounds.lifetimes);
            Ok(Command::Push(wish.map_err(wrong)?, devices))
        }
        Some(_) => Err("the command is none of register, push and check_in".to_owned()),
        None => Err("the field command is missing".to_owned()),
    }
}

/// When a message was added, by the server's clock, which the first part of its id is.
pub(super) fn came_at(message: &Message) -> Option<Timestamp> {
    let ms = message.id.split('-').next()?.parse().ok()?;
    Timestamp::from_millisecond(ms).ok()
}

/// Reasons of one message as one text: the first few, and how many there are.
pub(super) fn listed(reasons: &[(String, String)]) -> String {
    let named = reasons.iter().take(NAMED_MAX);
    let named: Vec<String> = named.map(|(what, why)| format!("{what}: {why}")).collect();
    let more = reasons.len().saturating_sub(NAMED_MAX);
    let rest = if more > 0 {
        format!("; and {more} more")
    } else {
        String::new()
    };
    format!("{}{rest}", named.join("; "))
}

fn unreadable(unreadable: json::Unreadable) -> String {
    match unreadable.pointer {
        Some(pointer) => format!("{pointer}: {}", unreadable.detail),
        None => unreadable.detail,
    }
}

fn wrong(Wrong { field, detail }: Wrong) -> String {
    format!("/{field}: {detail}")
}
