//! A connection that remembers whether an answer ever came over it: one that breaks then was most likely closed while it lay
//! idle, and one that breaks before is refused by somebody.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll},
};

use http::Extensions;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};

/// No answer has come yet.
const NEW: u8 = 0;
/// An answer has come.
const SERVED: u8 = 1;
/// It broke after that, and a request that was on it has been let off to be repeated.
const LET_OFF: u8 = 2;

/// Whether an answer has come over a connection; travels with each answer and each error.
#[derive(Clone, Debug, Default)]
pub(super) struct Served(Arc<AtomicU8>);

impl Served {
    /// Notes in an answer's connection that it came.
    pub(super) fn note(extensions: &Extensions) {
        if let Some(served) = extensions.get::<Self>() {
            let _known = served.set(NEW, SERVED);
        }
    }

    /// Whether the connection of an error had served before. Only one request of a connection hears so: over HTTP/2 a hundred may
    /// break together, and what is repeated at once has no leave of the pace.
    pub(super) fn let_off(connected: Option<&Connected>) -> bool {
        let mut extensions = Extensions::new();
        if let Some(connected) = connected {
            connected.get_extras(&mut extensions);
        }
        let served = extensions.get::<Self>();
        served.is_some_and(|served| served.set(SERVED, LET_OFF))
    }

    /// Goes from one state to another; false if it was in none of these.
    fn set(&self, from: u8, to: u8) -> bool {
        let order = Ordering::Relaxed;
        self.0.compare_exchange(from, to, order, order).is_ok()
    }
}

/// The connection.
pub(super) struct Line<S> {
    stream: S,
    served: Served,
}

impl<S> Line<S> {
    pub(super) fn new(stream: S) -> Self {
        let served = Served::default();
        Self { stream, served }
    }
}

impl<S: Connection> Connection for Line<S> {
    fn connected(&self) -> Connected {
        self.stream.connected().extra(self.served.clone())
    }
}

impl<S: Read + Unpin> Read for Line<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: Write + Unpin> Write for Line<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }
}
