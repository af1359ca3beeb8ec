//! What consoles send, as JSON: read and proven in one place, whether it comes by HTTP or through a stream.

pub mod channel;
pub mod check_in;
pub mod json;
pub mod push;

use crate::domain::id::DeviceId;

/// A field that is well formed and cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Its name.
    pub field: &'static str,
    /// Why; repeats no value that may be secret.
    pub detail: String,
}

impl Wrong {
    fn new(field: &'static str, detail: impl ToString) -> Self {
        Self {
            field,
            detail: detail.to_string(),
        }
    }
}

/// Proves the field `device`.
fn device(text: &json::Text<'_>) -> Result<DeviceId, Wrong> {
    DeviceId::new(text.as_str()).map_err(|error| Wrong::new("device", error))
}
