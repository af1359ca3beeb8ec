//! What a token endpoint's answer means.

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::{
    AccessToken, EXPIRES_IN_DEFAULT, EXPIRES_IN_MAX, EXPIRES_IN_MIN, TOKEN_REPLY_BYTES_MAX,
};
use crate::domain::wns::{
    reply::{RETRY_AFTER_MAX, RETRY_AFTER_MIN, TransportFailure, UnavailableKind},
    retry_after,
    text::Text,
};

/// The codes of a refused request for a token (RFC 6749 §5.2, and §4.1.2.1 for the last), with any status; others come with
/// 400 or 401.
const CODES: [&str; 7] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "access_denied",
];

/// A token and how long it is good for.
#[derive(Clone, Debug)]
pub struct TokenReply {
    /// The token.
    pub access_token: AccessToken,
    /// Its life from now, 60 s to 24 h.
    pub expires_in: Duration,
}

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFailure {
    /// The endpoint refuses this identity: someone has to mend the configuration.
    #[error("the token endpoint refused the credential: {error}: {description}")]
    Credential {
        /// The OAuth error code.
        error: Text,
        /// The endpoint's words.
        description: Text,
    },
    /// The endpoint gave no usable answer: ask again later.
    #[error("the token endpoint is unavailable: {kind}")]
    Unavailable {
        /// What went wrong.
        kind: TokenOutage,
        /// How long it asks to wait, 1 s to 24 h, if it said so.
        retry_after: Option<Duration>,
    },
}

/// Why a token endpoint's answer is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenOutage {
    /// No answer, or a status that says nothing about the credential.
    #[error("{}", describe(*.0))]
    Transport(UnavailableKind),
    /// A success without a token that fits a header.
    #[error("its answer holds no usable token")]
    Unreadable,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    token_type: Option<String>,
    expires_in: Option<Value>,
}

#[derive(Deserialize)]
struct Refused {
    error: String,
    #[serde(default)]
    error_description: Option<String>,
}

/// Reads an answer: its status, its `Retry-After` if it has one, and up to [`TOKEN_REPLY_BYTES_MAX`] bytes of its body.
///
/// # Errors
/// [`TokenFailure::Credential`] for a refusal in OAuth's form (RFC 6749 §5.2), [`TokenFailure::Unavailable`] for all else.
pub fn parse_reply(
    status: u16,
    retry_after: Option<&str>,
    body: &[u8],
    now: Timestamp,
) -> Result<TokenReply, TokenFailure> {
    let wait = retry_after
        .and_then(|value| retry_after::parse(value, now))
        .map(|wait| wait.clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX));
    let unavailable = |kind| TokenFailure::Unavailable {
        kind,
        retry_after: wait,
    };
    match status {
        200..=299 => granted(body).ok_or_else(|| unavailable(TokenOutage::Unreadable)),
        // Timeout and throttling are 4xx that pass.
        408 | 429 => Err(unavailable(http(status))),
        400..=499 => Err(refused(status, body).unwrap_or_else(|| unavailable(http(status)))),
        0..=199 | 300..=399 | 500..=u16::MAX => Err(unavailable(http(status))),
    }
}

impl TokenFailure {
    /// What an operator can do about it.
    #[must_use]
    pub fn cure(&self) -> &'static str {
        match self {
            Self::Credential { error, description } => cure(error.as_str(), description.as_str()),
            Self::Unavailable { .. } => "nothing to mend here: the broker asks again, pushes wait",
        }
    }
}

impl From<TransportFailure> for TokenFailure {
    fn from(failure: TransportFailure) -> Self {
        Self::Unavailable {
            kind: TokenOutage::Transport(failure.into()),
            retry_after: None,
        }
    }
}

const fn http(status: u16) -> TokenOutage {
    TokenOutage::Transport(UnavailableKind::Http { status })
}

fn describe(kind: UnavailableKind) -> String {
    match kind {
        UnavailableKind::Http { status } => format!("it answered {status}"),
        UnavailableKind::Timeout
        | UnavailableKind::Connect
        | UnavailableKind::Dns
        | UnavailableKind::Tls
        | UnavailableKind::Reset
        | UnavailableKind::Proxy
        | UnavailableKind::Protocol => format!("no answer ({})", kind.label()),
    }
}

fn granted(body: &[u8]) -> Option<TokenReply> {
    let granted: Granted = json(body)?;
    // The classic endpoint says "bearer", Entra "Bearer", some answers nothing.
    if granted
        .token_type
        .is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer"))
    {
        return None;
    }
    Some(TokenReply {
        access_token: AccessToken::new(&granted.access_token)?,
        expires_in: granted.expires_in.as_ref().map_or(EXPIRES_IN_DEFAULT, life),
    })
}

/// `expires_in` is a number in one endpoint and a string in the other; what is neither says nothing.
fn life(expires_in: &Value) -> Duration {
    let seconds = match expires_in {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    match seconds {
        Some(seconds) if seconds.is_finite() => Duration::from_secs_f64(
            seconds.clamp(EXPIRES_IN_MIN.as_secs_f64(), EXPIRES_IN_MAX.as_secs_f64()),
        ),
        Some(_) | None => EXPIRES_IN_DEFAULT,
    }
}

/// A refusal in OAuth's form. The codes that mean an outage are none, nor is what a gateway says in words of its own.
fn refused(status: u16, body: &[u8]) -> Option<TokenFailure> {
    // The description may be in any language and, from some gateways, in any encoding.
    let body = String::from_utf8_lossy(body);
    let refused: Refused = json(body.as_bytes())?;
    let error = refused.error.as_str();
    let is_code = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let passes = matches!(error, "" | "server_error" | "temporarily_unavailable");
    let known = CODES.contains(&error) || matches!(status, 400 | 401);
    let refuses = known && !passes && error.bytes().all(is_code);
    refuses.then(|| TokenFailure::Credential {
        error: Text::from(refused.error),
        description: Text::from(refused.error_description.unwrap_or_default()),
    })
}

fn json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Option<T> {
    let readable = body.len() <= TOKEN_REPLY_BYTES_MAX;
    readable
        .then(|| serde_json::from_slice(body).ok())
        .flatten()
}

/// The causes that operators met (field observation); numbers are Entra's, which may change, so the code is the fallback.
fn cure(error: &str, description: &str) -> &'static str {
    let says = |words: &str| description.contains(words);
    if says("no longer supported") {
        return "login.live.com refuses this identity as too new for the classic flow: use an identity that it still serves, or Entra credentials if the channels accept them";
    }
    if says("AADSTS7000222") {
        return "the client secret has expired: make a new one in the app registration and configure it beside the old one";
    }
    if says("AADSTS7000215") {
        return "the client secret is wrong: configure the secret's value, not its id";
    }
    if says("AADSTS700016") || says("AADSTS90002") {
        return "the application or the tenant is not known to Entra: compare client_id and tenant_id with the app registration";
    }
    if says("AADSTS9002346") || says("AADSTS9002332") {
        return "this is a Microsoft account identity: configure its package SID and secret instead of Entra credentials";
    }
    match error {
        "invalid_client" => {
            "the package SID or the secret is wrong or has expired: compare both with the app registration"
        }
        "unauthorized_client" => {
            "the secret has expired or the app is disabled: make a new secret in the app registration"
        }
        "invalid_scope" => {
            "the endpoint does not serve WNS: check token_url, and whether the identity is classic or Entra"
        }
        _ => "compare the identity with its app registration; the endpoint's words say more",
    }
}
