//! The inbox, dead letters and outbox of a tenant: streams under one hash tag of the tenant's, so that a user of the server's
//! access list can be confined to one tenant, and tenants spread over a cluster.
//!
//! Waiting for messages has a connection of its own for each tenant, since it holds up whatever follows it.

use std::{collections::HashMap, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use redis::{AsyncConnectionConfig, Value, aio::MultiplexedConnection};

use super::{
    Core, RedisStore,
    errors::{damaged, unavailable},
    options::Address,
    script::{INBOX_RECEIVE, INBOX_SETTLE, INBOX_TAKE_OVER, OUTBOX_PUBLISH, ScriptCall},
};
use crate::{
    domain::id::TenantId,
    ports::{
        error::StoreError,
        feed::Cursor,
        streams::{DeadLetter, Message, Most, Outgoing, Reader, Received, Streams, TakenOver},
    },
};

/// The group of consumers that the brokers are.
const GROUP: &str = "reveille";
/// Bytes of messages after which no more are given in a call: the server copies them whole, and does nothing else meanwhile.
const BYTES_MAX: u32 = 512 * 1024;
/// How long a consumer without messages is remembered.
const CONSUMER_IDLE_MAX: Duration = Duration::from_secs(3600);

/// Connections that wait, by tenant, with the server they lead to.
pub(super) type Waiters = tokio::sync::Mutex<HashMap<TenantId, (Address, MultiplexedConnection)>>;

#[async_trait]
impl Streams for RedisStore {
    async fn receive(
        &self,
        tenant: &TenantId,
        reader: Reader<'_>,
        most: Most,
    ) -> Result<Received, StoreError> {
        let core = self.core.streaming()?;
        let place = place_of(core, tenant)?;
        let call = reading_call(core, place, &INBOX_RECEIVE, (reader, most));
        let (last, messages) = read(core.client.run(place, call).await?)?;
        Ok(Received { messages, last })
    }

    async fn take_over(
        &self,
        tenant: &TenantId,
        reader: Reader<'_>,
        from: Option<&str>,
        most: Most,
    ) -> Result<TakenOver, StoreError> {
        let core = self.core.streaming()?;
        let place = place_of(core, tenant)?;
        let call = reading_call(core, place, &INBOX_TAKE_OVER, (reader, most))
            .arg(from.unwrap_or("0-0"))
            .arg(CONSUMER_IDLE_MAX.as_millis().to_string());
        let (next, messages) = read(core.client.run(place, call).await?)?;
        let next = Some(next).filter(|next| !next.is_empty());
        Ok(TakenOver { messages, next })
    }

    async fn wait(
        &self,
        tenant: &TenantId,
        last: &str,
        within: Duration,
    ) -> Result<(), StoreError> {
        let core = self.core.streaming()?;
        let place = place_of(core, tenant)?;
        let address = core.client.address_of(place);
        let kept = core.waiters.lock().await.remove(tenant);
        let mut connection = match kept {
            Some((known, connection)) if known == address => connection,
            Some(_) | None => dial(core, &address).await?,
        };
        let mut command = redis::cmd("XREAD");
        command
            .arg("COUNT")
            .arg(1)
            .arg("BLOCK")
            .arg(within.as_millis().max(1).to_string())
            .arg("STREAMS")
            .arg(core.keys().stream(place, "inbox"))
            .arg(last);
        let waited = command.query_async::<Value>(&mut connection);
        let waited = tokio::time::timeout(within + core.options.timeout, waited).await;
        if let Ok(Ok(_)) = waited {
            let mut waiters = core.waiters.lock().await;
            waiters.insert(tenant.clone(), (address, connection));
            return Ok(());
        }
        // The next errand finds out more: the connection is of no use any more, or the slot has moved.
        core.client.look_again();
        Err(unavailable("waiting for messages was broken off"))
    }

    async fn settle(
        &self,
        tenant: &TenantId,
        done: Vec<String>,
        dead: Vec<DeadLetter>,
        dead_max: u32,
    ) -> Result<(), StoreError> {
        let core = self.core.streaming()?;
        let place = place_of(core, tenant)?;
        let mut call = inbox_call(core, place, &INBOX_SETTLE)
            .key(core.keys().stream(place, "dead"))
            .number(dead_max)
            .arg(done.len().to_string());
        for id in done {
            call = call.arg(id);
        }
        for DeadLetter { message, reason } in dead {
            let text = |field: Option<Bytes>| field.map(|bytes| bytes.to_vec()).unwrap_or_default();
            call = call
                .arg(message.id)
                .arg(text(message.command))
                .arg(text(message.body))
                .arg(message.body_bytes.to_string())
                .arg(reason);
        }
        core.client.run(place, call).await.map(drop)
    }

    async fn published(&self, tenant: &TenantId) -> Result<Option<Cursor>, StoreError> {
        let core = self.core.streaming()?;
        let place = place_of(core, tenant)?;
        let mut command = redis::cmd("GET");
        command.arg(core.keys().stream(place, "outbox-place"));
        let answer = core.client.run(place, command).await?;
        let kept: Option<String> = redis::from_redis_value(answer).map_err(|_| strange())?;
        Ok(kept.map(Cursor))
    }

    async fn publish(
        &self,
        tenant: &TenantId,
        (from, to): (Option<&Cursor>, &Cursor),
        events: Vec<Outgoing>,
        length_max: u32,
    ) -> Result<bool, StoreError> {
        let core = self.core.streaming()?;
        let place = place_of(core, tenant)?;
        let mut call = ScriptCall::new(&OUTBOX_PUBLISH)
            .key(core.keys().stream(place, "outbox"))
            .key(core.keys().stream(place, "outbox-place"))
            .arg(from.map_or("", |cursor| cursor.0.as_str()))
            .arg(to.0.as_str())
            .number(length_max);
        for event in events {
            call = call.arg(event.kind).arg(event.json);
        }
        let answer = core.client.run(place, call).await?;
        Ok(answer == Value::Int(1))
    }
}

impl Core {
    fn streaming(&self) -> Result<&Self, StoreError> {
        self.open().map(|()| self)
    }
}

fn place_of(core: &Core, tenant: &TenantId) -> Result<usize, StoreError> {
    let at = core.options.streams.iter().position(|t| t == tenant);
    let at = at.ok_or_else(|| unavailable(format!("tenant {tenant} has no streams")))?;
    Ok(core.keys().stream_place(at))
}

fn inbox_call(core: &Core, place: usize, script: &'static super::script::Script) -> ScriptCall {
    ScriptCall::new(script)
        .key(core.keys().stream(place, "inbox"))
        .arg(GROUP)
}

fn reading_call(
    core: &Core,
    place: usize,
    script: &'static super::script::Script,
    (reader, most): (Reader<'_>, Most),
) -> ScriptCall {
    ScriptCall::new(script)
        .key(core.keys().stream(place, "inbox"))
        .key(core.keys().stream(place, "inbox-epoch"))
        .arg(GROUP)
        .arg(reader.epoch.to_string())
        .arg(reader.name)
        .arg(most.messages.to_string())
        .arg(most.body_bytes.to_string())
        .number(BYTES_MAX)
}

/// Makes a connection on which a command may take its time.
async fn dial(core: &Core, address: &Address) -> Result<MultiplexedConnection, StoreError> {
    let timeout = core.options.timeout;
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(timeout))
        .set_response_timeout(None);
    let client = core.client.dialer().client(address);
    let client = client.map_err(|lost| unavailable(lost.to_string()))?;
    let connecting = client.get_multiplexed_async_connection_with_config(&config);
    match tokio::time::timeout(timeout, connecting).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(_)) | Err(_) => {
            core.client.look_again();
            Err(unavailable("redis cannot be connected"))
        }
    }
}

type Entry = (String, Option<Vec<u8>>, Option<Vec<u8>>, u64, u64);

fn read(answer: Value) -> Result<(String, Vec<Message>), StoreError> {
    if answer == Value::BulkString(b"F".to_vec()) {
        return Err(StoreError::Fenced);
    }
    let (place, entries): (String, Vec<Entry>) =
        redis::from_redis_value(answer).map_err(|_| strange())?;
    let message = |(id, command, body, body_bytes, deliveries): Entry| Message {
        id,
        command: command.map(Bytes::from),
        body: body.map(Bytes::from),
        body_bytes,
        deliveries,
    };
    Ok((place, entries.into_iter().map(message).collect()))
}

fn strange() -> StoreError {
    damaged("a stream's answer is strange")
}
