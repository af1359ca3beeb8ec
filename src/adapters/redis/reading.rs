//! Reads records, gathered across callers, and the value in which a record is kept.
//!
//! A value is `revision|record`, the revision as 8 hex digits; `revision@queue|record` while the device waits in another queue
//! than its record says, which is so when a record was changed under somebody's lease.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use futures_util::future::{try_join, try_join_all};
use redis::Value;
use tokio::sync::oneshot;

use super::{
    Core,
    errors::damaged,
    gather::{BATCH, Job},
    pack::Pack,
    script::{READ, ScriptCall},
};
use crate::{
    domain::{
        id::{DeviceKey, TenantId},
        record::Revision,
    },
    ports::{error::StoreError, records::Stored},
};

/// Length of a revision as text.
pub(super) const REVISION_BYTES: usize = 8;
/// Devices of a hash from which on it is read with a command of its own.
const ALONE: usize = 32;

/// Keys of one gate that somebody wants to read.
pub(super) struct ReadJob {
    pub(super) keys: Vec<DeviceKey>,
    pub(super) reply: oneshot::Sender<Result<Vec<Option<Stored>>, StoreError>>,
}

impl Job for ReadJob {
    fn weight(&self) -> usize {
        self.keys.len()
    }

    async fn flush(core: Arc<Core>, jobs: Vec<Self>) {
        let keys: Vec<&DeviceKey> = jobs.iter().flat_map(|job| &job.keys).collect();
        let found = read_all(&core, &keys).await;
        let mut found = match found {
            Ok(found) => found.into_iter(),
            Err(error) => {
                for job in jobs {
                    // The reader may have gone.
                    let _gone = job.reply.send(Err(error.clone()));
                }
                return;
            }
        };
        for job in jobs {
            let part = found.by_ref().take(job.keys.len()).collect();
            let _gone = job.reply.send(Ok(part));
        }
    }
}

/// The devices of one hash, with their places among all that are read.
pub(super) type Part<'a> = ((usize, &'a TenantId), Vec<(usize, &'a str)>);

async fn read_all(core: &Core, keys: &[&DeviceKey]) -> Result<Vec<Option<Stored>>, StoreError> {
    let mut places: Vec<usize> = (0..keys.len()).collect();
    places.sort_by_cached_key(|place| core.keys().shard_of(keys[*place]));
    let reads = places.chunks(BATCH).map(async |places| {
        let mut parts: BTreeMap<(usize, &TenantId), Vec<(usize, &str)>> = BTreeMap::new();
        for place in places {
            let key = keys[*place];
            let hash = (core.keys().shard_of(key), &key.tenant);
            parts
                .entry(hash)
                .or_default()
                .push((*place, key.device.as_str()));
        }
        let parts: Vec<Part<'_>> = parts.into_iter().collect();
        let values = read_parts(core, &parts).await?;
        Ok::<_, StoreError>((parts, values))
    });
    let mut found = vec![None; keys.len()];
    for (parts, values) in try_join_all(reads).await? {
        let places = parts.into_iter().flat_map(|(_, devices)| devices);
        for ((at, _), value) in places.zip(values.into_iter().flatten()) {
            found[at] = value.map(stored).transpose()?;
        }
    }
    Ok(found)
}

/// Reads hashes of which much is wanted each with a command of its own, which costs Redis a third of what the script does, and
/// the rest with one.
async fn read_parts(
    core: &Core,
    parts: &[Part<'_>],
) -> Result<Vec<Vec<Option<Vec<u8>>>>, StoreError> {
    let alone = |part: &Part<'_>| parts.len() == 1 || part.1.len() >= ALONE;
    let few: Vec<&Part<'_>> = parts.iter().filter(|part| !alone(part)).collect();
    let many = parts.iter().filter(|part| alone(part));
    let many = try_join_all(many.map(|part| read_hash(core, part)));
    let (many, few) = try_join(many, read_hashes(core, &few)).await?;
    let (mut many, mut few) = (many.into_iter(), few.into_iter());
    let values = parts.iter().map(|part| match alone(part) {
        true => many.next(),
        false => few.next(),
    });
    let values: Option<_> = values.collect();
    values.ok_or_else(|| damaged("device hash"))
}

pub(super) async fn read_hash(
    core: &Core,
    ((shard, tenant), devices): &Part<'_>,
) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
    let mut command = redis::cmd("HMGET");
    command.arg(core.keys().devices(*shard, tenant));
    for (_, id) in devices {
        command.arg(*id);
    }
    let answer = core.client.run(*shard, command).await?;
    redis::from_redis_value(answer).map_err(|_| damaged("device hash"))
}

async fn read_hashes(
    core: &Core,
    parts: &[&Part<'_>],
) -> Result<Vec<Vec<Option<Vec<u8>>>>, StoreError> {
    let Some(((place, _), _)) = parts.first() else {
        return Ok(Vec::new());
    };
    let mut call = ScriptCall::new(&READ);
    let mut pack = Pack::default();
    pack.array(parts.len());
    for ((shard, tenant), devices) in parts {
        call = call.key(core.keys().devices(*shard, tenant));
        pack.array(devices.len());
        for (_, id) in devices {
            pack.str(id);
        }
    }
    let answer = core.client.run(*place, call.arg(pack.into_bytes())).await?;
    redis::from_redis_value(answer).map_err(|_| damaged("device hash"))
}

/// Reads a value as it is kept.
pub(super) fn stored(value: Vec<u8>) -> Result<Stored, StoreError> {
    let wrong = || damaged("a device's value has no revision");
    let revision = value
        .get(..REVISION_BYTES)
        .and_then(|hex| std::str::from_utf8(hex).ok());
    let revision = revision
        .and_then(|hex| u32::from_str_radix(hex, 16).ok())
        .ok_or_else(wrong)?;
    let bar = memchr::memchr(b'|', &value).ok_or_else(wrong)?;
    Ok(Stored {
        revision: Revision(revision),
        bytes: Bytes::from(value).slice(bar + 1..),
    })
}

/// As [`stored`], for a part of a script's answer.
pub(super) fn stored_value(value: Value) -> Result<Stored, StoreError> {
    match value {
        Value::BulkString(bytes) => stored(bytes),
        _ => Err(damaged("a device's value is not text")),
    }
}

/// A revision as it is kept.
pub(super) fn revision_text(revision: Revision) -> String {
    format!("{:08x}", revision.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_with_and_without_the_queue_it_waits_in() {
        for text in ["0000002a|1|x", "0000002a@contoso:bulk:c/x|1|x"] {
            let found = stored(text.as_bytes().to_vec()).unwrap();
            assert_eq!(
                found,
                Stored {
                    revision: Revision(42),
                    bytes: Bytes::from("1|x")
                }
            );
        }
        for text in ["", "0000002a", "0000002x|1"] {
            assert!(matches!(
                stored(text.as_bytes().to_vec()),
                Err(StoreError::Damaged { .. })
            ));
        }
    }
}
