//! The event feed of a tenant: read in pieces, or followed live.

use std::collections::VecDeque;

use actix_web::{
    HttpResponse,
    http::{Method, header},
    web::{Bytes, BytesMut},
};
use futures_util::stream;
use serde::Deserialize;

use super::{
    call::Call,
    live,
    problem::{Kind, Problem, ProblemBody},
    route::{Endpoint, Entry},
    state::State,
};
use crate::{
    domain::{api_key::Scope, id::TenantId},
    ports::feed::{After, Cursor, Entry as FeedEntry, FeedError},
};

/// Events in an answer that names no limit.
const LIMIT_DEFAULT: usize = 1000;
/// Most events in one answer.
const LIMIT_MAX: usize = 100_000;
/// Events read from the store at a time.
pub(super) const READ_MAX: usize = 512;
/// Longest cursor in bytes.
const CURSOR_BYTES_MAX: usize = 1024;
/// The header that tells where to go on.
const NEXT_CURSOR: &str = "next-cursor";

pub(super) fn endpoints() -> Vec<Endpoint> {
    let path = "/v1/tenants/{tenant}/events";
    vec![Endpoint::new(Entry::Bounded, Method::GET, path, get)]
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EventsQuery {
    after: Option<String>,
    limit: Option<usize>,
}

/// Reads the events after a cursor as NDJSON; with `Accept: text/event-stream` follows them live.
#[utoipa::path(
    get, path = "/v1/tenants/{tenant}/events", tag = "events", operation_id = "get_events",
    params(
        ("tenant" = String, Path),
        ("after" = Option<String>, Query, description = "id of the last event that was read, oldest (default) or newest"),
        ("limit" = Option<usize>, Query, description = "1 to 100000, default 1000; not for live streams"),
        ("Last-Event-ID" = Option<String>, Header, description = "with a live stream: wins over after"),
    ),
    responses(
        (status = 200, description = "one event a line", content((String = "application/x-ndjson"), (String = "text/event-stream"))),
        (status = 410, body = ProblemBody, content_type = "application/problem+json", description = "the cursor is older than what is kept"),
        (status = "default", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn get(call: Call) -> Result<HttpResponse, Problem> {
    let tenant = call.tenant(Scope::Read).await?;
    let query: EventsQuery = call.query()?;
    let headers = call.request.headers();
    let live = headers.get_all(header::ACCEPT).any(|value| {
        let value = value.to_str().unwrap_or_default();
        value.split(',').any(|part| {
            let essence = part.split(';').next().unwrap_or_default();
            essence.trim().eq_ignore_ascii_case("text/event-stream")
        })
    });
    let last_seen = headers.get("last-event-id").filter(|_| live);
    let after = match last_seen {
        Some(id) => Some(id.to_str().unwrap_or_default().to_owned()),
        None => query.after,
    };
    let after = place(after)?;
    if live {
        return live::follow(&call, tenant.id, after).await;
    }
    let limit = query.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        let detail = format!("limit is a number from 1 to {LIMIT_MAX}");
        return Err(Problem::parameter("limit", detail));
    }
    read(&call, tenant.id, after, limit).await
}

fn place(after: Option<String>) -> Result<After, Problem> {
    match after.as_deref() {
        None | Some("" | "oldest") => Ok(After::Oldest),
        Some("newest") => Ok(After::Newest),
        Some(text) if text.len() > CURSOR_BYTES_MAX => Err(unknown_cursor()),
        Some(text) => Ok(After::Cursor(Cursor(text.to_owned()))),
    }
}

/// Reads in pieces; the first one before the answer begins, so that it can still be a problem.
async fn read(
    call: &Call,
    tenant: TenantId,
    after: After,
    limit: usize,
) -> Result<HttpResponse, Problem> {
    let store = call.state.desk.store.clone();
    let first = limit.min(READ_MAX);
    let (mut events, mut cursor) = store
        .events(&tenant, &after, first)
        .await
        .map_err(|e| failed(e, &tenant))?;
    let mut pieces = VecDeque::from([ndjson(&events)]);
    let mut left = limit - events.len();
    // A short answer is given whole, with its cursor in a header; a long one is streamed and its last line has the cursor.
    while left > 0 && !events.is_empty() && pieces.len() < 4 {
        let after = After::Cursor(cursor.clone());
        let more = store.events(&tenant, &after, left.min(READ_MAX)).await;
        (events, cursor) = more.map_err(|e| failed(e, &tenant))?;
        left -= events.len();
        pieces.push_back(ndjson(&events));
    }
    let ended = left == 0 || events.is_empty();
    let mut response = HttpResponse::Ok();
    response.content_type("application/x-ndjson");
    if ended {
        response.insert_header((NEXT_CURSOR, cursor.0));
        let whole: BytesMut = pieces.iter().flat_map(|p| p.iter().copied()).collect();
        return Ok(response.body(whole.freeze()));
    }
    let state = call.state.clone().into_inner();
    let reader = Reader {
        state,
        tenant,
        cursor,
        left,
        pieces,
    };
    Ok(response.streaming(stream::try_unfold(reader, Reader::next)))
}

/// A long answer on its way.
struct Reader {
    state: std::sync::Arc<State>,
    tenant: TenantId,
    cursor: Cursor,
    left: usize,
    pieces: VecDeque<Bytes>,
}

impl Reader {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, Problem> {
        if let Some(piece) = self.pieces.pop_front() {
            return Ok(Some((piece, self)));
        }
        if self.left == 0 {
            return Ok(None);
        }
        let after = After::Cursor(self.cursor.clone());
        let limit = self.left.min(READ_MAX);
        let store = &self.state.desk.store;
        let more = store.events(&self.tenant, &after, limit).await;
        let (events, cursor) = more.map_err(|e| failed(e, &self.tenant))?;
        if events.is_empty() {
            return Ok(None);
        }
        self.cursor = cursor;
        self.left -= events.len().min(self.left);
        Ok(Some((ndjson(&events), self)))
    }
}

fn ndjson(events: &[FeedEntry]) -> Bytes {
    let mut text = BytesMut::with_capacity(events.iter().map(|e| e.json.len() + 64).sum());
    for event in events {
        event.write(&mut text);
        text.extend_from_slice(b"\n");
    }
    text.freeze()
}

/// Why the feed could not be read.
pub(super) fn failed(error: FeedError, tenant: &TenantId) -> Problem {
    match error {
        FeedError::Store(error) => error.into(),
        FeedError::UnknownCursor => unknown_cursor(),
        FeedError::Trimmed => {
            let devices = format!("/v1/tenants/{tenant}/devices");
            let detail = "events after the cursor are no longer kept: read the devices anew, then go on with after=oldest";
            Problem::new(Kind::CursorExpired, detail)
                .header(header::LINK, &format!("<{devices}>; rel=\"alternate\""))
                .with("resynchronise", devices)
                .with(
                    "oldest",
                    format!("/v1/tenants/{tenant}/events?after=oldest"),
                )
        }
    }
}

fn unknown_cursor() -> Problem {
    Problem::parameter("after", "the cursor is not one of this feed")
}
