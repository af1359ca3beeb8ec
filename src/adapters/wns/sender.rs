//! One POST for each notification, over HTTP/1.1 or HTTP/2 as the handshake decides.
//!
//! The request is built by hand from one constant header map, because that costs least. A connection that has served before and
//! breaks before the next answer was read is nearly always one that WNS had closed while it lay idle: such a request is sent once
//! more, at once and on a connection of its own, so that a second stale one cannot catch it. Whether the first was processed
//! cannot be known; a repeated wake-up is harmless. This second request has no leave of the app's pace; there is one at most for
//! each connection that WNS closes.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri,
    header::{AUTHORIZATION, CONTENT_LENGTH},
};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use jiff::Timestamp;

use super::{
    client::{ClientError, HttpClients, PushClient},
    failure::{is_stale, push_failure},
    line::Served,
};
use crate::{
    domain::wns::{
        channel_uri::{ChannelUri, HostPolicy},
        reply::{Outcome, RawReply, Reply, Trace, TransportFailure, classify},
        request::{self, CONSTANT_HEADERS},
        text::Text,
    },
    ports::wns::{Answer, Notification, Wns},
};

/// Requests in flight on one client before the next one is used: HTTP/2 servers commonly allow 100 streams a connection, and
/// a client opens one such connection a host.
const CLIENT_STREAMS: u32 = 100;
/// A client's connections are kept while it may need them all.
const POOLED: usize = CLIENT_STREAMS as usize;
/// Each request has a connection of its own.
const FRESH: usize = 0;
/// Most clients, and so most HTTP/2 connections a host.
const CLIENTS_MAX: usize = 32;
/// Most bytes of an answer's body that are read to keep its connection; WNS sends none.
const DISCARD_BYTES_MAX: usize = 16 * 1024;
/// Longest wait for the rest of such a body.
const DISCARD_MAX: Duration = Duration::from_secs(1);

/// Sends raw notifications from one arbiter.
pub struct WnsSender {
    clients: HttpClients,
    policy: HostPolicy,
    constant: HeaderMap,
    /// Filled in their order, so that few connections stay busy.
    pooled: RefCell<Vec<Rc<Lane>>>,
    fresh: PushClient,
}

struct Lane {
    client: PushClient,
    in_flight: Cell<u32>,
}

/// Why there is no answer.
struct Failure {
    kind: TransportFailure,
    /// The connection had served before, so that it is worth asking once more at once.
    stale: bool,
}

/// A place on a client, given back when dropped.
struct Place(Rc<Lane>);

impl WnsSender {
    /// Makes a sender for the current arbiter. Only hosts that `policy` allows are given a token.
    ///
    /// # Errors
    /// [`ClientError`] when the HTTP library refuses the configuration.
    pub fn new(clients: HttpClients, policy: HostPolicy) -> Result<Self, ClientError> {
        let mut constant = HeaderMap::with_capacity(CONSTANT_HEADERS.len() + 4);
        for (name, value) in CONSTANT_HEADERS {
            constant.insert(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        let fresh = clients.for_pushes(FRESH)?;
        let pooled = RefCell::new(vec![Lane::new(clients.for_pushes(POOLED)?)]);
        Ok(Self {
            clients,
            policy,
            constant,
            pooled,
            fresh,
        })
    }

    async fn exchange(&self, notification: &Notification) -> Reply {
        let Some(request) = self.request(notification) else {
            return Reply::Failed(TransportFailure::Protocol);
        };
        let first = self.place();
        let failure = match self.ask(&first.0.client, request).await {
            Ok(raw) => {
                // The connection goes back to its pool with the runtime's next turn; a request that starts before it does
                // would open one more.
                tokio::task::yield_now().await;
                return Reply::Answered(raw);
            }
            Err(failure) => failure,
        };
        drop(first);
        if !failure.stale {
            return Reply::Failed(failure.kind);
        }
        let Some(request) = self.request(notification) else {
            return Reply::Failed(failure.kind);
        };
        match self.ask(&self.fresh, request).await {
            Ok(raw) => Reply::Answered(raw),
            Err(failure) => Reply::Failed(failure.kind),
        }
    }

    async fn ask(
        &self,
        client: &PushClient,
        request: Request<Full<Bytes>>,
    ) -> Result<RawReply, Failure> {
        let asked = tokio::time::timeout(self.clients.request_timeout(), client.request(request));
        match asked.await {
            Ok(Ok(response)) => {
                Served::note(response.extensions());
                Ok(read(response).await)
            }
            Ok(Err(error)) => {
                let kind = push_failure(&error, self.clients.proxied());
                let stale = kind == TransportFailure::Reset && is_stale(&error);
                Err(Failure { kind, stale })
            }
            Err(_) => Err(Failure {
                kind: TransportFailure::Timeout,
                stale: false,
            }),
        }
    }

    fn request(&self, notification: &Notification) -> Option<Request<Full<Bytes>>> {
        let push = &notification.push;
        let uri = Bytes::copy_from_slice(notification.uri.expose().as_bytes());
        let mut request = Request::new(Full::new(push.payload.bytes().clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from_maybe_shared(uri).ok()?;
        let headers = request.headers_mut();
        headers.clone_from(&self.constant);
        headers.insert(AUTHORIZATION, notification.bearer.header().clone());
        for (name, value) in push.varying_headers() {
            // The HTTP library states the length of a body that it knows.
            if name == CONTENT_LENGTH.as_str() {
                continue;
            }
            let value = match value {
                request::HeaderValue::Text(text) => HeaderValue::from_str(text).ok()?,
                request::HeaderValue::Number(number) => HeaderValue::from(number),
            };
            headers.insert(HeaderName::from_static(name), value);
        }
        Some(request)
    }

    /// The first client with room; a further one when all are busy.
    fn place(&self) -> Place {
        let mut lanes = self.pooled.borrow_mut();
        let free = lanes
            .iter()
            .find(|lane| lane.in_flight.get() < CLIENT_STREAMS);
        if let Some(lane) = free {
            return Place::take(lane);
        }
        if lanes.len() < CLIENTS_MAX
            && let Ok(client) = self.clients.for_pushes(POOLED)
        {
            let lane = Lane::new(client);
            lanes.push(lane.clone());
            return Place::take(&lane);
        }
        let least = lanes.iter().min_by_key(|lane| lane.in_flight.get());
        Place::take(least.expect("there is a client from the start"))
    }
}

#[async_trait(?Send)]
impl Wns for WnsSender {
    async fn send(&self, notification: Notification, now: Timestamp) -> Answer {
        // The stored URI may be older than the configuration.
        if !notification.uri.permits(&self.policy) {
            return refused(&notification.uri);
        }
        let reply = self.exchange(&notification).await;
        let outcome = classify(&reply, now);
        Answer {
            outcome,
            trace: reply.into_detail(),
        }
    }
}

impl Lane {
    fn new(client: PushClient) -> Rc<Self> {
        let in_flight = Cell::new(0);
        Rc::new(Self { client, in_flight })
    }
}

impl Place {
    fn take(lane: &Rc<Lane>) -> Self {
        lane.in_flight.set(lane.in_flight.get() + 1);
        Self(lane.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get() - 1);
    }
}

fn refused(uri: &ChannelUri) -> Answer {
    let text = format!(
        "not sent: host {} is not allowed by the configuration",
        uri.host()
    );
    Answer {
        outcome: Outcome::OurFault {
            status: 0,
            description: Some(Text::from(text)),
        },
        trace: Trace::default(),
    }
}

async fn read(response: Response<Incoming>) -> RawReply {
    let headers = response.headers().iter();
    let headers = headers.map(|(name, value)| (name.as_str(), value.as_bytes()));
    let raw = RawReply::new(response.status().as_u16(), headers);
    // The head has said everything; a body that does not come costs its connection.
    tokio::time::timeout(DISCARD_MAX, discard(response.into_body()))
        .await
        .ok();
    raw
}

/// Read to its end the connection can be used again; what is longer than any answer of WNS costs its connection.
async fn discard(mut body: Incoming) {
    let mut left = DISCARD_BYTES_MAX;
    while !body.is_end_stream()
        && let Some(Ok(frame)) = body.frame().await
    {
        match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}
