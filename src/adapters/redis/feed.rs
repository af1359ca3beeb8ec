//! The event feed: in every shard a list of events for each tenant, appended by the commits that make them true.
//!
//! An event is kept as `<stored> <event after that>[.<ns>] <type> <device or *> <data>`, times in ms: about half of its JSON.
//! Positions count all events of a tenant in a shard since its first; what has been trimmed is counted in `feed`. A cursor is
//! one position a shard, so it is exact: it tells trimmed events from none, and one of another store from one of this.

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::future::try_join_all;
use jiff::Timestamp;
use tokio::sync::watch;

use super::{
    Core, RedisStore,
    errors::damaged,
    many::Reading,
    script::{FEED_APPEND, FEED_READ, FEED_TRIM, ScriptCall},
};
use crate::{
    domain::{
        event::{About, Event, EventData},
        id::TenantId,
    },
    ports::{
        error::StoreError,
        feed::{After, Cursor, Entry, Feed, FeedError},
    },
};

/// Bytes of the store's id that a cursor begins with.
const MARK_BYTES: usize = 4;
/// Events that a shard is asked for at first, beyond its part.
const SPARE: usize = 8;
/// Events trimmed or appended in one call.
const CHUNK: usize = 1000;
/// Tenants of shards whose events are looked at in one call.
const FEEDS_MAX: usize = 2048;
/// Stands for the device of an event about none; no device id has it.
const NO_DEVICE: &str = "*";

#[async_trait]
impl Feed for RedisStore {
    async fn events(
        &self,
        tenant: &TenantId,
        after: &After,
        limit: usize,
    ) -> Result<(Vec<Entry>, Cursor), FeedError> {
        self.core.open()?;
        let core = &self.core;
        let mut from: Vec<Begin> = match after {
            After::Cursor(cursor) => read_cursor(core, cursor)?
                .into_iter()
                .map(Begin::At)
                .collect(),
            After::Oldest => vec![Begin::Oldest; core.shards()],
            After::Newest => vec![Begin::Newest; core.shards()],
        };
        let mut each = limit.div_ceil(core.shards()) + SPARE;
        loop {
            each = each.min(limit.max(1));
            let tails = read_tails(core, tenant, &from, each).await?;
            let found: usize = tails.iter().map(|tail| tail.events.len()).sum();
            if found >= limit || each >= limit || tails.iter().all(|tail| tail.complete) {
                return merge(core, tenant, tails, limit);
            }
            // The oldest may be trimmed meanwhile; whoever asks for it has missed nothing then.
            if *after != After::Oldest {
                from = tails.iter().map(|tail| Begin::At(tail.from)).collect();
            }
            each *= 4;
        }
    }

    async fn append(&self, tenant: &TenantId, events: Vec<Event>) -> Result<(), StoreError> {
        self.core.open()?;
        let core = &self.core;
        let shard = core.keys().shard_of_name(tenant.as_str());
        for events in events.chunks(CHUNK) {
            let mut call = ScriptCall::new(&FEED_APPEND)
                .key(core.keys().events(shard, tenant))
                .key(core.keys().own(shard, "feed"))
                .arg(core.keys().news(shard))
                .arg(tenant.as_str())
                .arg(
                    (core.options.feed_events_max / core.shards())
                        .max(1)
                        .to_string(),
                );
            for event in events {
                call = call
                    .number(event.time.as_millisecond())
                    .arg(event_text(event));
            }
            core.client.run_durably(shard, call).await?;
        }
        core.appended.send_modify(|count| *count += 1);
        Ok(())
    }

    fn appended(&self) -> watch::Receiver<u64> {
        self.core.appended.subscribe()
    }

    async fn trim(&self) -> Result<u64, StoreError> {
        self.core.open()?;
        let core = &self.core;
        let feeds = core.everywhere(|shard| core.keys().own(shard, "feed"));
        let reading = Reading {
            name: "HKEYS",
            rest: &[],
        };
        let feeds: Vec<Vec<String>> = core.read_many(feeds, &reading).await?;
        let mut kept: Vec<(usize, TenantId)> = Vec::new();
        for (shard, tenants) in feeds.into_iter().enumerate() {
            for tenant in tenants {
                let tenant = TenantId::new(&tenant).map_err(|_| damaged("a tenant of the feed"))?;
                kept.push((shard, tenant));
            }
        }
        let gates = core.by_gate(kept.iter().map(|(shard, _)| *shard));
        let kept = &kept;
        let calls = gates.into_values().map(async |places| {
            let mut trimmed = 0;
            for places in places.chunks(FEEDS_MAX) {
                let feeds = places.iter().map(|place| &kept[*place]).collect();
                trimmed += trim(core, feeds).await?;
            }
            Ok::<_, StoreError>(trimmed)
        });
        let trimmed = try_join_all(calls).await?;
        Ok(trimmed.into_iter().sum())
    }
}

/// Where reading a shard begins.
#[derive(Clone, Copy)]
enum Begin {
    Oldest,
    Newest,
    At(u64),
}

/// The events of one shard from a position on.
struct Tail {
    from: u64,
    events: Vec<String>,
    complete: bool,
}

async fn read_tails(
    core: &Core,
    tenant: &TenantId,
    from: &[Begin],
    each: usize,
) -> Result<Vec<Tail>, FeedError> {
    let calls = core.by_gate(0..core.shards()).into_values().map(|shards| {
        let mut call = ScriptCall::new(&FEED_READ)
            .arg(tenant.as_str())
            .arg(each.to_string());
        for shard in &shards {
            call = call
                .key(core.keys().events(*shard, tenant))
                .key(core.keys().own(*shard, "feed"));
            call = call.arg(match from[*shard] {
                Begin::Oldest => "oldest".to_owned(),
                Begin::Newest => "newest".to_owned(),
                Begin::At(position) => position.to_string(),
            });
        }
        async move {
            let answer = core.client.run(shards[0], call).await?;
            let parts: Vec<(u64, u64, Vec<String>)> =
                redis::from_redis_value(answer).map_err(|_| damaged("feed"))?;
            Ok::<_, StoreError>(shards.into_iter().zip(parts))
        }
    });
    let mut parts: Vec<_> = try_join_all(calls).await?.into_iter().flatten().collect();
    parts.sort_by_key(|(shard, _)| *shard);
    parts
        .into_iter()
        .map(|(shard, part)| tail(from[shard], part))
        .collect()
}

fn tail(from: Begin, (trimmed, kept, events): (u64, u64, Vec<String>)) -> Result<Tail, FeedError> {
    let end = trimmed + kept;
    let from = match from {
        Begin::At(position) if position < trimmed => return Err(FeedError::Trimmed),
        Begin::At(position) if position > end => return Err(FeedError::UnknownCursor),
        Begin::At(position) => position,
        Begin::Newest => end,
        Begin::Oldest => trimmed,
    };
    let complete = from + u64::try_from(events.len()).unwrap_or(0) >= end;
    Ok(Tail {
        from,
        events,
        complete,
    })
}

/// The oldest events of all shards, in the order of each.
fn merge(
    core: &Core,
    tenant: &TenantId,
    tails: Vec<Tail>,
    limit: usize,
) -> Result<(Vec<Entry>, Cursor), FeedError> {
    let mut places: Vec<u64> = tails.iter().map(|tail| tail.from).collect();
    let mut queues: Vec<_> = tails
        .into_iter()
        .map(|tail| tail.events.into_iter().peekable())
        .collect();
    let mut entries = Vec::new();
    while entries.len() < limit {
        let oldest = queues
            .iter_mut()
            .enumerate()
            .filter_map(|(shard, events)| Some((millis_of(events.peek()?), shard)))
            .min();
        let Some((_, shard)) = oldest else { break };
        let Some(text) = queues[shard].next() else {
            break;
        };
        places[shard] += 1;
        let json = event_json(&text, tenant).ok_or_else(|| damaged("an event cannot be read"))?;
        entries.push(Entry {
            id: write_cursor(core, &places),
            json,
        });
    }
    Ok((entries, write_cursor(core, &places)))
}

/// Trims the events of tenants in shards that are on one server for sure.
async fn trim(core: &Core, mut feeds: Vec<&(usize, TenantId)>) -> Result<u64, StoreError> {
    let age = i64::try_from(core.options.feed_age_max.as_millis()).unwrap_or(i64::MAX);
    let most = (core.options.feed_events_max / core.shards()).max(1);
    let mut trimmed = 0;
    while let Some((first, _)) = feeds.first() {
        let each = CHUNK.div_ceil(feeds.len());
        let mut call = ScriptCall::new(&FEED_TRIM)
            .arg(most.to_string())
            .number(age)
            .arg(each.to_string());
        for (shard, tenant) in &feeds {
            call = call
                .key(core.keys().events(*shard, tenant))
                .key(core.keys().own(*shard, "feed"))
                .arg(tenant.as_str());
        }
        let answer = core.client.run(*first, call).await?;
        let gone: Vec<usize> = redis::from_redis_value(answer).map_err(|_| damaged("feed"))?;
        trimmed += gone.iter().sum::<usize>() as u64;
        let rest = feeds.into_iter().zip(gone);
        feeds = rest
            .filter(|(_, gone)| *gone >= each)
            .map(|(feed, _)| feed)
            .collect();
    }
    Ok(trimmed)
}

/// An event as it is kept, but for the two times that the script puts before it.
pub(super) fn event_text(event: &Event) -> String {
    let ms = i128::from(event.time.as_millisecond());
    let rest = event.time.as_nanosecond() - ms * 1_000_000;
    let rest = if rest == 0 {
        String::new()
    } else {
        format!(".{rest:06}")
    };
    let device = event
        .device
        .as_ref()
        .map_or(NO_DEVICE, |device| device.as_str());
    let data = event.data.to_object_text();
    format!("{rest} {} {device} {data}", event.kind.as_str())
}

/// When an event was stored.
fn millis_of(text: &str) -> i64 {
    let digits = text.split(' ').next();
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// The JSON of a kept event. Its type may be one that only a newer broker knows.
fn event_json(text: &str, tenant: &TenantId) -> Option<Bytes> {
    let mut parts = text.splitn(5, ' ');
    let (stored, time, kind) = (parts.next()?, parts.next()?, parts.next()?);
    let (device, data) = (parts.next()?, parts.next()?);
    let (after, nanos) = time.split_once('.').unwrap_or((time, "0"));
    let ms = stored.parse::<i128>().ok()? + after.parse::<i128>().ok()?;
    let nanos = ms * 1_000_000 + nanos.parse::<i128>().ok()?;
    let about = About {
        kind,
        time: Timestamp::from_nanosecond(nanos).ok()?,
        device: (device != NO_DEVICE).then_some(device),
        tenant,
    };
    let data = EventData::from_object_text(data)?;
    Some(Bytes::from(about.to_json_text(&data)))
}

fn mark(core: &Core) -> [u8; MARK_BYTES] {
    let mut mark = [0; MARK_BYTES];
    for (to, from) in mark.iter_mut().zip(core.store_id.bytes()) {
        *to = from;
    }
    mark
}

/// Positions as numbers of seven bits a byte, the low ones first.
fn write_cursor(core: &Core, places: &[u64]) -> Cursor {
    let mut bytes = mark(core).to_vec();
    for place in places {
        let mut rest = *place;
        loop {
            let low = u8::try_from(rest & 0x7f).expect("seven bits");
            rest >>= 7;
            if rest == 0 {
                bytes.push(low);
                break;
            }
            bytes.push(low | 0x80);
        }
    }
    Cursor(URL_SAFE_NO_PAD.encode(bytes))
}

fn read_cursor(core: &Core, cursor: &Cursor) -> Result<Vec<u64>, FeedError> {
    let bytes = URL_SAFE_NO_PAD
        .decode(&cursor.0)
        .map_err(|_| FeedError::UnknownCursor)?;
    let places = bytes
        .strip_prefix(&mark(core))
        .ok_or(FeedError::UnknownCursor)?;
    let (mut found, mut place, mut shift) = (Vec::with_capacity(core.shards()), 0_u64, 0_u32);
    for byte in places {
        let part = u64::from(byte & 0x7f)
            .checked_shl(shift)
            .ok_or(FeedError::UnknownCursor)?;
        place |= part;
        if byte & 0x80 != 0 {
            shift += 7;
            continue;
        }
        found.push(place);
        (place, shift) = (0, 0);
    }
    match found.len() == core.shards() && shift == 0 {
        true => Ok(found),
        false => Err(FeedError::UnknownCursor),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{event::EventKind, id::DeviceId};

    #[test]
    fn a_kept_event_gives_the_same_json_as_the_event_itself() {
        let tenant = TenantId::new("contoso").unwrap();
        let device = DeviceId::new("d-1").unwrap();
        for nanos in [
            1_763_841_600_000_000_000,
            1_763_841_600_123_000_000,
            1_763_841_600_123_456_789,
        ] {
            let time = Timestamp::from_nanosecond(nanos).unwrap();
            let about =
                Event::of_device(EventKind::ChannelDied, time, &device).with("why", "a b\n\"c\"");
            let plain = Event {
                device: None,
                ..about.clone()
            };
            for event in [about, plain] {
                let kept = format!(
                    "{} 7{}",
                    event.time.as_millisecond() - 7,
                    event_text(&event)
                );
                let json = event_json(&kept, &tenant).unwrap();
                assert_eq!(json, event.to_json_text(&tenant));
            }
        }
    }
}
