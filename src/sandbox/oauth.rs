//! The token endpoints: the classic one of login.live.com and the one of Microsoft Entra.
//!
//! Replies are those of the WNS docs and of recordings: a classic reply says `expires_in` as a number, an Entra reply as a
//! string; a refusal is a 400 with an OAuth error and, from login.live.com, `x-wlid-error`.

mod client;

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER},
    request::Parts,
};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use serde_json::json;

use self::client::{Refusal, prove, read_form};
use super::{
    body::ReplyBody,
    server::{Aborted, Thread},
    units::{Delay, Period},
    world::World,
};

/// How long a request without a reply is held before its connection is cut.
const SILENCE: Duration = Duration::from_mins(5);
const X_WLID_ERROR: HeaderName = HeaderName::from_static("x-wlid-error");

/// How the token endpoints answer; the body of `PATCH /sandbox/v1/token-endpoint`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenSettings {
    /// How long a token is valid.
    pub lifetime: Period,
    /// How the reply says so.
    pub expires_in: ExpiresIn,
    /// Whether the endpoints work.
    pub mode: TokenMode,
    /// Time before a reply.
    pub latency: Delay,
}

impl Default for TokenSettings {
    fn default() -> Self {
        Self {
            lifetime: Period(Duration::from_hours(24)),
            expires_in: ExpiresIn::Documented,
            mode: TokenMode::Normal,
            latency: Delay::NONE,
        }
    }
}

/// How a reply says how long its token is valid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExpiresIn {
    /// As a number by the classic endpoint, as a string by Entra.
    #[default]
    Documented,
    /// As a number.
    Number,
    /// As a string.
    String,
    /// Not at all.
    Absent,
}

/// Whether the token endpoints work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenMode {
    /// They do.
    #[default]
    Normal,
    /// The classic one refuses every client, as it refuses new ones since 2026.
    NoLongerSupported,
    /// Every client is refused with `unauthorized_client`, as when a secret has lapsed.
    UnauthorizedClient,
    /// 503 with `Retry-After: 5`.
    Unavailable,
    /// 503 with a page of HTML.
    Html,
    /// 429 with `Retry-After: 5`.
    TooManyRequests,
    /// No reply at all.
    Timeout,
    /// The connection is cut.
    Reset,
}

/// What the token endpoints did.
#[derive(Debug, Default)]
pub(crate) struct TokenCounts {
    pub(crate) issued: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) unavailable: AtomicU64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Flavour<'a> {
    Classic,
    Entra(&'a str),
}

/// Answers a request to the classic endpoint.
///
/// # Errors
/// [`Aborted`] when the connection shall be cut instead.
pub(crate) async fn classic(
    thread: &Thread,
    parts: Parts,
    body: Incoming,
) -> Result<Response<ReplyBody>, Aborted> {
    answer(thread, Flavour::Classic, &parts, body).await
}

/// Answers a request to the Entra endpoint of a directory.
///
/// # Errors
/// [`Aborted`] when the connection shall be cut instead.
pub(crate) async fn entra(
    thread: &Thread,
    directory: &str,
    parts: &Parts,
    body: Incoming,
) -> Result<Response<ReplyBody>, Aborted> {
    answer(thread, Flavour::Entra(directory), parts, body).await
}

async fn answer(
    thread: &Thread,
    flavour: Flavour<'_>,
    parts: &Parts,
    body: Incoming,
) -> Result<Response<ReplyBody>, Aborted> {
    let world = &thread.world;
    let form = read_form(parts, body).await;
    let settings = world.token_settings.load_full();
    let wait = settings.latency.pick(world.clock.now().0);
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
    if let Some(outage) = outage(settings.mode) {
        world.token_counts.unavailable.fetch_add(1, Relaxed);
        return Ok(outage);
    }
    if matches!(settings.mode, TokenMode::Timeout | TokenMode::Reset) {
        world.token_counts.unavailable.fetch_add(1, Relaxed);
        if settings.mode == TokenMode::Timeout {
            tokio::time::sleep(SILENCE).await;
        }
        return Err(Aborted);
    }
    let proven = form.and_then(|form| prove(world, flavour, settings.mode, &form));
    match proven {
        Ok(app) => {
            world.token_counts.issued.fetch_add(1, Relaxed);
            Ok(issue(world, flavour, &settings, app))
        }
        Err(refusal) => {
            world.token_counts.refused.fetch_add(1, Relaxed);
            Ok(refuse(flavour, &refusal))
        }
    }
}

fn issue(
    world: &World,
    flavour: Flavour<'_>,
    settings: &TokenSettings,
    app: u16,
) -> Response<ReplyBody> {
    let lifetime = settings.lifetime.0;
    let token = world.tokens.issue(app, world.clock.now(), lifetime);
    let classic = flavour == Flavour::Classic;
    let mut reply = if classic {
        json!({"token_type": "bearer", "access_token": token})
    } else {
        json!({"token_type": "Bearer", "access_token": token})
    };
    // Entra names one second less than the token lives.
    let seconds = if classic {
        lifetime.as_secs()
    } else {
        lifetime.as_secs().saturating_sub(1)
    };
    match (settings.expires_in, classic) {
        (ExpiresIn::Absent, _) => {}
        (ExpiresIn::Number, _) | (ExpiresIn::Documented, true) => {
            reply["expires_in"] = json!(seconds)
        }
        (ExpiresIn::String, _) | (ExpiresIn::Documented, false) => {
            reply["expires_in"] = json!(seconds.to_string())
        }
    }
    if !classic && settings.expires_in != ExpiresIn::Absent {
        let now = world.clock.wall(world.clock.now()).as_second();
        reply["ext_expires_in"] = json!(seconds.to_string());
        reply["not_before"] = json!(now.to_string());
        reply["expires_on"] = json!(now.saturating_add_unsigned(seconds).to_string());
    }
    json_reply(StatusCode::OK, &reply)
}

fn refuse(flavour: Flavour<'_>, refusal: &Refusal) -> Response<ReplyBody> {
    let mut body = json!({"error": refusal.error, "error_description": refusal.description});
    if let Flavour::Entra(_) = flavour {
        let code: String = refusal
            .description
            .chars()
            .skip_while(|c| !c.is_ascii_digit())
            .take_while(char::is_ascii_digit)
            .collect();
        body["error_codes"] = json!(code.parse::<u64>().into_iter().collect::<Vec<_>>());
    }
    let mut response = json_reply(refusal.status, &body);
    if let Some(code) = refusal.wlid {
        response
            .headers_mut()
            .insert(X_WLID_ERROR, HeaderValue::from_static(code));
    }
    response
}

fn outage(mode: TokenMode) -> Option<Response<ReplyBody>> {
    let (status, html) = match mode {
        TokenMode::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, false),
        TokenMode::Html => (StatusCode::SERVICE_UNAVAILABLE, true),
        TokenMode::TooManyRequests => (StatusCode::TOO_MANY_REQUESTS, false),
        TokenMode::Normal
        | TokenMode::NoLongerSupported
        | TokenMode::UnauthorizedClient
        | TokenMode::Timeout
        | TokenMode::Reset => return None,
    };
    let mut response = Response::new(ReplyBody::Empty);
    *response.status_mut() = status;
    if html {
        let page = b"<!DOCTYPE html><html><body><h1>We're sorry, the service is unavailable.</h1></body></html>";
        *response.body_mut() = ReplyBody::Text(Bytes::from_static(page));
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    } else {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from_static("5"));
    }
    Some(response)
}

fn json_reply(status: StatusCode, body: &serde_json::Value) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::Text(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
