//! Pages of lists: an opaque cursor, a limit, and where to go on.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::problem::Problem;
use crate::ports::{error::StoreError, records::Page};

/// Entries on a page that names no limit.
const LIMIT_DEFAULT: usize = 100;
/// Most entries on a page.
const LIMIT_MAX: usize = 1000;

/// Where a page begins and how long it is.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PageQuery {
    pub(super) cursor: Option<String>,
    pub(super) limit: Option<usize>,
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PageBody<T> {
    /// The entries; may be none although there are more pages.
    pub items: Vec<T>,
    /// The `cursor` of the next page; null on the last one.
    pub next_cursor: Option<String>,
}

impl PageQuery {
    /// The limit, within its bounds.
    ///
    /// # Errors
    /// A problem that names the parameter.
    pub(super) fn limit(&self) -> Result<usize, Problem> {
        match self.limit {
            None => Ok(LIMIT_DEFAULT),
            Some(limit) if (1..=LIMIT_MAX).contains(&limit) => Ok(limit),
            Some(_) => Err(Problem::parameter(
                "limit",
                format!("limit is a number from 1 to {LIMIT_MAX}"),
            )),
        }
    }

    /// The store's cursor, if it was given out for the list `name`.
    ///
    /// # Errors
    /// A problem that names the parameter.
    pub(super) fn store_cursor(&self, name: &str) -> Result<Option<String>, Problem> {
        let Some(text) = &self.cursor else {
            return Ok(None);
        };
        let inner = URL_SAFE_NO_PAD.decode(text).ok();
        let inner = inner.and_then(|bytes| String::from_utf8(bytes).ok());
        let cursor = inner.and_then(|t| {
            let (list, cursor) = t.split_once('\n')?;
            (list == name).then(|| cursor.to_owned())
        });
        cursor.map(Some).ok_or_else(bad_cursor)
    }
}

/// The body of a page of the list `name`.
pub(super) fn body<S, T>(name: &str, page: Page<S>, view: impl Fn(S) -> T) -> PageBody<T> {
    let cursor = |store: String| URL_SAFE_NO_PAD.encode(format!("{name}\n{store}"));
    PageBody {
        items: page.items.into_iter().map(view).collect(),
        next_cursor: page.next.map(cursor),
    }
}

/// A page of a list that is at hand whole, `name`d like its cursors, in the order of its keys; all of it if no limit is given.
///
/// # Errors
/// A problem that names the parameter.
pub(super) fn of_whole<T>(
    name: &str,
    query: &PageQuery,
    mut items: Vec<T>,
    key: impl Fn(&T) -> &str,
) -> Result<PageBody<T>, Problem> {
    items.sort_by(|a, b| key(a).cmp(key(b)));
    if let Some(after) = query.store_cursor(name)? {
        items.retain(|item| key(item) > after.as_str());
    }
    let limit = query.limit.map_or(Ok(items.len()), |_| query.limit())?;
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items
        .last()
        .filter(|_| more)
        .map(|last| key(last).to_owned());
    Ok(body(name, Page { items, next }, |item| item))
}

/// A failed read of a page: a cursor that the store does not know is the caller's fault.
pub(super) fn failed(error: StoreError, query: &PageQuery) -> Problem {
    match error {
        StoreError::Damaged { .. } if query.cursor.is_some() => bad_cursor(),
        StoreError::Damaged { .. }
        | StoreError::Unavailable { .. }
        | StoreError::Full { .. }
        | StoreError::Fenced => error.into(),
    }
}

fn bad_cursor() -> Problem {
    Problem::parameter("cursor", "the cursor is not one of this list")
}
