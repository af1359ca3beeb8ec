//! Lists of devices beside the records: a sorted set in every shard, with the texts in a hash beside it or after the members.

use async_trait::async_trait;
use futures_util::future::{join_all, try_join_all};
use std::collections::BTreeMap;

use super::{
    Core, RedisStore,
    errors::damaged,
    records::device,
    script::{LIST_FIND, LIST_PAGE, ScriptCall},
    tables::text_apart,
};
use crate::{
    domain::id::{DeviceId, DeviceKey, TenantId},
    ports::{
        error::StoreError,
        lists::{Lists, Member},
        records::{ListName, Page},
    },
};

#[async_trait]
impl Lists for RedisStore {
    async fn members(
        &self,
        tenant: &TenantId,
        list: &ListName,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<Member>, StoreError> {
        self.core.open()?;
        let place = Place { tenant, list };
        let (mut shard, mut after) = read_cursor(cursor, self.core.shards())?;
        let limit = limit.clamp(1, 1024);
        let mut items = Vec::new();
        loop {
            let left = limit - items.len();
            let start = PageStart {
                after: after.as_ref(),
                limit: left,
            };
            let found = pages(&self.core, &[shard], &place, start).await?;
            let mut found: Vec<Member> = found.into_iter().flatten().collect();
            let shard_ends = found.len() < left;
            items.append(&mut found);
            if let Some(last) = items.last().filter(|_| !shard_ends) {
                let next = Some(format!("{shard}/{}/{}", last.score, last.device));
                return Ok(Page { items, next });
            }
            (shard, after) = (shard + 1, None);
            if shard == self.core.shards() {
                return Ok(Page { items, next: None });
            }
        }
    }

    async fn find(
        &self,
        tenant: &TenantId,
        list: &ListName,
        devices: &[DeviceId],
    ) -> Result<Vec<Option<Member>>, StoreError> {
        self.core.open()?;
        let mut parts: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (i, device) in devices.iter().enumerate() {
            let key = DeviceKey::new(tenant.clone(), device.clone());
            parts
                .entry(self.core.keys().shard_of(&key))
                .or_default()
                .push(i);
        }
        let place = Place { tenant, list };
        let finds = parts.iter().map(async |(shard, places)| {
            let mut call = place
                .keys(&self.core, *shard, ScriptCall::new(&LIST_FIND))
                .arg(place.apart());
            for i in places {
                call = call.arg(devices[*i].as_str());
            }
            let answer = self.core.client.run(*shard, call).await?;
            let members: Vec<Vec<String>> =
                redis::from_redis_value(answer).map_err(|_| damaged("list"))?;
            Ok::<_, StoreError>((places, members))
        });
        let mut found = vec![None; devices.len()];
        for (places, members) in try_join_all(finds).await? {
            for (i, member) in places.iter().zip(members) {
                if let [score, text] = member.as_slice() {
                    let score = whole(score)?;
                    let device = devices[*i].clone();
                    found[*i] = Some(Member {
                        device,
                        score,
                        text: text.clone(),
                    });
                }
            }
        }
        Ok(found)
    }

    async fn first(
        &self,
        tenant: &TenantId,
        list: &ListName,
        limit: usize,
    ) -> Result<Vec<Member>, StoreError> {
        self.core.open()?;
        let place = Place { tenant, list };
        let shards = self.core.shards();
        let mut found: Vec<Vec<Member>> = vec![Vec::new(); shards];
        let mut asked: Vec<usize> = (0..shards).collect();
        let mut each = limit.div_ceil(shards);
        // Shards that had as many as they were asked for may have what others lack.
        while found.iter().map(Vec::len).sum::<usize>() < limit && !asked.is_empty() {
            let start = PageStart {
                after: None,
                limit: each,
            };
            for (shard, members) in asked
                .iter()
                .zip(pages(&self.core, &asked, &place, start).await?)
            {
                found[*shard] = members;
            }
            asked.retain(|shard| found[*shard].len() == each && each < limit);
            each = (each * 4).min(limit);
        }
        let mut members: Vec<Member> = found.into_iter().flatten().collect();
        members.sort_by(|a, b| (a.score, &a.device).cmp(&(b.score, &b.device)));
        members.truncate(limit);
        Ok(members)
    }

    async fn drop_list(&self, tenant: &TenantId, list: &ListName) -> Result<(), StoreError> {
        self.core.open()?;
        // The server frees an unlinked key beside its other work, however large it is.
        let drops = (0..self.core.shards()).map(|shard| {
            let mut command = redis::cmd("UNLINK");
            command
                .arg(self.core.keys().list(shard, tenant, list))
                .arg(self.core.keys().list_texts(shard, tenant, list));
            self.core.client.run_durably(shard, command)
        });
        join_all(drops)
            .await
            .into_iter()
            .collect::<Result<Vec<_>, _>>()
            .map(drop)
    }
}

struct Place<'a> {
    tenant: &'a TenantId,
    list: &'a ListName,
}

impl Place<'_> {
    fn apart(&self) -> &'static str {
        if text_apart(self.list) {
            "apart"
        } else {
            "together"
        }
    }

    fn keys(&self, core: &Core, shard: usize, call: ScriptCall) -> ScriptCall {
        let call = call.key(core.keys().list(shard, self.tenant, self.list));
        match text_apart(self.list) {
            true => call.key(core.keys().list_texts(shard, self.tenant, self.list)),
            false => call,
        }
    }
}

/// Where a page begins and how long it may be.
#[derive(Clone, Copy)]
struct PageStart<'a> {
    after: Option<&'a (i64, DeviceId)>,
    limit: usize,
}

/// A page of each of these shards.
async fn pages(
    core: &Core,
    shards: &[usize],
    place: &Place<'_>,
    start: PageStart<'_>,
) -> Result<Vec<Vec<Member>>, StoreError> {
    let (score, device_text) = match start.after {
        Some((score, device)) => (score.to_string(), device.as_str()),
        None => (String::new(), ""),
    };
    let calls = core
        .by_gate(shards.iter().copied())
        .into_values()
        .map(|places| {
            let mut call = ScriptCall::new(&LIST_PAGE)
                .arg(start.limit.to_string())
                .arg(place.apart())
                .arg(device_text)
                .arg(score.as_str());
            for at in &places {
                call = place.keys(core, shards[*at], call);
            }
            async move {
                let answer = core.client.run(shards[places[0]], call).await?;
                let pages: Vec<Vec<(String, String, String)>> =
                    redis::from_redis_value(answer).map_err(|_| damaged("list"))?;
                Ok::<_, StoreError>(places.into_iter().zip(pages))
            }
        });
    let mut found: Vec<_> = try_join_all(calls).await?.into_iter().flatten().collect();
    found.sort_by_key(|(at, _)| *at);
    found
        .into_iter()
        .map(|(_, page)| page.into_iter().map(member).collect())
        .collect()
}

fn member((id, score, text): (String, String, String)) -> Result<Member, StoreError> {
    let (device, score) = (device(&id)?, whole(&score)?);
    Ok(Member {
        device,
        score,
        text,
    })
}

/// A score as the server writes it: whole, possibly with an exponent.
fn whole(score: &str) -> Result<i64, StoreError> {
    let number: f64 = score
        .parse()
        .map_err(|_| damaged("the score of a list's member"))?;
    Ok(super::queues::micros_of(number))
}

/// Reads `shard/score/device`; the last two are empty at the beginning of a shard.
fn read_cursor(
    cursor: Option<&str>,
    shards: usize,
) -> Result<(usize, Option<(i64, DeviceId)>), StoreError> {
    let Some(cursor) = cursor else {
        return Ok((0, None));
    };
    let unknown = || damaged("unknown cursor");
    let mut parts = cursor.splitn(3, '/');
    let (Some(shard), Some(score), Some(id)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(unknown());
    };
    let shard = shard
        .parse()
        .ok()
        .filter(|shard| *shard < shards)
        .ok_or_else(unknown)?;
    if score.is_empty() && id.is_empty() {
        return Ok((shard, None));
    }
    let score = score.parse().map_err(|_| unknown())?;
    Ok((
        shard,
        Some((score, DeviceId::new(id).map_err(|_| unknown())?)),
    ))
}
