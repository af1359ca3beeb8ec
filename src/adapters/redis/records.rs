//! Device records: read, commit, scan. One atomic script for each shard's part of a commit.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::sync::oneshot;

use super::{
    Core, RedisStore,
    answers::Settled,
    batch::CommitJob,
    errors::{damaged, unavailable},
    pages::{Place, fill},
    reading::{ReadJob, stored},
    script::{CONFIRM, RAISE_FENCE, ScriptCall},
};
use crate::{
    domain::id::{DeviceId, DeviceKey, TenantId},
    ports::{
        error::StoreError,
        records::{Committed, Fence, Item, Page, Records, Stored, Urgency},
    },
};

#[async_trait]
impl Records for RedisStore {
    async fn read(&self, keys: &[DeviceKey]) -> Result<Vec<Option<Stored>>, StoreError> {
        self.core.open()?;
        read(&self.core, keys).await
    }

    async fn commit(
        &self,
        items: Vec<Item>,
        urgency: Urgency,
        fence: Option<&Fence>,
    ) -> Result<Vec<Committed>, StoreError> {
        self.core.open()?;
        together(commit(&self.core, items, urgency, fence).await)
    }

    async fn commit_each(
        &self,
        items: Vec<Item>,
        urgency: Urgency,
    ) -> Vec<Result<Committed, StoreError>> {
        match self.core.open() {
            Ok(()) => commit(&self.core, items, urgency, None).await,
            Err(closed) => vec![Err(closed); items.len()],
        }
    }

    async fn confirm(&self, devices: &[DeviceKey]) -> Result<(), StoreError> {
        self.core.open()?;
        let core = &self.core;
        let shards = devices.iter().map(|key| core.keys().shard_of(key));
        let gates: BTreeMap<usize, usize> = shards
            .map(|shard| (core.client.gate_of(shard), shard))
            .collect();
        let calls = gates.into_values().map(|shard| core.confirm(shard));
        let confirmed = join_all(calls).await.into_iter();
        confirmed.collect::<Result<Vec<_>, _>>().map(drop)
    }

    async fn raise_fence(&self, fence: &Fence) -> Result<(), StoreError> {
        self.core.open()?;
        let raises = (0..self.core.shards()).map(|shard| {
            let call = ScriptCall::new(&RAISE_FENCE)
                .key(self.core.keys().own(shard, "fences"))
                .arg(fence.name.as_str())
                .arg(fence.epoch.to_string());
            self.core.client.run_durably(shard, call)
        });
        join_all(raises)
            .await
            .into_iter()
            .collect::<Result<Vec<_>, _>>()
            .map(drop)
    }

    async fn scan(
        &self,
        tenant: &TenantId,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<(DeviceId, Stored)>, StoreError> {
        self.core.open()?;
        let core = &self.core;
        let part = |place: Place| async move {
            let mut command = redis::cmd("HSCAN");
            command
                .arg(core.keys().devices(place.shard, tenant))
                .arg(place.at);
            command.arg("COUNT").arg(limit);
            let answer = core.client.run(place.shard, command).await?;
            let (at, fields): (u64, Vec<(String, Vec<u8>)>) =
                redis::from_redis_value(answer).map_err(|_| damaged("device hash"))?;
            let found = fields
                .into_iter()
                .map(|(id, value)| Ok((device(&id)?, stored(value)?)));
            Ok((at, found.collect::<Result<_, StoreError>>()?))
        };
        fill(cursor, core.shards(), limit, part).await
    }
}

impl Core {
    /// Waits until the replicas have all that was written to this shard.
    pub(super) async fn confirm(&self, shard: usize) -> Result<(), StoreError> {
        if self.options.min_replicas_to_ack == 0 {
            return Ok(());
        }
        // Any write will do: what a replica has of it, it has of all that came before.
        let call = ScriptCall::new(&CONFIRM).key(self.keys().own(shard, "meta"));
        self.client.run_durably(shard, call).await.map(drop)
    }
}

pub(super) fn device(id: &str) -> Result<DeviceId, StoreError> {
    DeviceId::new(id).map_err(|_| damaged("a device id cannot be one"))
}

async fn read(core: &Arc<Core>, keys: &[DeviceKey]) -> Result<Vec<Option<Stored>>, StoreError> {
    let mut parts: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (i, key) in keys.iter().enumerate() {
        parts.entry(core.gate_of(key)).or_default().push(i);
    }
    let mut answers = Vec::with_capacity(parts.len());
    for (gate, places) in parts {
        let (reply, answer) = oneshot::channel();
        let keys = places.iter().map(|i| keys[*i].clone()).collect();
        core.reads[gate].submit(core, ReadJob { keys, reply });
        answers.push((places, answer));
    }
    let mut found = vec![None; keys.len()];
    for (places, answer) in answers {
        let part = answer
            .await
            .map_err(|_| unavailable("the read was abandoned"))??;
        for (i, stored) in places.into_iter().zip(part) {
            found[i] = stored;
        }
    }
    Ok(found)
}

pub(super) async fn commit(
    core: &Arc<Core>,
    items: Vec<Item>,
    urgency: Urgency,
    fence: Option<&Fence>,
) -> Settled {
    let count = items.len();
    let mut seen = HashSet::with_capacity(count);
    let mut repeats = Vec::new();
    let mut parts: BTreeMap<usize, (Vec<usize>, Vec<Item>)> = BTreeMap::new();
    for (i, item) in items.into_iter().enumerate() {
        if !seen.insert(item.key.clone()) {
            repeats.push((i, item.key));
            continue;
        }
        let part = parts.entry(core.gate_of(&item.key)).or_default();
        part.0.push(i);
        part.1.push(item);
    }
    let submitted = parts.into_iter().map(|(gate, (places, items))| {
        let (reply, answer) = oneshot::channel();
        let fence = fence.cloned();
        core.commits[gate].submit(
            core,
            CommitJob {
                items,
                urgency,
                fence,
                reply,
            },
        );
        (places, answer)
    });
    let submitted: Vec<_> = submitted.collect();
    let mut committed: Settled = vec![Ok(Committed::Listed); count];
    for (places, answer) in submitted {
        let settled = answer
            .await
            .unwrap_or_else(|_| vec![Err(unavailable("the commit was abandoned")); places.len()]);
        for (i, result) in places.into_iter().zip(settled) {
            committed[i] = result;
        }
    }
    if !repeats.is_empty() {
        let keys: Vec<DeviceKey> = repeats.iter().map(|(_, key)| key.clone()).collect();
        let now = read(core, &keys).await;
        for (n, (i, _)) in repeats.into_iter().enumerate() {
            let now = now.as_ref().map(|now| now[n].clone());
            committed[i] = now.map(Committed::Conflict).map_err(Clone::clone);
        }
    }
    committed
}

/// One answer for all items. An error other than unavailability says that nothing was applied, so it stands only when every
/// item that failed did so with it and no other was applied.
fn together(committed: Settled) -> Result<Vec<Committed>, StoreError> {
    let applied = committed.contains(&Ok(Committed::Done));
    let mut errors = committed.iter().filter_map(|item| item.as_ref().err());
    let Some(error) = errors.next() else {
        return Ok(committed.into_iter().flatten().collect());
    };
    if applied || errors.any(|other| other != error) {
        let detail = format!("some items may have been applied; {error}");
        return Err(unavailable(detail));
    }
    Err(error.clone())
}
