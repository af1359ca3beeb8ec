//! The threads that serve: one runtime each, connections dealt out in turn, HTTP/1.1 and HTTP/2 by hyper over rustls.

use std::{fmt, net::TcpListener as StdListener, sync::Arc, time::Duration};

use http::{HeaderValue, Request, Response, StatusCode};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{
    body::ReplyBody,
    connection::{Connection, Connections, Wire, drive},
    control,
    counters::{Shard, Violation},
    oauth,
    push::{self, REDIRECT_PATH},
    world::World,
};

/// A client has so long to complete the TLS handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Open connections get so long to end by themselves when the sandbox stops.
const FAREWELL_MAX: Duration = Duration::from_secs(2);
/// Wait after the system refused a connection, for want of file descriptors for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often idle connections are looked for.
const SWEEP: Duration = Duration::from_millis(250);

/// The request gets no reply: its connection or stream is cut.
#[derive(Debug)]
pub(crate) struct Aborted;

impl fmt::Display for Aborted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cut by the sandbox")
    }
}

impl std::error::Error for Aborted {}

/// What is the same for all threads.
#[derive(Clone)]
pub(crate) struct Common {
    pub(crate) world: Arc<World>,
    pub(crate) connections: Arc<Connections>,
    pub(crate) tls: TlsAcceptor,
    pub(crate) stop: CancellationToken,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) http2_streams_max: u32,
}

/// One serving thread.
pub(crate) struct Thread {
    pub(crate) index: usize,
    pub(crate) world: Arc<World>,
    pub(crate) connections: Arc<Connections>,
    pub(crate) trace: HeaderValue,
    redirect_to: String,
}

impl Thread {
    pub(crate) fn shard(&self) -> &Shard {
        &self.world.shards[self.index]
    }

    pub(crate) fn redirect_to(&self) -> &str {
        &self.redirect_to
    }

    fn new(index: usize, common: &Common) -> Self {
        let machine = format!("SANDBOX{index:08X}");
        Self {
            index,
            redirect_to: format!("{}{REDIRECT_PATH}", common.world.base_url()),
            world: common.world.clone(),
            connections: common.connections.clone(),
            trace: HeaderValue::try_from(machine).expect("letters and digits are a header value"),
        }
    }
}

/// Starts the serving threads; they end after `common.stop` is cancelled.
///
/// # Errors
/// The system's error when a thread or a runtime cannot be made.
pub(crate) fn start(
    listener: StdListener,
    threads: usize,
    common: &Common,
) -> std::io::Result<Vec<std::thread::JoinHandle<()>>> {
    let mut handles = Vec::with_capacity(threads);
    let mut dealers = Vec::with_capacity(threads);
    let mut inboxes = Vec::with_capacity(threads);
    for _ in 0..threads {
        let (dealer, inbox) = mpsc::unbounded_channel();
        dealers.push(dealer);
        inboxes.push(inbox);
    }
    let mut accepting = Some((listener, dealers));
    for (index, inbox) in inboxes.into_iter().enumerate() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (common, accepting) = (common.clone(), accepting.take());
        let serve = move || {
            runtime.block_on(async {
                if let Some((listener, dealers)) = accepting {
                    tokio::spawn(accept(listener, dealers, common.stop.clone()));
                }
                serve(index, inbox, common).await;
            });
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name(format!("sandbox-{index}"));
        handles.push(thread.spawn(serve)?);
    }
    Ok(handles)
}

/// Takes connections and deals them out to the threads in turn.
async fn accept(
    listener: StdListener,
    dealers: Vec<mpsc::UnboundedSender<std::net::TcpStream>>,
    stop: CancellationToken,
) {
    let Ok(listener) = TcpListener::from_std(listener) else {
        tracing::error!("the sandbox cannot listen: its socket was refused by the runtime");
        return;
    };
    for dealer in dealers.iter().cycle() {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        // A stream that cannot be handed over is a client's loss, as is one that the system refuses.
        match accepted.and_then(|(stream, _)| stream.into_std()) {
            Ok(stream) => drop(dealer.send(stream)),
            Err(error) => {
                tracing::warn!(%error, "the sandbox could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(
    index: usize,
    mut inbox: mpsc::UnboundedReceiver<std::net::TcpStream>,
    common: Common,
) {
    let thread = Arc::new(Thread::new(index, &common));
    let mut sweep = tokio::time::interval(SWEEP);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            stream = inbox.recv() => match stream {
                Some(stream) => drop(tokio::spawn(serve_connection(thread.clone(), stream, common.clone()))),
                None => break,
            },
            _ = sweep.tick() => if let Some(idle) = common.idle_timeout.filter(|_| index == 0) {
                common.connections.close_idle(common.world.clock.now(), idle);
            },
            () = common.stop.cancelled() => break,
        }
    }
    common.connections.close_all(false);
    let farewell = async {
        while common.connections.open() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    // What is still open then is cut with the runtime.
    drop(tokio::time::timeout(FAREWELL_MAX, farewell).await);
}

async fn serve_connection(thread: Arc<Thread>, stream: std::net::TcpStream, common: Common) {
    let Ok(stream) = TcpStream::from_std(stream) else {
        return;
    };
    // Without it only the latency suffers.
    drop(stream.set_nodelay(true));
    let Ok(Ok(tls)) = tokio::time::timeout(HANDSHAKE_MAX, common.tls.accept(stream)).await else {
        return;
    };
    let is_http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
    let connection = common
        .connections
        .open_one(is_http2, common.world.clock.now());
    let wire = TokioIo::new(Wire::new(tls, connection.clone()));
    let ending = connection.clone();
    let service = service_fn(move |request| {
        let (thread, connection) = (thread.clone(), connection.clone());
        async move { route(&thread, &connection, request).await }
    });
    if is_http2 {
        let serving = http2::Builder::new(TokioExecutor::new())
            .max_concurrent_streams(common.http2_streams_max)
            .max_local_error_reset_streams(None)
            .serve_connection(wire, service);
        drive(serving, &ending).await;
    } else {
        let serving = http1::Builder::new()
            .title_case_headers(true)
            .serve_connection(wire, service);
        drive(serving, &ending).await;
    }
    common.connections.closed(&ending);
}

async fn route(
    thread: &Thread,
    connection: &Connection,
    request: Request<Incoming>,
) -> Result<Response<ReplyBody>, Aborted> {
    let busy = connection.begin();
    let (parts, body) = request.into_parts();
    let result = match parts.uri.path() {
        "/" => push::answer(thread, parts, body).await,
        "/accesstoken.srf" => oauth::classic(thread, parts, body).await,
        REDIRECT_PATH => {
            thread.shard().violation(Violation::FollowedRedirect);
            Ok(empty(StatusCode::GONE))
        }
        path if path.starts_with("/sandbox/v1/") => Ok(control::answer(thread, parts, body).await),
        path => match directory(path) {
            Some(directory) => oauth::entra(thread, directory, &parts, body).await,
            None => Ok(empty(StatusCode::NOT_FOUND)),
        },
    };
    busy.end(thread.world.clock.now());
    if result.is_err() {
        connection.cut();
    }
    result
}

fn directory(path: &str) -> Option<&str> {
    let directory = path.strip_prefix('/')?.strip_suffix("/oauth2/v2.0/token")?;
    (!directory.is_empty() && !directory.contains('/')).then_some(directory)
}

fn empty(status: StatusCode) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::Empty);
    *response.status_mut() = status;
    response
}
