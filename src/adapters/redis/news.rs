//! Listens to what the shards announce, so that nobody polls: queues that have become due earlier, events, documents.
//!
//! Each server has a connection for this. Announcements are lost while it is down, so after every subscription the shards are
//! asked how things are.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use redis::{
    AsyncConnectionConfig, ErrorKind, PushInfo, PushKind, RedisResult, ServerErrorKind, Value,
    aio::MultiplexedConnection,
};
use tokio::sync::mpsc;

use super::{Core, client::Node, errors::unavailable, queues::queue_of, writes::Kind};

/// Announcements that may wait to be heard.
const PENDING_MAX: usize = 16_384;
/// Wait before another attempt to subscribe.
const RETRY: Duration = Duration::from_millis(250);

/// Listens to all servers for ever.
pub(super) async fn listening(core: Arc<Core>) {
    let mut moved = core.client.moved();
    loop {
        moved.borrow_and_update();
        let holders = core.client.holders();
        let listeners = join_all(holders.iter().map(|node| listen_to(&core, node)));
        tokio::select! {
            _ends = listeners => {}
            changed = moved.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

async fn listen_to(core: &Arc<Core>, node: &Arc<Node>) {
    let places: Vec<usize> = core
        .client
        .places_of(node)
        .into_iter()
        .filter(|place| *place < core.shards())
        .collect();
    if places.is_empty() {
        std::future::pending::<()>().await;
    }
    loop {
        let (sender, mut heard) = mpsc::channel(PENDING_MAX);
        let missed = Arc::new(AtomicBool::new(false));
        let noting = missed.clone();
        let push = move |info: PushInfo| {
            let sent = sender.try_send(info);
            if sent.is_err() {
                noting.store(true, Ordering::Relaxed);
            }
            sent
        };
        let subscribed = subscribe(core, node, &places, push).await;
        note_permission(core, &subscribed);
        if let Ok(connection) = subscribed {
            // Questions go another way, which may be mended later than this one.
            let _up = tokio::time::timeout(core.options.timeout, node.up()).await;
            catch_up(core, &places).await;
            core.heard.send_modify(|count| *count += 1);
            hear(core, &places, &mut heard, &missed).await;
            core.heard.send_modify(|count| *count -= 1);
            drop(connection);
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// A server that is down shows elsewhere; what the user may not hear he may not announce either.
fn note_permission<T>(core: &Core, subscribed: &RedisResult<T>) {
    match subscribed {
        Ok(_) => core.writes.note(Kind::News, &Ok(())),
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) => {
            let refused = unavailable("redis: the user lacks the permission for channels (NOPERM)");
            core.writes.note(Kind::News, &Err::<(), _>(refused));
        }
        Err(_) => {}
    }
}

async fn subscribe<E: 'static>(
    core: &Core,
    node: &Node,
    places: &[usize],
    push: impl Fn(PushInfo) -> Result<(), E> + Send + Sync + 'static,
) -> RedisResult<MultiplexedConnection> {
    let unusable = |_| redis::RedisError::from((redis::ErrorKind::Client, "options"));
    let client = core
        .client
        .dialer()
        .listening_client(&node.address)
        .map_err(unusable)?;
    let timeout = core.options.timeout;
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(timeout))
        .set_response_timeout(Some(timeout))
        .set_push_sender(push);
    let connecting = client.get_multiplexed_async_connection_with_config(&config);
    let late = |_| redis::RedisError::from((redis::ErrorKind::Io, "no answer in time"));
    let mut connection = tokio::time::timeout(timeout, connecting)
        .await
        .map_err(late)??;
    // In a cluster the channels of one command must be of one slot, so each has its own.
    let mut subscriptions = redis::pipe();
    for place in places {
        subscriptions
            .cmd("SSUBSCRIBE")
            .arg(core.keys().news(*place))
            .ignore();
    }
    let _confirmed: Value = subscriptions.query_async(&mut connection).await?;
    Ok(connection)
}

/// Until the connection ends, or the server has moved a channel away.
async fn hear(
    core: &Core,
    places: &[usize],
    heard: &mut mpsc::Receiver<PushInfo>,
    missed: &AtomicBool,
) {
    while let Some(info) = heard.recv().await {
        if missed.swap(false, Ordering::Relaxed) {
            catch_up(core, places).await;
        }
        match info.kind {
            PushKind::SMessage => note(core, places, &info.data),
            PushKind::Disconnection => return,
            PushKind::SUnsubscribe => {
                core.client.look_again();
                return;
            }
            _ => {}
        }
    }
}

fn note(core: &Core, places: &[usize], data: &[Value]) {
    let [Value::BulkString(channel), Value::BulkString(text)] = data else {
        return;
    };
    let Some(place) = places
        .iter()
        .find(|p| core.keys().news(**p).as_bytes() == channel)
    else {
        return;
    };
    let text = String::from_utf8_lossy(text);
    let mut lines = text.lines();
    let as_of = lines.next().and_then(|time| time.parse().ok()).unwrap_or(0);
    for line in lines {
        let mut words = line.splitn(3, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some("due"), Some(first), Some(name)) => {
                // What a newer broker announces in other words is found by the next sweep.
                if let (Ok(first), Ok(queue)) = (first.parse(), queue_of(name)) {
                    core.announce(*place, &queue, first, as_of);
                }
            }
            (Some("events"), ..) => core.appended.send_modify(|count| *count += 1),
            (Some("documents"), ..) => core.changed.send_modify(|count| *count += 1),
            _ => {}
        }
    }
}

/// Asks the shards for all that may have been announced unheard.
async fn catch_up(core: &Core, places: &[usize]) {
    // Another server may have taken over, with another clock.
    for place in places {
        core.hints.forget(*place);
    }
    // Shards that cannot answer now are swept later.
    if let Ok(ready) = core.refresh_hints(places).await {
        for (queue, first) in ready {
            core.wake(&queue, first);
        }
    }
    core.appended.send_modify(|count| *count += 1);
    core.changed.send_modify(|count| *count += 1);
}
