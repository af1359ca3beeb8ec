//! Takes in request bodies: what type they are, how long they may be, and how slowly they may come.

use std::time::Duration;

use actix_web::{
    HttpRequest,
    error::PayloadError,
    http::header,
    web::{Bytes, BytesMut, Payload},
};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    call::Call,
    gate::Permit,
    json,
    problem::{Kind, Problem},
};
use crate::domain::counted::size;

/// Longest silence within a body.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Longest time for a whole JSON body; streams may take as long as they keep coming.
const JSON_TIME_MAX: Duration = Duration::from_secs(120);
/// What a streamed body may hold in memory at once, whatever its length.
pub(super) const STREAM_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Media types of a streamed body: one JSON object a line.
const NDJSON: [&str; 4] = [
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/jsonlines",
];

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// One JSON value.
    Json,
    /// One JSON object a line.
    Ndjson,
}

/// Says how the body is written, by its `Content-Type`.
///
/// # Errors
/// [`Kind::UnsupportedMediaType`] if it is none of `taken`, or is encoded.
pub(super) fn format(request: &HttpRequest, taken: &[Format]) -> Result<Format, Problem> {
    let text = |name| {
        let value = request.headers().get(name);
        value.map(|v| v.to_str().unwrap_or("?").trim().to_ascii_lowercase())
    };
    let refuse = |detail: String| {
        let accepted = taken.iter().map(|format| match format {
            Format::Json => "application/json",
            Format::Ndjson => NDJSON[0],
        });
        let accepted: Vec<&str> = accepted.collect();
        let detail = format!("{detail}; send {}", accepted.join(" or "));
        Problem::new(Kind::UnsupportedMediaType, detail)
            .header(header::ACCEPT, &accepted.join(", "))
    };
    if let Some(encoding) = text(header::CONTENT_ENCODING).filter(|e| e != "identity") {
        let name: String = encoding.chars().take(20).collect();
        return Err(refuse(format!("the body is encoded as {name}")));
    }
    let Some(content_type) = text(header::CONTENT_TYPE) else {
        return Err(refuse("the body has no content type".to_owned()));
    };
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let found = match essence {
        "application/json" => Some(Format::Json),
        other if NDJSON.contains(&other) => Some(Format::Ndjson),
        _ => None,
    };
    found
        .filter(|format| taken.contains(format))
        .ok_or_else(|| refuse("the body is of a type that is not taken here".to_owned()))
}

/// A body that comes in pieces.
pub(super) struct Pieces {
    payload: Payload,
    _permit: Permit,
}

impl Pieces {
    /// Begins a body of any length, against the budget of the caller.
    ///
    /// # Errors
    /// [`Kind::Overloaded`] before anything is read.
    pub(super) fn begin(call: &Call, payload: Payload) -> Result<Self, Problem> {
        let length = content_length(&call.request);
        let held = length.map_or(STREAM_BYTES_MAX, |n| n.min(STREAM_BYTES_MAX));
        let permit = call.state.gate.body(call.caller.name(), held)?;
        Ok(Self {
            payload,
            _permit: permit,
        })
    }

    /// The next piece; `None` when the body has come whole.
    ///
    /// # Errors
    /// [`Kind::Timeout`] after a silence, [`Kind::Malformed`] when the body broke off.
    ///
    /// # Cancel safety
    /// A dropped call loses nothing.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        match timeout(SILENCE_MAX, self.payload.next()).await {
            Ok(piece) => piece.transpose().map_err(|error| broken(&error)),
            Err(_) => Err(too_slow()),
        }
    }
}

/// A JSON body, and its part of the budget.
pub(super) struct Whole {
    /// The body.
    pub(super) bytes: Bytes,
    _permits: Vec<Permit>,
}

/// Takes in a call's JSON body, as long as the settings allow, and reads it.
///
/// # Errors
/// As [`format`], [`whole`] and [`json::parse`].
pub(super) async fn json<T: DeserializeOwned>(call: &Call, payload: Payload) -> Result<T, Problem> {
    format(&call.request, &[Format::Json])?;
    let max = call.state.settings.body_bytes_max;
    let whole = whole(call, payload, max, Longer::Never).await?;
    json::parse(&whole.bytes)
}

/// What a console can do with a body that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Longer {
    /// Stream it: the call takes NDJSON as well.
    Stream,
    /// Nothing.
    Never,
}

/// Takes in a body of at most `max` bytes.
///
/// # Errors
/// [`Kind::TooLarge`], [`Kind::Overloaded`], [`Kind::Timeout`], [`Kind::Malformed`].
pub(super) async fn whole(
    call: &Call,
    mut payload: Payload,
    max: usize,
    longer: Longer,
) -> Result<Whole, Problem> {
    let (gate, key) = (&call.state.gate, call.caller.name());
    let too_large = || {
        let cure = match longer {
            Longer::Stream => format!("; stream it as {}", NDJSON[0]),
            Longer::Never => String::new(),
        };
        let detail = format!("the body is longer than {}{cure}", size(max));
        Problem::new(Kind::TooLarge, detail)
    };
    let length = content_length(&call.request);
    if length.is_some_and(|length| length > max) {
        return Err(too_large());
    }
    let mut held = length.unwrap_or(0);
    let mut permits = vec![gate.body(key, held)?];
    let mut bytes = BytesMut::with_capacity(held.min(64 * 1024));
    let end = Instant::now() + JSON_TIME_MAX;
    loop {
        let next = timeout(SILENCE_MAX, payload.next());
        let Ok(Ok(next)) = timeout_at(end, next).await else {
            return Err(too_slow());
        };
        let Some(piece) = next else { break };
        let piece = piece.map_err(|error| broken(&error))?;
        if bytes.len() + piece.len() > max {
            return Err(too_large());
        }
        bytes.extend_from_slice(&piece);
        if bytes.len() > held {
            permits.push(gate.body(key, bytes.len() - held)?);
            held = bytes.len();
        }
    }
    Ok(Whole {
        bytes: bytes.freeze(),
        _permits: permits,
    })
}

fn content_length(request: &HttpRequest) -> Option<usize> {
    let value = request.headers().get(header::CONTENT_LENGTH)?;
    value.to_str().ok()?.parse().ok()
}

fn too_slow() -> Problem {
    Problem::new(Kind::Timeout, "nothing of the body came for too long")
}

fn broken(error: &PayloadError) -> Problem {
    Problem::new(Kind::Malformed, format!("the body broke off: {error}"))
}
