//! Reads records of a shard, gathered across callers, and the value in which a record is kept.
//!
//! A value is `revision|record`, the revision as 8 hex digits; `revision@queue|record` while the device waits in another queue
//! than its record says, which is so when a record was changed under somebody's lease.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use redis::Value;
use tokio::sync::oneshot;

use super::{Core, errors::damaged, gather::Job};
use crate::{
    domain::{
        id::{DeviceKey, TenantId},
        record::Revision,
    },
    ports::{error::StoreError, records::Stored},
};

/// Length of a revision as text.
pub(super) const REVISION_BYTES: usize = 8;
/// Most fields in one read.
const FIELDS_MAX: usize = 512;

/// Keys of one shard that somebody wants to read.
pub(super) struct ReadJob {
    pub(super) keys: Vec<DeviceKey>,
    pub(super) reply: oneshot::Sender<Result<Vec<Option<Stored>>, StoreError>>,
}

impl Job for ReadJob {
    fn weight(&self) -> usize {
        self.keys.len()
    }

    async fn flush(core: Arc<Core>, shard: usize, jobs: Vec<Self>) {
        let found = read_all(&core, shard, &jobs).await;
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

async fn read_all(
    core: &Core,
    shard: usize,
    jobs: &[ReadJob],
) -> Result<Vec<Option<Stored>>, StoreError> {
    let mut by_tenant: HashMap<&TenantId, Vec<(usize, &str)>> = HashMap::new();
    let mut count = 0;
    for key in jobs.iter().flat_map(|job| &job.keys) {
        let fields = by_tenant.entry(&key.tenant).or_default();
        fields.push((count, key.device.as_str()));
        count += 1;
    }
    let commands = by_tenant.iter().flat_map(|(tenant, fields)| {
        let key = core.keys().devices(shard, tenant);
        fields.chunks(FIELDS_MAX).map(move |fields| {
            let mut command = redis::cmd("HMGET");
            command.arg(&key);
            for (_, id) in fields {
                command.arg(*id);
            }
            (command, fields)
        })
    });
    let reads = commands.map(async |(command, fields)| {
        let answer = core.client.run(shard, command).await?;
        let values: Vec<Option<Vec<u8>>> =
            redis::from_redis_value(answer).map_err(|_| damaged("device hash"))?;
        Ok::<_, StoreError>((fields, values))
    });
    let mut found = vec![None; count];
    for (fields, values) in futures_util::future::try_join_all(reads).await? {
        for ((at, _), value) in fields.iter().zip(values) {
            found[*at] = value.map(stored).transpose()?;
        }
    }
    Ok(found)
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
