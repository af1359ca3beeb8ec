//! Requests with an `Idempotency-Key` are done once: a repeat gets the answer of the first.
//!
//! The digest of the body is taken while it streams by, so nothing is held in memory. Only successes are kept: a request that
//! failed may be repeated with the same key.

use std::{
    cell::RefCell,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use actix_web::{
    HttpMessage, HttpResponse,
    body::{BoxBody, MessageBody, to_bytes},
    dev::{Payload, ServiceRequest, ServiceResponse},
    error::PayloadError,
    http::{StatusCode, header},
    middleware::Next,
    web::Bytes,
};
use futures_util::{Stream, StreamExt};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::{
    call::Caller,
    problem::{Kind, Problem},
    route::state_of,
};
use crate::{
    ports::{documents::Documents, error::StoreError},
    service::idempotency::{Answer, Begin, MARK_REFRESH, Mark, RequestName, begin},
};

/// The header that names a request.
const HEADER: &str = "idempotency-key";
/// Tells that an answer is that of an earlier request.
const REPLAYED: &str = "idempotency-replayed";
/// Longest key in bytes.
const KEY_BYTES_MAX: usize = 255;
/// When a request in progress is worth asking for again.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// Longest silence within a body that is only read for its digest.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// What becomes of a request whose key cannot be kept because the store is full.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unkept {
    Refused,
    Served,
}

/// Serves a request once.
pub(super) async fn once(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    keyed(request, next, Unkept::Refused).await
}

/// Serves a request once, or without its key if the store is too full to keep it.
pub(super) async fn once_if_kept(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    keyed(request, next, Unkept::Served).await
}

async fn keyed(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
    unkept: Unkept,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let Some(name) = name_of(&request)? else {
        return Ok(next.call(request).await?.map_into_boxed_body());
    };
    let documents: Arc<dyn Documents> = state_of(&request)?.desk.store.clone();
    let begun = match begin(documents, name).await {
        Err(StoreError::Full { .. }) if unkept == Unkept::Served => {
            return Ok(next.call(request).await?.map_into_boxed_body());
        }
        begun => begun.map_err(Problem::from)?,
    };
    let query = request.query_string().to_owned();
    let body = Digested::new(request.take_payload(), &query);
    let mark = match begun {
        Begin::Fresh(mark) => mark,
        Begin::InProgress => return Err(in_progress().into()),
        Begin::Answered(answer) => {
            let answer = replay(answer, &body).await?;
            return Ok(request.into_response(answer));
        }
    };
    request.set_payload(Payload::Stream {
        payload: Box::pin(body.clone()),
    });
    let mut guard = Guard(Some(mark));
    let served = serve(next.call(request), &mut guard).await;
    let response = match served {
        Ok(response) if response.status().is_success() => response,
        failed => return Ok(failed?.map_into_boxed_body()),
    };
    let status = response.status().as_u16();
    let (request, response) = response.into_parts();
    let (head, answer) = response.into_parts();
    let answer = to_bytes(answer).await.map_err(|error| {
        let error: Box<dyn std::error::Error> = error.into();
        Problem::new(Kind::Internal, format!("the answer broke off: {error}"))
    })?;
    if let (Ok(digest), Some(mark)) = (body.finish().await, guard.0.take()) {
        let kept = Answer {
            status,
            digest,
            body: answer.clone(),
        };
        // What was done is durable; without the kept answer a repeat is merged into it.
        mark.answer(&kept).await.ok();
    }
    let response = head.set_body(answer).map_into_boxed_body();
    Ok(ServiceResponse::new(request, response))
}

fn name_of(request: &ServiceRequest) -> Result<Option<RequestName>, Problem> {
    let mut values = request.headers().get_all(HEADER);
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        let detail = "Idempotency-Key is there more than once; keep one";
        return Err(Problem::new(Kind::Malformed, detail));
    }
    let key = value.to_str().unwrap_or_default();
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        let detail = format!("Idempotency-Key is 1 to {KEY_BYTES_MAX} printable ASCII characters");
        return Err(Problem::new(Kind::Malformed, detail));
    }
    let caller = request.extensions().get::<Caller>().cloned();
    let caller = caller.ok_or_else(|| Problem::new(Kind::Internal, "nobody was recognised"))?;
    let parts = [
        caller.name(),
        request.method().as_str(),
        request.path(),
        key,
    ];
    Ok(Some(RequestName::new(&parts)))
}

/// Waits for the answer and prolongs the mark meanwhile.
async fn serve<B>(
    served: impl Future<Output = Result<ServiceResponse<B>, actix_web::Error>>,
    guard: &mut Guard,
) -> Result<ServiceResponse<B>, actix_web::Error> {
    let mut ticks = interval_at(Instant::now() + MARK_REFRESH, MARK_REFRESH);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut served = std::pin::pin!(served);
    loop {
        tokio::select! {
            response = &mut served => return response,
            _ = ticks.tick() => {
                if let Some(mark) = &mut guard.0 {
                    // If it lapses, a repeat is done anew and merges.
                    mark.prolong().await.ok();
                }
            }
        }
    }
}

async fn replay(answer: Answer, body: &Digested) -> Result<HttpResponse, Problem> {
    if body.finish().await? != answer.digest {
        let detail = "the key was used for a request with another body or query";
        return Err(Problem::new(Kind::KeyReused, detail));
    }
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let mut response = HttpResponse::build(status);
    response.insert_header((REPLAYED, "true"));
    if answer.body.is_empty() {
        return Ok(response.finish());
    }
    response.insert_header((header::CONTENT_TYPE, "application/json"));
    Ok(response.body(answer.body))
}

fn in_progress() -> Problem {
    let detail = "a request with this key is being worked on";
    Problem::new(Kind::InProgress, detail).retry_after(RETRY_AFTER)
}

/// Gives a mark up when the request ends without an answer to keep, also when the caller hung up.
struct Guard(Option<Mark>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(mark) = self.0.take() {
            // If this fails too, the mark lapses within a minute.
            actix_web::rt::spawn(async move { mark.give_up().await.ok() });
        }
    }
}

/// A body whose digest is taken while somebody reads it.
#[derive(Clone)]
struct Digested(Rc<RefCell<Reading>>);

struct Reading {
    payload: Payload,
    ended: bool,
    hash: Sha256,
}

impl Digested {
    fn new(payload: Payload, query: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update((query.len() as u64).to_be_bytes());
        hash.update(query.as_bytes());
        Self(Rc::new(RefCell::new(Reading {
            payload,
            ended: false,
            hash,
        })))
    }

    /// Reads what nobody has read, and tells the digest.
    async fn finish(&self) -> Result<String, Problem> {
        let mut rest = self.clone();
        loop {
            match timeout(SILENCE_MAX, rest.next()).await {
                Ok(Some(Ok(_))) => {}
                Ok(None) => break,
                Ok(Some(Err(error))) => {
                    let detail = format!("the body broke off: {error}");
                    return Err(Problem::new(Kind::Malformed, detail));
                }
                Err(_) => {
                    let detail = "nothing of the body came for too long";
                    return Err(Problem::new(Kind::Timeout, detail));
                }
            }
        }
        Ok(format!("{:x}", self.0.borrow().hash.clone().finalize()))
    }
}

impl Stream for Digested {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut reading = self.0.borrow_mut();
        if reading.ended {
            return Poll::Ready(None);
        }
        let piece = Pin::new(&mut reading.payload).poll_next(context);
        match &piece {
            Poll::Ready(Some(Ok(bytes))) => reading.hash.update(bytes),
            Poll::Ready(Some(Err(_)) | None) => reading.ended = true,
            Poll::Pending => {}
        }
        piece
    }
}
