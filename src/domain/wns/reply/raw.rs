//! The parts of an HTTP answer that the broker reads: its status and ten headers, as bounded text.

use crate::domain::wns::text::Text;

/// Words WNS is known to send; they are kept without an allocation.
const KNOWN_WORDS: [&str; 8] = [
    "received",
    "dropped",
    "channelthrottled",
    "appthrottled",
    "revoked",
    "connected",
    "disconnected",
    "tempdisconnected",
];

/// An HTTP answer: the status, and the headers that mean something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawReply {
    /// The HTTP status code, whatever it is.
    pub status: u16,
    /// `Retry-After`, unread.
    pub retry_after: Option<Text>,
    /// `X-WNS-CONTINUE-AFTER`, unread.
    pub continue_after: Option<Text>,
    /// `WWW-Authenticate`, sent with a 401.
    pub www_authenticate: Option<Text>,
    /// The rest, kept for support.
    pub trace: Trace,
}

/// What WNS said beside its verdict. `MS-CV`, message id and debug trace are "required when reporting an issue" (Microsoft).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// `X-WNS-Status`, as sent.
    pub status: Option<Text>,
    /// `X-WNS-NotificationStatus`, the older name of the same; both are sent today (field observation).
    pub notification_status: Option<Text>,
    /// `X-WNS-DeviceConnectionStatus`: whether WNS sees the device, if it was asked.
    pub device_status: Option<Text>,
    /// `X-WNS-Error-Description`.
    pub description: Option<Text>,
    /// `X-WNS-Msg-ID`.
    pub msg_id: Option<Text>,
    /// `X-WNS-Debug-Trace`: in practice the name of the machine that answered.
    pub debug_trace: Option<Text>,
    /// `MS-CV`: ours, or one that WNS made.
    pub ms_cv: Option<Text>,
}

/// Why no answer was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransportFailure {
    /// Nothing within the request's time.
    Timeout,
    /// The connection could not be opened.
    Connect,
    /// The host's name was not resolved.
    Dns,
    /// The TLS handshake failed, or the certificate is not trusted.
    Tls,
    /// The connection broke after it had been opened.
    Reset,
    /// The egress proxy refused or failed.
    Proxy,
    /// What came was not HTTP.
    Protocol,
}

impl RawReply {
    /// Reads an answer. Names are matched in any case, values may be any bytes; of a header that is repeated the first one
    /// with a value counts.
    pub fn new<'a, I>(status: u16, headers: I) -> Self
    where
        I: IntoIterator<Item = (&'a str, &'a [u8])>,
    {
        let mut reply = Self {
            status,
            ..Self::default()
        };
        for (name, value) in headers {
            let Some(slot) = reply.slot(name) else {
                continue;
            };
            if slot.is_none() {
                *slot = read(value);
            }
        }
        reply
    }

    fn slot(&mut self, name: &str) -> Option<&mut Option<Text>> {
        let trace = &mut self.trace;
        [
            ("x-wns-status", &mut trace.status),
            ("x-wns-notificationstatus", &mut trace.notification_status),
            ("x-wns-deviceconnectionstatus", &mut trace.device_status),
            ("x-wns-error-description", &mut trace.description),
            ("x-wns-msg-id", &mut trace.msg_id),
            ("x-wns-debug-trace", &mut trace.debug_trace),
            ("ms-cv", &mut trace.ms_cv),
            ("retry-after", &mut self.retry_after),
            ("x-wns-continue-after", &mut self.continue_after),
            ("www-authenticate", &mut self.www_authenticate),
        ]
        .into_iter()
        .find_map(|(known, slot)| name.eq_ignore_ascii_case(known).then_some(slot))
    }
}

fn read(value: &[u8]) -> Option<Text> {
    let value = value.trim_ascii();
    if let Some(word) = KNOWN_WORDS.iter().find(|word| word.as_bytes() == value) {
        return Some(Text::known(word));
    }
    let text = Text::lossy(value);
    (!text.as_str().is_empty()).then_some(text)
}
