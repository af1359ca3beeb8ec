//! A request to a channel, from its bytes to its reply.

use std::time::Duration;

use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_LENGTH},
    request::Parts,
};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};

use super::{
    body::ReplyBody,
    channel::{Target, read_token},
    check::{self, MS_CV},
    clock::Moment,
    counters::{ReplyKind, Violation},
    device::Device,
    mix::{Purpose, draw},
    model::Notification,
    reply::{self, Ending, Envelope, Reply},
    server::{Aborted, Thread},
    world::Live,
};

/// A body is read up to here before it is refused, so that a client which is a little over the limit sees the reply.
const BODY_READ_MAX: usize = 64 * 1024;
/// How long a request without a reply is held before its connection is cut.
const SILENCE: Duration = Duration::from_mins(5);
/// Stands for the channel in draws for a request that has none.
const NOBODY: Target = Target {
    app: u16::MAX,
    device: 0,
    generation: 0,
};
/// Where the sandbox's redirects lead, so that it sees who follows them.
pub(crate) const REDIRECT_PATH: &str = "/sandbox/redirected";

/// Answers a request to a channel.
///
/// # Errors
/// [`Aborted`] when the connection shall be cut instead, or the client went away before all of its request was here: such a
/// request did not arrive and is not in the ledger.
pub(crate) async fn answer(
    thread: &Thread,
    parts: Parts,
    body: Incoming,
) -> Result<Response<ReplyBody>, Aborted> {
    let body_bytes = body_bytes(&parts.headers, body).await?;
    let live = thread.world.live.load();
    let decided = Arrival::of(thread, &live, &parts, body_bytes).decide();
    let spelling = live.behaviour.status_headers;
    drop(live);
    let reply = decided.reply;
    thread.shard().reply(reply.kind);
    let wait = decided.latency + reply.delay;
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
    match reply.ending {
        Ending::Answer | Ending::Html => {}
        Ending::Reset => return Err(Aborted),
        Ending::Silence => {
            tokio::time::sleep(SILENCE).await;
            return Err(Aborted);
        }
    }
    let envelope = Envelope {
        trace: &thread.trace,
        vector: parts.headers.get(MS_CV).cloned(),
        message: decided.message,
        spelling,
        redirect_to: thread.redirect_to(),
    };
    Ok(reply::write(&reply, envelope))
}

/// A request that has arrived completely.
struct Arrival<'a> {
    thread: &'a Thread,
    live: &'a Live,
    parts: &'a Parts,
    body_bytes: usize,
    now: Moment,
    /// Whom its channel reaches, if it is one.
    target: Option<Target>,
}

/// What is answered, and when.
struct Decided {
    reply: Reply,
    message: u64,
    latency: Duration,
}

impl<'a> Arrival<'a> {
    fn of(thread: &'a Thread, live: &'a Live, parts: &'a Parts, body_bytes: usize) -> Self {
        let token = parts
            .uri
            .query()
            .and_then(|query| query.strip_prefix("token="));
        Self {
            thread,
            live,
            parts,
            body_bytes,
            now: thread.world.clock.now(),
            target: token.and_then(|token| read_token(thread.world.seed, token.as_bytes())),
        }
    }

    fn decide(&self) -> Decided {
        let world = &self.thread.world;
        let admitted = self.admit();
        let before = admitted
            .as_ref()
            .map_or(0, |(_, device)| device.counts().arrived);
        let target = self.target.unwrap_or(NOBODY);
        let occasion = u64::from(before) << 1;
        Decided {
            message: draw(self.now.0, Purpose::MessageId, target.subject(), occasion),
            latency: self.live.behaviour.latency.pick(world.draw(
                Purpose::Latency,
                target,
                occasion,
            )),
            reply: match admitted {
                Ok((target, device)) => self.notify(target, device),
                Err(refusal) => *refusal,
            },
        }
    }

    /// Whether the caller may use the channel: method, token, channel, and that both belong to one app.
    fn admit(&self) -> Result<(Target, &'a Device), Box<Reply>> {
        let world = &self.thread.world;
        if self.parts.method != Method::POST {
            self.thread.shard().violation(Violation::Method);
            return Err(refusal(
                ReplyKind::MethodNotAllowed,
                StatusCode::METHOD_NOT_ALLOWED,
            ));
        }
        let unauthorized = || refusal(ReplyKind::Unauthorized, StatusCode::UNAUTHORIZED);
        let Some(bearer) = bearer(&self.parts.headers) else {
            self.thread.shard().violation(Violation::Authorization);
            return Err(unauthorized());
        };
        let app = world
            .tokens
            .verify(bearer, self.now)
            .ok_or_else(unauthorized)?;
        let not_found = || refusal(ReplyKind::NotFound, StatusCode::NOT_FOUND);
        let target = self.target.ok_or_else(not_found)?;
        let device = world.device(target).ok_or_else(not_found)?;
        if target.generation == 0 || target.generation > device.generation() {
            return Err(not_found());
        }
        if target.app != app {
            let incompatible = HeaderValue::from_static("Channel URL incompatible with caller app");
            let reply = Reply::with_status(ReplyKind::Forbidden, StatusCode::FORBIDDEN, "dropped");
            return Err(Box::new(reply.described(incompatible)));
        }
        Ok((target, device))
    }

    /// What becomes of a notification whose sender may use the channel.
    fn notify(&self, target: Target, device: &Device) -> Reply {
        let (world, shard) = (&self.thread.world, self.thread.shard());
        world.count_request(self.thread.index, target.app, self.now);
        let wish = match check::check(&self.parts.headers, self.body_bytes) {
            Ok(wish) => wish,
            Err(violation) => {
                shard.violation(violation);
                return violated(violation);
            }
        };
        if let Some(odd) = wish.odd {
            shard.violation(odd);
        }
        let notification = Notification {
            target,
            wish,
            now: self.now,
            before: device.arrive(self.now),
            shard: self.thread.index,
        };
        world.decide(self.live, device, &notification)
    }
}

fn refusal(kind: ReplyKind, code: StatusCode) -> Box<Reply> {
    Box::new(Reply::new(kind, code))
}

fn violated(violation: Violation) -> Reply {
    let (kind, code) = if violation == Violation::BodyTooLarge {
        (ReplyKind::TooLarge, StatusCode::PAYLOAD_TOO_LARGE)
    } else {
        (ReplyKind::BadRequest, StatusCode::BAD_REQUEST)
    };
    Reply::new(kind, code).described(check::description(violation))
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    headers
        .get(AUTHORIZATION)?
        .as_bytes()
        .strip_prefix(b"Bearer ")
}

/// The length of the body, which is read and forgotten.
async fn body_bytes(headers: &HeaderMap, mut body: Incoming) -> Result<usize, Aborted> {
    let declared = headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<usize>().ok())
        .unwrap_or(0);
    if declared > BODY_READ_MAX {
        return Ok(declared);
    }
    let mut bytes = 0;
    while bytes <= BODY_READ_MAX && !body.is_end_stream() {
        match body.frame().await {
            Some(Ok(frame)) => bytes += frame.data_ref().map_or(0, bytes::Bytes::len),
            Some(Err(_)) => return Err(Aborted),
            None => break,
        }
    }
    Ok(bytes)
}
