//! What a caller is told when a request cannot be served: one shape for everything (RFC 9457).

use std::{fmt, time::Duration};

use actix_web::{
    HttpResponse, ResponseError,
    http::{
        StatusCode,
        header::{self, HeaderValue},
    },
};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::ports::error::StoreError;

/// The media type of problems.
pub const PROBLEM_JSON: &str = "application/problem+json";
/// What every problem type begins with.
const TYPE_PREFIX: &str = "urn:reveille:problem:";
/// When an overloaded broker or a store without a word of its own is worth asking again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The kinds of problems; their names are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request cannot be read.
    Malformed,
    /// The request can be read, but a value breaks a rule.
    Invalid,
    /// No key, or none that is taken.
    Unauthorized,
    /// The key may not do this here.
    Forbidden,
    /// No such path.
    NoSuchPath,
    /// No such tenant.
    UnknownTenant,
    /// No such device.
    UnknownDevice,
    /// No such app.
    UnknownApp,
    /// No such campaign.
    UnknownCampaign,
    /// The thing asked for is not there.
    NotFound,
    /// The path is there, the method is not.
    MethodNotAllowed,
    /// The body came too slowly.
    Timeout,
    /// It cannot be done in this state.
    Conflict,
    /// A request with this idempotency key is being worked on.
    InProgress,
    /// The events after the cursor are no longer kept.
    CursorExpired,
    /// The body is longer than allowed.
    TooLarge,
    /// The body's media type or encoding is not one of those taken here.
    UnsupportedMediaType,
    /// The idempotency key was used with another request.
    KeyReused,
    /// Something failed that should not.
    Internal,
    /// The broker has as much in work as it may.
    Overloaded,
    /// The store cannot be reached.
    StoreUnavailable,
    /// The store has no room for new work.
    StoreFull,
}

impl Kind {
    /// Every kind, by status.
    pub const ALL: [Self; 22] = [
        Self::Malformed,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NoSuchPath,
        Self::UnknownTenant,
        Self::UnknownDevice,
        Self::UnknownApp,
        Self::UnknownCampaign,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Timeout,
        Self::Conflict,
        Self::InProgress,
        Self::CursorExpired,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::Invalid,
        Self::KeyReused,
        Self::Internal,
        Self::Overloaded,
        Self::StoreUnavailable,
        Self::StoreFull,
    ];

    /// Status, name and title.
    fn row(self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::Malformed => (S::BAD_REQUEST, "malformed", "the request cannot be read"),
            Self::Invalid => (S::UNPROCESSABLE_ENTITY, "invalid", "a value breaks a rule"),
            Self::Unauthorized => (S::UNAUTHORIZED, "unauthorized", "an API key is needed"),
            Self::Forbidden => (S::FORBIDDEN, "forbidden", "the API key does not allow this"),
            Self::NoSuchPath => (S::NOT_FOUND, "no-such-path", "there is no such path"),
            Self::UnknownTenant => (S::NOT_FOUND, "unknown-tenant", "there is no such tenant"),
            Self::UnknownDevice => (S::NOT_FOUND, "unknown-device", "there is no such device"),
            Self::UnknownApp => (S::NOT_FOUND, "unknown-app", "there is no such app"),
            Self::UnknownCampaign => (
                S::NOT_FOUND,
                "unknown-campaign",
                "there is no such campaign",
            ),
            Self::NotFound => (S::NOT_FOUND, "not-found", "there is no such thing"),
            Self::MethodNotAllowed => (
                S::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "the path does not take this method",
            ),
            Self::Timeout => (S::REQUEST_TIMEOUT, "timeout", "the body came too slowly"),
            Self::Conflict => (S::CONFLICT, "conflict", "this cannot be done now"),
            Self::InProgress => (
                S::CONFLICT,
                "in-progress",
                "the same request is in progress",
            ),
            Self::CursorExpired => (S::GONE, "cursor-expired", "the events are no longer kept"),
            Self::TooLarge => (S::PAYLOAD_TOO_LARGE, "too-large", "the body is too long"),
            Self::UnsupportedMediaType => (
                S::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-media-type",
                "the body is of a type that is not taken here",
            ),
            Self::KeyReused => (
                S::UNPROCESSABLE_ENTITY,
                "idempotency-key-reused",
                "the idempotency key belongs to another request",
            ),
            Self::Internal => (S::INTERNAL_SERVER_ERROR, "internal", "the broker failed"),
            Self::Overloaded => (S::SERVICE_UNAVAILABLE, "overloaded", "the broker is busy"),
            Self::StoreUnavailable => (
                S::SERVICE_UNAVAILABLE,
                "store-unavailable",
                "the store cannot be reached",
            ),
            Self::StoreFull => (S::INSUFFICIENT_STORAGE, "store-full", "the store is full"),
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(self) -> StatusCode {
        self.row().0
    }

    /// The whole type URI.
    #[must_use]
    pub fn type_uri(self) -> String {
        format!("{TYPE_PREFIX}{}", self.row().1)
    }

    /// One line for people, the same for every problem of the kind.
    #[must_use]
    pub fn title(self) -> &'static str {
        self.row().2
    }
}

/// One value of a request that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct InputError {
    /// JSON pointer into the body (RFC 6901), for example `/devices/3`; absent for what is not in the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// Name of the query parameter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// What is wrong with it.
    pub detail: String,
}

/// The body of every answer that is not a success.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// Names the kind of problem: `urn:reveille:problem:<name>`.
    #[serde(rename = "type")]
    pub type_uri: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened this time.
    pub detail: String,
    /// The values that cannot be taken, at most 1,000.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<InputError>,
    /// More, depending on the kind.
    #[serde(flatten)]
    #[schema(ignore)]
    pub more: Map<String, Value>,
}

/// A request that cannot be served, and why.
#[derive(Clone, Debug)]
pub struct Problem {
    kind: Kind,
    detail: String,
    errors: Vec<InputError>,
    more: Map<String, Value>,
    headers: Vec<(header::HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem of `kind`; `detail` says what happened this time, without secrets.
    #[must_use]
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            errors: Vec::new(),
            more: Map::new(),
            headers: Vec::new(),
        }
    }

    /// A value in the body that breaks a rule.
    #[must_use]
    pub fn invalid(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self::new(Kind::Invalid, detail.clone()).at(pointer, detail)
    }

    /// A query parameter that cannot be taken.
    #[must_use]
    pub fn parameter(name: impl Into<String>, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let mut problem = Self::new(Kind::Malformed, detail.clone());
        problem.errors.push(InputError {
            pointer: None,
            parameter: Some(name.into()),
            detail,
        });
        problem
    }

    /// Adds a value of the body that cannot be taken.
    #[must_use]
    pub fn at(mut self, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        self.errors.push(InputError {
            pointer: Some(pointer.into()),
            parameter: None,
            detail: detail.into(),
        });
        self
    }

    /// Adds a member to the body.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a header; a value that is none is left out.
    #[must_use]
    pub fn header(mut self, name: header::HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }

    /// Says when to try again, in whole seconds, at least one.
    #[must_use]
    pub fn retry_after(self, after: Duration) -> Self {
        let seconds = after.as_millis().div_ceil(1000).max(1);
        self.header(header::RETRY_AFTER, &seconds.to_string())
    }

    /// The broker has as much in work as it may.
    #[must_use]
    pub fn overloaded(what: &str) -> Self {
        Self::new(Kind::Overloaded, what).retry_after(RETRY_AFTER)
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Unavailable { retry_after, .. } => {
                let after = retry_after.unwrap_or(RETRY_AFTER);
                Self::new(Kind::StoreUnavailable, error.to_string()).retry_after(after)
            }
            StoreError::Full { .. } => Self::new(Kind::StoreFull, error.to_string()),
            StoreError::Damaged { .. } | StoreError::Fenced => {
                Self::new(Kind::Internal, error.to_string())
            }
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.title(), self.detail)
    }
}

impl std::error::Error for Problem {}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.kind.status()
    }

    fn error_response(&self) -> HttpResponse {
        let body = ProblemBody {
            type_uri: self.kind.type_uri(),
            title: self.kind.title().to_owned(),
            status: self.kind.status().as_u16(),
            detail: self.detail.clone(),
            errors: self.errors.clone(),
            more: self.more.clone(),
        };
        let mut response = HttpResponse::build(self.kind.status());
        for (name, value) in &self.headers {
            response.insert_header((name.clone(), value.clone()));
        }
        response.content_type(PROBLEM_JSON);
        response.body(serde_json::to_vec(&body).expect("a problem is plain JSON"))
    }
}
