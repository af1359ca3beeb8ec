//! Follows an event feed live, as server-sent events (WHATWG HTML, "Server-sent events").
//!
//! A stream holds one read of the feed in memory. It ends when the broker closes; the caller goes on elsewhere with the id of
//! the last event.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use actix_web::{
    HttpResponse,
    http::header,
    web::{Bytes, BytesMut},
};
use futures_util::stream;
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::{
    call::Call,
    events::{READ_MAX, failed},
    gate::Permit,
    problem::Problem,
    state::State,
};
use crate::{
    domain::id::TenantId,
    ports::feed::{After, Cursor, Entry},
};

/// A silent stream says something this often, so that proxies keep it open and dead callers are noticed.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Least time between two reads of the feed for one stream: busy feeds are read in larger pieces.
const READ_PAUSE: Duration = Duration::from_millis(20);
/// How soon a caller should come again, in milliseconds.
const RETRY_MS: u32 = 2000;

/// One live stream.
struct Follower {
    state: Arc<State>,
    tenant: TenantId,
    cursor: Cursor,
    appended: watch::Receiver<u64>,
    /// What was read before the answer began.
    first: Option<Vec<Entry>>,
    _permit: Permit,
}

/// Begins to follow a feed.
///
/// # Errors
/// What the first read says: a cursor that is too old, or a store that is away.
pub(super) async fn follow(
    call: &Call,
    tenant: TenantId,
    after: After,
) -> Result<HttpResponse, Problem> {
    let state = call.state.clone().into_inner();
    let permit = state.gate.stream(call.caller.name())?;
    let mut appended = state.desk.store.appended();
    appended.mark_unchanged();
    let read = state.desk.store.events(&tenant, &after, READ_MAX).await;
    let (events, cursor) = read.map_err(|e| failed(e, &tenant))?;
    let follower = Follower {
        state,
        tenant,
        cursor,
        appended,
        first: Some(events),
        _permit: permit,
    };
    let mut response = HttpResponse::Ok();
    response.content_type("text/event-stream");
    response.insert_header((header::CACHE_CONTROL, "no-store"));
    // Asks nginx not to hold events back.
    response.insert_header(("x-accel-buffering", "no"));
    Ok(response.streaming(stream::try_unfold(follower, Follower::next)))
}

impl Follower {
    /// The next piece of the stream; `None` when the broker closes.
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, Problem> {
        if let Some(events) = self.first.take() {
            let mut text = BytesMut::new();
            writeln!(text, "retry: {RETRY_MS}").ok();
            if events.is_empty() {
                // The id alone: a caller that hears nothing more still knows where to go on.
                writeln!(text, "id: {}", self.cursor.0).ok();
            }
            text.extend_from_slice(b"\n");
            write_all(&mut text, &events);
            return Ok(Some((text.freeze(), self)));
        }
        let heartbeat = Instant::now() + HEARTBEAT;
        let closing = self.state.closing.clone();
        loop {
            let after = After::Cursor(self.cursor.clone());
            let store = &self.state.desk.store;
            let read = store.events(&self.tenant, &after, READ_MAX).await;
            let (events, cursor) = read.map_err(|e| failed(e, &self.tenant))?;
            self.cursor = cursor;
            if !events.is_empty() {
                let mut text = BytesMut::new();
                write_all(&mut text, &events);
                return Ok(Some((text.freeze(), self)));
            }
            tokio::select! {
                () = closing.cancelled() => return Ok(None),
                () = sleep_until(heartbeat) => {
                    return Ok(Some((Bytes::from_static(b": still here\n\n"), self)));
                }
                changed = self.appended.changed() => {
                    if changed.is_err() {
                        return Ok(None);
                    }
                    sleep(READ_PAUSE).await;
                }
            }
        }
    }
}

fn write_all(text: &mut BytesMut, events: &[Entry]) {
    for event in events {
        writeln!(text, "id: {}", event.id.0).ok();
        if let Some(kind) = event.kind() {
            writeln!(text, "event: {kind}").ok();
        }
        text.extend_from_slice(b"data: ");
        event.write(text);
        text.extend_from_slice(b"\n\n");
    }
}
