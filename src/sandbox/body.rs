//! The bodies of replies: none on the hot path, a text, or a stream of chunks made as the client takes them.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// A reply's body.
pub(crate) enum ReplyBody {
    /// Nothing; `Content-Length: 0`.
    Empty,
    /// One text.
    Text(Bytes),
    /// Chunks of unknown total length.
    Stream(Box<dyn Iterator<Item = Bytes> + Send>),
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let chunk = match &mut *self {
            Self::Empty => None,
            Self::Text(text) => Some(std::mem::take(text)).filter(|text| !text.is_empty()),
            Self::Stream(chunks) => chunks.next(),
        };
        if chunk.is_none() || matches!(*self, Self::Text(_)) {
            *self = Self::Empty;
        }
        Poll::Ready(chunk.map(|chunk| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Empty)
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Text(text) => SizeHint::with_exact(text.len() as u64),
            Self::Stream(_) => SizeHint::new(),
        }
    }
}
