//! Small documents: one string each, `version bytes`, in the shard of its name, and an index of names in every shard.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use redis::Value;
use tokio::sync::watch;

use super::{
    Core, RedisStore,
    errors::damaged,
    many::Reading,
    script::{DOCUMENT_CHANGE, DOCUMENT_DELETE, DOCUMENT_EPOCH, DOCUMENT_PUT, ScriptCall},
};
use crate::ports::{
    documents::{Document, Documents, Precondition, Put},
    error::StoreError,
    records::Page,
};

#[async_trait]
impl Documents for RedisStore {
    async fn get(&self, name: &str) -> Result<Option<Document>, StoreError> {
        self.core.open()?;
        get(&self.core, name).await
    }

    async fn put(
        &self,
        name: &str,
        bytes: Bytes,
        precondition: Precondition,
        ttl: Option<Duration>,
    ) -> Result<Put, StoreError> {
        self.core.open()?;
        let core = &self.core;
        let shard = core.keys().shard_of_name(name);
        let (script, precondition) = match precondition {
            Precondition::Absent => (&DOCUMENT_PUT, "absent".to_owned()),
            Precondition::Any => (&DOCUMENT_PUT, "any".to_owned()),
            Precondition::Version(version) => (&DOCUMENT_CHANGE, version.to_string()),
        };
        let ttl_text = ttl.map(|ttl| ttl.as_millis().max(1).to_string());
        let call = document(core, shard, name, script)
            .arg(bytes)
            .arg(precondition)
            .arg(ttl_text.unwrap_or_default())
            .arg(core.keys().news(shard));
        let answer = core.client.run_durably(shard, call).await?;
        let parts: Vec<Value> = redis::from_redis_value(answer).map_err(|_| strange())?;
        match parts.as_slice() {
            [Value::Int(version)] => {
                if ttl.is_none() {
                    core.tell_documents_changed().await;
                }
                Ok(Put::Done(u64::try_from(*version).map_err(|_| strange())?))
            }
            [_, Value::BulkString(kept)] if kept.is_empty() => Ok(Put::Conflict(None)),
            [_, Value::BulkString(kept)] => Ok(Put::Conflict(Some(read(kept.clone())?))),
            _ => Err(strange()),
        }
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.core.open()?;
        let core = &self.core;
        let shard = core.keys().shard_of_name(name);
        let call = document(core, shard, name, &DOCUMENT_DELETE).arg(core.keys().news(shard));
        let answer = core.client.run_durably(shard, call).await?;
        if answer == Value::Int(1) {
            core.tell_documents_changed().await;
            return Ok(());
        }
        // Whoever removed it may be waiting for the replicas yet.
        core.confirm(shard).await
    }

    async fn confirm_document(&self, name: &str) -> Result<(), StoreError> {
        self.core.open()?;
        let shard = self.core.keys().shard_of_name(name);
        self.core.confirm(shard).await
    }

    async fn list(
        &self,
        prefix: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<(String, Document)>, StoreError> {
        self.core.open()?;
        let core = &self.core;
        let limit = limit.max(1);
        if cursor.is_some_and(|last| !last.starts_with(prefix)) {
            return Err(damaged("unknown cursor"));
        }
        let from = cursor.map_or_else(|| format!("[{prefix}"), |last| format!("({last}"));
        // Names are ASCII, so this byte comes after all that begin with the prefix.
        let to = [b"(", prefix.as_bytes(), b"\xff"].concat();
        let most = limit.to_string();
        let keys = core.everywhere(|shard| core.keys().own(shard, "docs"));
        let rest: &[&[u8]] = &[from.as_bytes(), &to, b"LIMIT", b"0", most.as_bytes()];
        let reading = Reading {
            name: "ZRANGEBYLEX",
            rest,
        };
        let names: Vec<Vec<String>> = core.read_many(keys, &reading).await?;
        let mut names: Vec<String> = names.into_iter().flatten().collect();
        names.sort();
        let more = names.len() >= limit;
        names.truncate(limit);
        let place = |name: &String| {
            let shard = core.keys().shard_of_name(name);
            (shard, core.keys().document(shard, name))
        };
        let reading = Reading {
            name: "GET",
            rest: &[],
        };
        let found: Vec<Option<Vec<u8>>> = core
            .read_many(names.iter().map(place).collect(), &reading)
            .await?;
        let found: Vec<Option<Document>> = found
            .into_iter()
            .map(|kept| kept.map(read).transpose())
            .collect::<Result<_, _>>()?;
        let next = names.last().filter(|_| more).cloned();
        let items = names
            .into_iter()
            .zip(found)
            .filter_map(|(name, found)| Some((name, found?)));
        Ok(Page {
            items: items.collect(),
            next,
        })
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.core.changed.subscribe()
    }
}

impl Core {
    /// Tells this broker at once, and others at their next look if they miss the announcement. What was changed stands even if
    /// the server of the epoch is away: whoever cannot hear it now looks again when it is back.
    async fn tell_documents_changed(&self) {
        self.changed.send_modify(|count| *count += 1);
        let control = self.keys().control();
        let call = ScriptCall::new(&DOCUMENT_EPOCH).key(self.keys().own(control, "store"));
        self.client.run(control, call).await.ok();
    }
}

fn strange() -> StoreError {
    damaged("a document's answer is strange")
}

fn document(
    core: &Core,
    shard: usize,
    name: &str,
    script: &'static super::script::Script,
) -> ScriptCall {
    ScriptCall::new(script)
        .key(core.keys().document(shard, name))
        .key(core.keys().own(shard, "docs"))
        .key(core.keys().own(shard, "doc-ends"))
        .arg(name)
}

async fn get(core: &Core, name: &str) -> Result<Option<Document>, StoreError> {
    let shard = core.keys().shard_of_name(name);
    let mut command = redis::cmd("GET");
    command.arg(core.keys().document(shard, name));
    match core.client.run(shard, command).await? {
        Value::Nil => Ok(None),
        Value::BulkString(kept) => read(kept).map(Some),
        _ => Err(strange()),
    }
}

fn read(kept: Vec<u8>) -> Result<Document, StoreError> {
    let blank = memchr::memchr(b' ', &kept).ok_or_else(|| damaged("a document"))?;
    let version = std::str::from_utf8(&kept[..blank])
        .ok()
        .and_then(|text| text.parse().ok());
    let version = version.ok_or_else(|| damaged("a document's version"))?;
    Ok(Document {
        version,
        bytes: Bytes::from(kept).slice(blank + 1..),
    })
}
