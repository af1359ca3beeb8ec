//! What the servers say of queues and leases.

use std::collections::HashMap;

use crate::{broker::until, redis_server::RedisServer, rig::Chaos};

/// Devices under a lease, each with its token: an odd score in a queue, which is the lease's end in µs. Half a µs more says
/// that the device was changed meanwhile.
pub(crate) type Leases = HashMap<String, i64>;

/// The names of the queues that hold something.
pub(crate) fn queues<'a>(servers: impl IntoIterator<Item = &'a RedisServer>) -> Vec<String> {
    let of = |server: &RedisServer| server.ask::<Vec<String>>(&["KEYS", "rv:{s*}:q:*"]);
    servers.into_iter().flat_map(of).collect()
}

/// The leases that have not ended.
pub(crate) fn leases<'a>(servers: impl IntoIterator<Item = &'a RedisServer>) -> Leases {
    servers.into_iter().flat_map(leases_at).collect()
}

fn leases_at(server: &RedisServer) -> Leases {
    let now = micros(server);
    let mut leases = Leases::new();
    for queue in queues([server]) {
        let entries: Vec<(String, f64)> = server.ask(&[
            "ZRANGE",
            &queue,
            &format!("({now}"),
            "+inf",
            "BYSCORE",
            "WITHSCORES",
        ]);
        let entries = entries.into_iter().map(|(id, score)| (id, score as i64));
        leases.extend(entries.filter(|(_, token)| token % 2 == 1));
    }
    leases
}

/// Those of these leases that are neither settled nor over.
pub(crate) fn left_of<'a>(
    held: &Leases,
    servers: impl IntoIterator<Item = &'a RedisServer>,
) -> Leases {
    let now = leases(servers);
    let same = |(device, lease): &(&String, &i64)| now.get(*device) == Some(*lease);
    let left = held.iter().filter(same);
    left.map(|(device, lease)| (device.clone(), *lease))
        .collect()
}

/// What a broker that was stopped has under lease: what is left when the others have settled theirs, which were more together
/// than one can have.
pub(crate) async fn frozen_leases<'a>(
    chaos: &Chaos,
    servers: impl IntoIterator<Item = &'a RedisServer> + Clone,
) -> Leases {
    let mut frozen = leases(servers.clone());
    until("the others settle what they had claimed", async || {
        let woken = chaos.sandbox.ledger().devices.accepted;
        chaos.until_woken(woken + chaos.claims_max()).await;
        frozen = left_of(&frozen, servers.clone());
        frozen.len() as u64 <= chaos.claims_max() / chaos.brokers.len() as u64
    })
    .await;
    assert!(!frozen.is_empty(), "the stopped broker had nothing");
    frozen
}

/// Waits until leases are over.
pub(crate) async fn until_over<'a>(
    held: &Leases,
    servers: impl IntoIterator<Item = &'a RedisServer> + Clone,
) {
    until("the leases end", async || {
        left_of(held, servers.clone()).is_empty()
    })
    .await;
}

/// The server's clock, in µs.
pub(crate) fn micros(server: &RedisServer) -> i64 {
    let (seconds, micros): (i64, i64) = server.ask(&["TIME"]);
    seconds * 1_000_000 + micros
}
