//! Where a span belongs: the trace, and the span above it. It travels in `traceparent` headers and with an ask.
//!
//! Only traces that are recorded are kept with an ask; what is not sampled leaves nothing behind.

use std::{fmt, num::NonZeroU64, num::NonZeroU128};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// Length of `version-trace id-parent id-flags` in a `traceparent` header.
const TRACEPARENT_LEN: usize = 55;
/// The bit of the flags that says that the caller records the trace.
const SAMPLED: u8 = 1;
/// The version that the specification forbids.
const VERSION_INVALID: u8 = 0xff;

/// A trace, and the span under which the next one belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace: NonZeroU128,
    span: NonZeroU64,
}

/// What a `traceparent` header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// Where the caller's span is.
    pub context: TraceContext,
    /// Whether the caller records the trace.
    pub sampled: bool,
}

impl TraceContext {
    /// A context of these ids, as their bytes; none if one of them is all zero, which means no id.
    #[must_use]
    pub fn new(trace: [u8; 16], span: [u8; 8]) -> Option<Self> {
        Some(Self {
            trace: NonZeroU128::new(u128::from_be_bytes(trace))?,
            span: NonZeroU64::new(u64::from_be_bytes(span))?,
        })
    }

    /// The trace's id.
    #[must_use]
    pub fn trace_id(self) -> [u8; 16] {
        self.trace.get().to_be_bytes()
    }

    /// The id of the span above.
    #[must_use]
    pub fn span_id(self) -> [u8; 8] {
        self.span.get().to_be_bytes()
    }

    /// The trace's id as logs and tracing systems show it: 32 hexadecimal digits.
    #[must_use]
    pub fn trace_text(self) -> String {
        format!("{:032x}", self.trace)
    }

    /// Reads what [`Display`](fmt::Display) writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (trace, span) = text.split_once('-')?;
        Self::new(
            hex(trace, 32)?.to_be_bytes(),
            u64::try_from(hex(span, 16)?).ok()?.to_be_bytes(),
        )
    }
}

/// Trace and span in hexadecimal digits, with a dash between.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}-{:016x}", self.trace, self.span)
    }
}

/// As it is shown.
impl Serialize for TraceContext {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TraceContext {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("no trace and span"))
    }
}

impl TraceParent {
    /// Reads a header as the W3C's Trace Context says; none for what it calls invalid, which is then ignored. Of versions to
    /// come the known part is read.
    #[must_use]
    pub fn parse(header: &str) -> Option<Self> {
        let known = header.get(..TRACEPARENT_LEN)?;
        let rest = &header[TRACEPARENT_LEN..];
        let mut parts = known.splitn(2, '-');
        let version = u8::try_from(hex(parts.next()?, 2)?).ok()?;
        let (context, flags) = parts.next()?.rsplit_once('-')?;
        let flags = u8::try_from(hex(flags, 2)?).ok()?;
        let ends = if version == 0 {
            rest.is_empty()
        } else {
            rest.is_empty() || rest.starts_with('-')
        };
        (ends && version != VERSION_INVALID).then_some(Self {
            context: TraceContext::parse(context)?,
            sampled: flags & SAMPLED != 0,
        })
    }
}

/// A number of exactly so many digits; capital letters are not allowed.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let valid = text.len() == digits
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    valid.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[test]
    fn headers_are_read_as_the_w3c_says() {
        let known = TraceContext::parse(&format!("{TRACE}-{SPAN}"));
        assert!(known.is_some());
        for (header, sampled) in [
            (format!("00-{TRACE}-{SPAN}-01"), Some(true)),
            (format!("00-{TRACE}-{SPAN}-00"), Some(false)),
            // The second bit says that the trace id is random; it is not about recording.
            (format!("00-{TRACE}-{SPAN}-03"), Some(true)),
            (format!("00-{TRACE}-{SPAN}-02"), Some(false)),
            // A version to come may have more.
            (format!("01-{TRACE}-{SPAN}-01"), Some(true)),
            (format!("01-{TRACE}-{SPAN}-01-more"), Some(true)),
            (format!("01-{TRACE}-{SPAN}-01more"), None),
            (format!("00-{TRACE}-{SPAN}-01-more"), None),
            (format!("00-{TRACE}-{SPAN}-01 "), None),
            (format!("ff-{TRACE}-{SPAN}-01"), None),
            (format!("00-{}-{SPAN}-01", TRACE.to_uppercase()), None),
            (format!("00-{}-{SPAN}-01", "0".repeat(32)), None),
            (format!("00-{TRACE}-{}-01", "0".repeat(16)), None),
            (format!("00-{TRACE}-{SPAN}"), None),
            (format!("00-{TRACE}-{SPAN}-0g"), None),
            (format!("00-+{}-{SPAN}-01", &TRACE[1..]), None),
            (format!("00-{}-{SPAN}0-01", &TRACE[1..]), None),
            (String::new(), None),
            ("\u{e4}".repeat(60), None),
        ] {
            let read = TraceParent::parse(&header);
            assert_eq!(read.map(|parent| parent.sampled), sampled, "{header}");
            assert_eq!(
                read.map(|parent| parent.context),
                known.filter(|_| sampled.is_some()),
                "{header}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(trace in 1_u128.., span in 1_u64..) {
            let context = TraceContext::new(trace.to_be_bytes(), span.to_be_bytes()).unwrap();
            let text = context.to_string();
            prop_assert_eq!(TraceContext::parse(&text), Some(context));
            prop_assert_eq!(&text[..32], context.trace_text());
            let json = serde_json::to_string(&context).unwrap();
            prop_assert_eq!(serde_json::from_str::<TraceContext>(&json).ok(), Some(context));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            drop(format!("{:?} {:?}", TraceParent::parse(&text), TraceContext::parse(&text)));
        }
    }
}
