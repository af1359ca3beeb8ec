//! Documents: all but those that end by themselves, since they tell of what only the source has done.

use super::{CopyError, Copying, PAGE, UNFINISHED};
use crate::ports::documents::Precondition;

/// What stays behind: saved answers of requests, how far webhooks have come (which is set anew), the reminder of a day.
const LEFT: [&str; 4] = ["answer/", "webhook-progress/", "expiry/told", UNFINISHED];

/// Whether a document goes with the fleet.
pub(super) fn goes(name: &str) -> bool {
    !LEFT.iter().any(|left| name.starts_with(left))
}

impl Copying {
    /// Copies documents. Where the target holds other tenants, what it knows of apps stands.
    pub(super) async fn documents(&self) -> Result<(), CopyError> {
        let mut cursor: Option<String> = None;
        loop {
            let page = self.source.list("", cursor.as_deref(), PAGE).await;
            let page = page.map_err(CopyError::source)?;
            for (name, document) in page.items.into_iter().filter(|(name, _)| goes(name)) {
                let precondition = match self.add {
                    true => Precondition::Absent,
                    false => Precondition::Any,
                };
                let put = self.target.put(&name, document.bytes, precondition, None);
                put.await.map_err(CopyError::target)?;
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }
}
