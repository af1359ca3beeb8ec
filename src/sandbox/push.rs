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
    check::{self, BODY_BYTES_MAX, MS_CV},
    clock::Moment,
    counters::{ReplyKind, Violation},
    device::Device,
    mix::Purpose,
    model::Notification,
    reply::{self, Ending, Envelope, Reply},
    server::{Aborted, Thread},
    world::Live,
};

/// A body is read up to here before it is refused, so that a client which is a little over the limit sees the reply.
const BODY_READ_MAX: usize = 64 * 1024;
/// How long a request without a reply is held before its connection is cut.
const SILENCE: Duration = Duration::from_mins(5);
/// Where the sandbox's redirects lead, so that it sees who follows them.
pub(crate) const REDIRECT_PATH: &str = "/sandbox/redirected";

/// Answers a request to a channel.
///
/// # Errors
/// [`Aborted`] when the connection shall be cut instead.
pub(crate) async fn answer(
    thread: &Thread,
    parts: Parts,
    body: Incoming,
) -> Result<Response<ReplyBody>, Aborted> {
    let body_bytes = body_bytes(&parts.headers, body).await;
    let world = &thread.world;
    let now = world.clock.now();
    let live = world.live.load();
    let token = parts
        .uri
        .query()
        .and_then(|query| query.strip_prefix("token="));
    let target = token.and_then(|token| read_token(world.seed, token.as_bytes()));
    let decided = judge(thread, &live, &parts, (target, body_bytes, now));
    let Decided {
        reply,
        message,
        latency,
    } = decided;
    thread.shard().reply(reply.kind);
    let spelling = live.behaviour.status_headers;
    drop(live);
    let wait = latency + reply.delay;
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
        message,
        spelling,
        redirect_to: thread.redirect_to(),
    };
    Ok(reply::write(&reply, envelope))
}

struct Decided {
    reply: Reply,
    message: u64,
    latency: Duration,
}

fn judge(
    thread: &Thread,
    live: &Live,
    parts: &Parts,
    found: (Option<Target>, usize, Moment),
) -> Decided {
    let (target, body_bytes, now) = found;
    let world = &thread.world;
    let admitted = admit(thread, parts, target, now);
    let before = admitted.as_ref().map_or(0, |(target, _)| {
        world
            .device(*target)
            .map_or(0, |device| device.counts().arrived)
    });
    let subject = target.unwrap_or(Target {
        app: u16::MAX,
        device: 0,
        generation: 0,
    });
    let occasion = u64::from(before) << 1;
    Decided {
        message: super::mix::draw(now.0, Purpose::MessageId, subject.subject(), occasion),
        latency: live
            .behaviour
            .latency
            .pick(world.draw(Purpose::Latency, subject, occasion)),
        reply: match admitted {
            Ok((target, device)) => notify(
                thread,
                live,
                &parts.headers,
                (target, device, body_bytes, now),
            ),
            Err(refusal) => *refusal,
        },
    }
}

/// Whether the caller may use the channel: method, token, channel, and that both belong to one app.
fn admit<'a>(
    thread: &'a Thread,
    parts: &Parts,
    target: Option<Target>,
    now: Moment,
) -> Result<(Target, &'a Device), Box<Reply>> {
    let world = &thread.world;
    if parts.method != Method::POST {
        thread.shard().violation(Violation::Method);
        return Err(Box::new(Reply::new(
            ReplyKind::MethodNotAllowed,
            StatusCode::METHOD_NOT_ALLOWED,
        )));
    }
    let unauthorized = || {
        Box::new(Reply::new(
            ReplyKind::Unauthorized,
            StatusCode::UNAUTHORIZED,
        ))
    };
    let Some(bearer) = bearer(&parts.headers) else {
        thread.shard().violation(Violation::Authorization);
        return Err(unauthorized());
    };
    let app = world.tokens.verify(bearer, now).ok_or_else(unauthorized)?;
    let not_found = || Box::new(Reply::new(ReplyKind::NotFound, StatusCode::NOT_FOUND));
    let target = target.ok_or_else(not_found)?;
    let device = world.device(target).ok_or_else(not_found)?;
    if target.generation > device.generation() {
        return Err(not_found());
    }
    if target.app != app {
        let incompatible = HeaderValue::from_static("Channel URL incompatible with caller app");
        let reply = Reply::with_status(ReplyKind::Forbidden, StatusCode::FORBIDDEN, "dropped");
        return Err(Box::new(reply.described(incompatible)));
    }
    Ok((target, device))
}

fn notify(
    thread: &Thread,
    live: &Live,
    headers: &HeaderMap,
    to: (Target, &Device, usize, Moment),
) -> Reply {
    let (target, device, body_bytes, now) = to;
    thread.world.count_request(thread.index, target.app, now);
    let wish = match check::check(headers, body_bytes) {
        Ok(wish) => wish,
        Err(violation) => {
            thread.shard().violation(violation);
            let (kind, code) = match violation {
                Violation::BodyTooLarge => (ReplyKind::TooLarge, StatusCode::PAYLOAD_TOO_LARGE),
                _ => (ReplyKind::BadRequest, StatusCode::BAD_REQUEST),
            };
            return Reply::new(kind, code).described(check::description(violation));
        }
    };
    if let Some(odd) = wish.odd {
        thread.shard().violation(odd);
    }
    let notification = Notification {
        target,
        wish,
        now,
        before: device.arrive(now),
        shard: thread.index,
    };
    thread.world.decide(live, device, &notification)
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    headers
        .get(AUTHORIZATION)?
        .as_bytes()
        .strip_prefix(b"Bearer ")
}

/// The length of the body, which is read and forgotten.
async fn body_bytes(headers: &HeaderMap, mut body: Incoming) -> usize {
    let declared = headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<usize>().ok())
        .unwrap_or(0);
    if declared > BODY_READ_MAX {
        return declared;
    }
    let mut bytes = 0;
    while bytes <= BODY_READ_MAX.max(BODY_BYTES_MAX) && !body.is_end_stream() {
        match body.frame().await {
            Some(Ok(frame)) => bytes += frame.data_ref().map_or(0, bytes::Bytes::len),
            Some(Err(_)) | None => break,
        }
    }
    bytes
}
