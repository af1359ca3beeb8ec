//! The text of a record, readable with the store's own tools.
//!
//! ```text
//! 1|<last check-in>
//! c|<generation>|<state>|<first seen>|<last seen>|<uri>[|<earlier uri>]
//! a|<at>|<outcome>|<reached>|<msg id>|<debug trace>|<ms-cv>
//! p|<opened>|<attempts>|<failures>|<accepted>|<next>[|<repeated>]
//! k|<source>|<class>|<goal>|<opened>|<deadline>|<phase>|<held>|<attempts before>|<wave>|<reason>[|<trace>-<span>]
//! z|<opened>|<closed>|<attempts>|<source>|<reason>|<ask opened>|<ask closed>
//! ```
//! Times are milliseconds since the epoch; a line is absent when its part is. `p` is followed by one `k` an ask. Free texts
//! are percent-encoded where they would break a line. A record that does not parse is an error, never a guess. The
//! earlier URI is its fingerprint and its first seen in seconds, 32 bits each, in eleven characters of base64. An ask has a trace only if it is
//! recorded, which few are, and a push says when it was repeated only if it was. Readers that do not know these last fields pass over them.

mod read;
mod write;

pub use read::{DamagedRecord, decode};
pub use write::encode;

use super::{ClosedAsk, ClosedPush, DeviceRecord, LastAttempt, Push};
use crate::domain::ask::Goal;

/// Version that every record begins with.
const VERSION: &str = "1";

fn goal_text(goal: Goal) -> &'static str {
    match goal {
        Goal::Accepted => "a",
        Goal::CheckIn => "c",
    }
}

#[cfg(test)]
mod tests;
