//! A decided reply and how it looks on the wire, header by header as WNS sends them.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{
        ALLOW, CONTENT_TYPE, LOCATION, RETRY_AFTER, STRICT_TRANSPORT_SECURITY, WWW_AUTHENTICATE,
    },
};

use super::{behaviour::StatusHeaders, body::ReplyBody, check::MS_CV, counters::ReplyKind};

const X_WNS_STATUS: HeaderName = HeaderName::from_static("x-wns-status");
const X_WNS_NOTIFICATION_STATUS: HeaderName = HeaderName::from_static("x-wns-notificationstatus");
const X_WNS_DEVICE_CONNECTION_STATUS: HeaderName =
    HeaderName::from_static("x-wns-deviceconnectionstatus");
const X_WNS_ERROR_DESCRIPTION: HeaderName = HeaderName::from_static("x-wns-error-description");
const X_WNS_MSG_ID: HeaderName = HeaderName::from_static("x-wns-msg-id");
const X_WNS_DEBUG_TRACE: HeaderName = HeaderName::from_static("x-wns-debug-trace");
const X_WNS_CONTINUE_AFTER: HeaderName = HeaderName::from_static("x-wns-continue-after");
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000; includeSubDomains");

/// A page as a proxy on the way would send it.
const HTML: &[u8] = b"<html><head><title>503 Service Unavailable</title></head><body><h1>Service Unavailable</h1></body></html>";

/// What is answered to a request to a channel.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) kind: ReplyKind,
    pub(crate) code: StatusCode,
    /// The status headers' value.
    pub(crate) status: Option<HeaderValue>,
    /// `X-WNS-DeviceConnectionStatus`.
    pub(crate) connection: Option<&'static str>,
    pub(crate) description: Option<HeaderValue>,
    pub(crate) retry_after: Option<HeaderValue>,
    pub(crate) continue_after: Option<HeaderValue>,
    /// Beside the latency.
    pub(crate) delay: Duration,
    pub(crate) ending: Ending,
}

/// How the exchange ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With the reply.
    Answer,
    /// With the reply and a page of HTML in it, without any WNS header.
    Html,
    /// With the connection cut.
    Reset,
    /// Never.
    Silence,
}

impl Reply {
    pub(crate) fn new(kind: ReplyKind, code: StatusCode) -> Self {
        Self {
            kind,
            code,
            status: None,
            connection: None,
            description: None,
            retry_after: None,
            continue_after: None,
            delay: Duration::ZERO,
            ending: Ending::Answer,
        }
    }

    /// A reply that carries a status header.
    pub(crate) fn with_status(kind: ReplyKind, code: StatusCode, status: &'static str) -> Self {
        Self {
            status: Some(HeaderValue::from_static(status)),
            ..Self::new(kind, code)
        }
    }

    pub(crate) fn described(mut self, description: HeaderValue) -> Self {
        self.description = Some(description);
        self
    }
}

/// What every reply of one thread has, and what one request brings.
pub(crate) struct Envelope<'a> {
    /// The machine that answers.
    pub(crate) trace: &'a HeaderValue,
    /// The correlation vector of the request.
    pub(crate) vector: Option<HeaderValue>,
    /// Drawn for this request.
    pub(crate) message: u64,
    pub(crate) spelling: StatusHeaders,
    /// Where a redirect leads.
    pub(crate) redirect_to: &'a str,
}

/// Writes a reply.
pub(crate) fn write(reply: &Reply, envelope: Envelope<'_>) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::Empty);
    *response.status_mut() = reply.code;
    let mut headers = HeaderMap::with_capacity(12);
    if reply.ending == Ending::Html {
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=us-ascii"),
        );
        *response.body_mut() = ReplyBody::Text(Bytes::from_static(HTML));
        *response.headers_mut() = headers;
        return response;
    }
    write_status(reply, envelope.spelling, &mut headers);
    if let Some(connection) = reply.connection {
        headers.insert(
            X_WNS_DEVICE_CONNECTION_STATUS,
            HeaderValue::from_static(connection),
        );
    }
    write_rare(reply, envelope.redirect_to, &mut headers);
    headers.insert(X_WNS_MSG_ID, upper_hex(envelope.message));
    headers.insert(X_WNS_DEBUG_TRACE, envelope.trace.clone());
    headers.insert(
        MS_CV,
        envelope
            .vector
            .unwrap_or_else(|| new_vector(envelope.message)),
    );
    headers.insert(STRICT_TRANSPORT_SECURITY, HSTS);
    *response.headers_mut() = headers;
    response
}

fn write_status(reply: &Reply, spelling: StatusHeaders, headers: &mut HeaderMap) {
    let Some(status) = &reply.status else {
        return;
    };
    if matches!(
        spelling,
        StatusHeaders::Both | StatusHeaders::NotificationStatus
    ) {
        headers.insert(X_WNS_NOTIFICATION_STATUS, status.clone());
    }
    if matches!(spelling, StatusHeaders::Both | StatusHeaders::Status) {
        headers.insert(X_WNS_STATUS, status.clone());
    }
}

fn write_rare(reply: &Reply, redirect_to: &str, headers: &mut HeaderMap) {
    let rare = [
        (X_WNS_ERROR_DESCRIPTION, &reply.description),
        (RETRY_AFTER, &reply.retry_after),
        (X_WNS_CONTINUE_AFTER, &reply.continue_after),
    ];
    for (name, value) in rare {
        if let Some(value) = value {
            headers.insert(name, value.clone());
        }
    }
    if reply.code == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if reply.code == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("POST"));
    }
    if reply.code.is_redirection()
        && let Ok(location) = HeaderValue::from_str(redirect_to)
    {
        headers.insert(LOCATION, location);
    }
}

/// Upper-case hexadecimal without leading zeros, as in `X-WNS-Msg-ID`.
fn upper_hex(value: u64) -> HeaderValue {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut text = [b'0'; 16];
    for (at, digit) in text.iter_mut().enumerate() {
        *digit = DIGITS[(value >> (60 - 4 * at)) as usize & 15];
    }
    let zeros = (value.leading_zeros() as usize / 4).min(15);
    HeaderValue::from_bytes(&text[zeros..]).expect("hexadecimal digits are a header value")
}

/// A correlation vector of the sandbox's own, for a request that has none.
fn new_vector(message: u64) -> HeaderValue {
    let mut base = [0_u8; 16];
    base[..8].copy_from_slice(&message.to_le_bytes());
    base[8..].copy_from_slice(&message.rotate_left(29).to_be_bytes());
    let mut text = STANDARD.encode(base);
    text.truncate(22);
    text.push_str(".0");
    HeaderValue::try_from(text).expect("base64 is a header value")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_ids_are_upper_hex_without_padding() {
        assert_eq!(upper_hex(0x331F_A2FC_1F35_0267), "331FA2FC1F350267");
        assert_eq!(upper_hex(0x0AB), "AB");
        assert_eq!(upper_hex(0), "0");
    }

    #[test]
    fn a_vector_of_its_own_has_the_documented_shape() {
        let vector = new_vector(0x1234_5678_9ABC_DEF0);
        assert_eq!(vector.len(), 24);
        assert!(vector.to_str().unwrap().ends_with(".0"));
    }
}
