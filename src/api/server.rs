//! Listens for callers, with bounds on connections and on how slow they may be.

use std::{net::TcpListener, sync::Arc, time::Duration};

use actix_web::{App, HttpServer, dev::Server, http::KeepAlive, web};

use super::{route::configure, state::State};

/// An idle connection is kept for the next request so long.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// A caller that must read an answer to a body it still sends has so long to do it.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that the system holds until they are accepted.
const BACKLOG: u32 = 4096;

/// Bounds on connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listening {
    /// Threads that serve requests.
    pub workers: usize,
    /// Most connections at once; further ones wait to be accepted.
    pub connections_max: usize,
    /// Longest time in which a caller must have sent the head of a request.
    pub header_timeout: Duration,
    /// Longest time that requests in work have when the server stops.
    pub drain_timeout: Duration,
}

/// Serves the API on `listener` until the returned server is stopped, and what `pages` adds to it. It handles no signals.
///
/// # Errors
/// What the operating system says of the listener.
pub fn serve(
    listener: TcpListener,
    state: Arc<State>,
    bounds: Listening,
    pages: fn(&mut web::ServiceConfig),
) -> std::io::Result<Server> {
    let workers = bounds.workers.max(1);
    let factory = move || {
        let state = Arc::clone(&state);
        App::new()
            .configure(pages)
            .configure(move |config: &mut web::ServiceConfig| configure(config, state))
    };
    let server = HttpServer::new(factory)
        .workers(workers)
        .backlog(BACKLOG)
        .max_connections((bounds.connections_max / workers).max(1))
        .keep_alive(KeepAlive::Timeout(KEEP_ALIVE))
        .client_request_timeout(bounds.header_timeout)
        .client_disconnect_timeout(DISCONNECT_TIMEOUT)
        .shutdown_timeout(bounds.drain_timeout.as_secs())
        .disable_signals()
        .listen(listener)?;
    Ok(server.run())
}
