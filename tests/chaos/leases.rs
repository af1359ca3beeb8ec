//! What the servers say of queues and leases.

use std::collections::HashMap;

use crate::redis_server::RedisServer;

/// Devices under a lease, each with its token: an odd score in a queue, which is the lease's end in µs.
pub(crate) type Leases = HashMap<String, i64>;

/// The names of the queues that hold something.
pub(crate) fn queues<'a>(servers: impl IntoIterator<Item = &'a RedisServer>) -> Vec<String> {
    let of = |server: &RedisServer| server.ask::<Vec<String>>(&["KEYS", "rv:{s*}:q:*"]);
    servers.into_iter().flat_map(of).collect()
}

/// The leases that have not ended.
pub(crate) fn leases(server: &RedisServer) -> Leases {
    let now = micros(server);
    let mut leases = Leases::new();
    for queue in queues([server]) {
        let entries: Vec<(String, i64)> = server.ask(&[
            "ZRANGE",
            &queue,
            &format!("({now}"),
            "+inf",
            "BYSCORE",
            "WITHSCORES",
        ]);
        leases.extend(entries.into_iter().filter(|(_, score)| score % 2 == 1));
    }
    leases
}

/// The server's clock, in µs.
pub(crate) fn micros(server: &RedisServer) -> i64 {
    let (seconds, micros): (i64, i64) = server.ask(&["TIME"]);
    seconds * 1_000_000 + micros
}
