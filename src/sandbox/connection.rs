//! One connection: when it was last used, and how it is told to end or is cut.

use std::{
    collections::HashMap,
    future::{Future, poll_fn},
    io::{self, IoSlice},
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::task::AtomicWaker;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

use super::clock::Moment;

const RUNNING: u8 = 0;
const LEAVING: u8 = 1;
const CUT: u8 = 2;

/// What is known of one connection.
#[derive(Debug)]
pub(crate) struct Connection {
    state: AtomicU8,
    waker: AtomicWaker,
    is_http2: bool,
    requests: AtomicU32,
    last_used: AtomicU64,
    number: u64,
    /// The socket shall be closed with a reset.
    reset: AtomicBool,
}

/// A request that is being served; ends when dropped, too.
pub(crate) struct Busy<'a>(&'a Connection);

impl Connection {
    /// Marks the connection as used until the returned guard ends.
    pub(crate) fn begin(&self) -> Busy<'_> {
        self.requests.fetch_add(1, Relaxed);
        Busy(self)
    }

    /// Lets an HTTP/1.1 connection end with a TCP reset; on HTTP/2 hyper resets the stream, and the connection goes on.
    pub(crate) fn cut(&self) {
        if !self.is_http2 {
            self.reset.store(true, Relaxed);
        }
    }

    fn tell(&self, state: u8) {
        self.state.fetch_max(state, Relaxed);
        self.waker.wake();
    }
}

impl Busy<'_> {
    pub(crate) fn end(self, now: Moment) {
        self.0.last_used.store(now.0, Relaxed);
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Relaxed);
    }
}

/// All open connections.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    open: Mutex<HashMap<u64, Arc<Connection>>>,
    numbers: AtomicU64,
    http1: AtomicU64,
    http2: AtomicU64,
}

impl Connections {
    pub(crate) fn open_one(&self, is_http2: bool, now: Moment) -> Arc<Connection> {
        let connection = Arc::new(Connection {
            state: AtomicU8::new(RUNNING),
            waker: AtomicWaker::new(),
            is_http2,
            requests: AtomicU32::new(0),
            last_used: AtomicU64::new(now.0),
            number: self.numbers.fetch_add(1, Relaxed),
            reset: AtomicBool::new(false),
        });
        let count = if is_http2 { &self.http2 } else { &self.http1 };
        count.fetch_add(1, Relaxed);
        self.lock().insert(connection.number, connection.clone());
        connection
    }

    pub(crate) fn closed(&self, connection: &Connection) {
        self.lock().remove(&connection.number);
    }

    pub(crate) fn open(&self) -> usize {
        self.lock().len()
    }

    /// How many were opened so far, over HTTP/1.1 and over HTTP/2.
    pub(crate) fn opened(&self) -> (u64, u64) {
        (self.http1.load(Relaxed), self.http2.load(Relaxed))
    }

    /// Ends all connections: after the running requests, or at once with a reset.
    pub(crate) fn close_all(&self, abruptly: bool) -> usize {
        let open = self.lock();
        for connection in open.values() {
            if abruptly {
                connection.reset.store(true, Relaxed);
            }
            connection.tell(if abruptly { CUT } else { LEAVING });
        }
        open.len()
    }

    /// Ends the connections that had no request for so long.
    pub(crate) fn close_idle(&self, now: Moment, idle: Duration) {
        for connection in self.lock().values() {
            let since = Moment(connection.last_used.load(Relaxed));
            if connection.requests.load(Relaxed) == 0 && now.since(since) >= idle {
                connection.tell(LEAVING);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Connection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection of hyper, of either version.
pub(crate) trait Serving: Future {
    /// Lets the running requests finish and takes no more.
    fn leave(self: Pin<&mut Self>);
}

impl<S, B> Serving for hyper::server::conn::http1::Connection<hyper_util::rt::TokioIo<Wire>, S>
where
    S: hyper::service::HttpService<hyper::body::Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: hyper::body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn leave(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<S, B, E> Serving
    for hyper::server::conn::http2::Connection<hyper_util::rt::TokioIo<Wire>, S, E>
where
    S: hyper::service::HttpService<hyper::body::Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: hyper::body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    E: hyper::rt::bounds::Http2ServerConnExec<S::Future, B>,
{
    fn leave(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Serves until the client leaves, the connection is told to end, or it is cut.
///
/// One load more per wake-up than hyper alone: the waker is registered first, so no word is missed.
pub(crate) async fn drive(serving: impl Serving, connection: &Connection) {
    let mut serving = pin!(serving);
    let mut told = false;
    poll_fn(|context| {
        connection.waker.register(context.waker());
        match connection.state.load(Relaxed) {
            CUT => return Poll::Ready(()),
            LEAVING if !told => {
                told = true;
                serving.as_mut().leave();
            }
            _ => {}
        }
        // However it ended, there is nobody left to tell.
        serving.as_mut().poll(context).map(drop)
    })
    .await;
}

/// The TLS stream, which closes its socket with a reset if its connection was cut.
pub(crate) struct Wire {
    tls: TlsStream<TcpStream>,
    connection: Arc<Connection>,
}

impl Wire {
    pub(crate) fn new(tls: TlsStream<TcpStream>, connection: Arc<Connection>) -> Self {
        Self { tls, connection }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.connection.reset.load(Relaxed) {
            // If the system refuses, the client sees an end of stream instead of a reset: as good a cut.
            drop(self.tls.get_ref().0.set_zero_linger());
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_read(context, into)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.tls.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.connection.reset.load(Relaxed) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.tls).poll_shutdown(context)
    }
}
