//! Long answers, made line by line as the client takes them: channels and the ledger.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;

use super::{Answer, Call, Problem, json_of, lines};
use crate::sandbox::{channel::Target, ledger, world::World};

/// A chunk is handed to the client when it has so many bytes.
const CHUNK_BYTES: usize = 64 * 1024;

/// `GET channels?app=&from=&count=`
pub(super) fn channels(call: &Call<'_>) -> Answer {
    let range = Range::of(call)?;
    let world = call.thread.world.clone();
    Ok(lines(range.chunks(world, channel_line)))
}

/// `GET ledger`
pub(super) fn ledger(call: &Call<'_>) -> Answer {
    json_of(&ledger::read(&call.thread.world, &call.thread.connections))
}

/// `GET ledger/devices?app=&from=&count=&min=`
pub(super) fn ledger_devices(call: &Call<'_>) -> Answer {
    let range = Range::of(call)?;
    let min = u32::try_from(call.number("min", 0)?).unwrap_or(u32::MAX);
    let world = call.thread.world.clone();
    Ok(lines(
        range.chunks(world, move |world, app, device, out| {
            ledger_line(world, (app, device, min), out)
        }),
    ))
}

/// `POST ledger/reset`
pub(super) fn reset_ledger(call: &Call<'_>) -> Answer {
    ledger::reset(&call.thread.world);
    json_of(&json!({"reset": true}))
}

/// The devices that a list is asked for.
struct Range {
    app: u16,
    /// Index of the first one.
    next: u32,
    end: u32,
}

impl Range {
    fn of(call: &Call<'_>) -> Result<Self, Problem> {
        let app = call.app()?;
        let all = call.thread.world.app(app).devices.len() as u64;
        let from = call.number("from", 1)?;
        if from == 0 {
            return Err(Problem::bad("devices are numbered from 1".to_owned()));
        }
        let first = (from - 1).min(all);
        let count = call.number("count", all)?.min(all - first);
        Ok(Self {
            app,
            next: first as u32,
            end: (first + count) as u32,
        })
    }

    fn chunks(
        mut self,
        world: Arc<World>,
        write: impl Fn(&World, u16, u32, &mut Vec<u8>) + Send + 'static,
    ) -> impl Iterator<Item = Bytes> + Send + 'static {
        std::iter::from_fn(move || {
            let mut out = Vec::with_capacity(CHUNK_BYTES + 1024);
            while self.next < self.end && out.len() < CHUNK_BYTES {
                write(&world, self.app, self.next, &mut out);
                self.next += 1;
            }
            (!out.is_empty()).then(|| Bytes::from(out))
        })
    }
}

/// Neither a device id nor a channel URI has a character that JSON would escape.
fn channel_line(world: &World, app: u16, device: u32, out: &mut Vec<u8>) {
    let target = Target {
        app,
        device,
        generation: 1,
    };
    let generation = world
        .device(target)
        .map_or(1, crate::sandbox::device::Device::generation);
    let mut id = String::with_capacity(32);
    world.write_device_id(device, &mut id);
    out.extend_from_slice(b"{\"device\":\"");
    out.extend_from_slice(id.as_bytes());
    out.extend_from_slice(b"\",\"uri\":\"");
    world.write_channel(
        Target {
            generation,
            ..target
        },
        out,
    );
    out.extend_from_slice(b"\"}\n");
}

fn ledger_line(world: &World, (app, device, min): (u16, u32, u32), out: &mut Vec<u8>) {
    let Some(line) = ledger::read_device(world, app, device).filter(|line| line.arrived >= min)
    else {
        return;
    };
    serde_json::to_writer(&mut *out, &line)
        .expect("a ledger line is plain JSON and a vector takes it");
    out.push(b'\n');
}
