//! Where the broker listens and what it takes from one caller.

use std::{net::SocketAddr, time::Duration};

use super::{
    kind::{address, duration, whole},
    reader::{Place, Problems},
    schema::{Section, settings},
};

settings! {
    /// Where the broker listens and what it takes from one caller.
    pub struct Server at "server" {
        /// Address of the message API, health, metrics and, unless `console_listen` is set, the console page. Without any
        /// `[[keys]]` entry only a loopback address is taken.
        listen: SocketAddr = address().default("127.0.0.1:8470");
        /// An address of its own for the console page.
        console_listen: Option<SocketAddr> = address().optional();
        /// Longest time that a stop waits for attempts on the wire before the process ends all the same.
        drain_timeout: Duration = duration("1s", "10m").default("30s");
        /// Longest time in which a caller must have sent the head of a request.
        header_timeout: Duration = duration("1s", "5m").default("10s");
        /// Most connections at once; further ones wait to be accepted. Fewer are taken if the process may not open as many
        /// files.
        connections_max: u32 = whole(16, 1_000_000).default("20000");
        /// Most requests in work at once; further ones are answered 503 with `Retry-After`.
        requests_max: u32 = whole(1, 1_000_000).default("2048");
        /// Longest JSON body in bytes. NDJSON bodies are streamed and have no limit.
        body_bytes_max: u32 = whole(1024, 1_073_741_824).default("8388608");
        /// Longest line of an NDJSON body in bytes; a longer one is reported by its number and skipped.
        line_bytes_max: u32 = whole(5120, 16_777_216).default("65536");
    }
}

/// Reads `[server]`. Without keys the broker has no way to tell a friend from a stranger, so nobody else may reach it.
pub(super) fn read(root: &Place<'_>, has_keys: bool, problems: &mut Problems) -> Option<Server> {
    let place = root.sub("server", problems);
    let server = Server::read(&place, problems)?;
    let listeners = [
        ("listen", Some(server.listen)),
        ("console_listen", server.console_listen),
    ];
    for (name, address) in listeners {
        let Some(address) = address.filter(|address| !has_keys && !address.ip().is_loopback())
        else {
            continue;
        };
        let detail = format!(
            "{address} can be reached from other machines, but there is no API key; make one with `reveille key new` and \
             add its [[keys]] entry, or listen on 127.0.0.1"
        );
        place.blame(name, detail, problems);
    }
    Some(server)
}
