//! Pages over all shards, one shard after the other.

use super::errors::damaged;
use crate::ports::{error::StoreError, records::Page};

/// Where a scan is: a shard and a position of the server's in it.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) shard: usize,
    pub(super) at: u64,
}

/// Fills a page from the shards in turn. `part` reads on at a place and returns the server's next position, 0 at the end.
pub(super) async fn fill<T, F>(
    cursor: Option<&str>,
    shards: usize,
    limit: usize,
    part: impl Fn(Place) -> F,
) -> Result<Page<T>, StoreError>
where
    F: Future<Output = Result<(u64, Vec<T>), StoreError>>,
{
    let mut place = read_cursor(cursor, shards)?;
    let mut items = Vec::new();
    loop {
        let (at, mut found) = part(place).await?;
        items.append(&mut found);
        place.at = at;
        if at == 0 {
            place.shard += 1;
        }
        if place.shard == shards {
            return Ok(Page { items, next: None });
        }
        if items.len() >= limit {
            let next = Some(format!("{}.{}", place.shard, place.at));
            return Ok(Page { items, next });
        }
    }
}

fn read_cursor(cursor: Option<&str>, shards: usize) -> Result<Place, StoreError> {
    let Some(cursor) = cursor else {
        return Ok(Place { shard: 0, at: 0 });
    };
    let parts = cursor.split_once('.');
    let place = parts.and_then(|(shard, at)| {
        let (shard, at) = (shard.parse().ok()?, at.parse().ok()?);
        Some(Place { shard, at })
    });
    place
        .filter(|place| place.shard < shards)
        .ok_or_else(|| damaged("unknown cursor"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pages_go_through_all_shards_and_skip_empty_ones() {
        // given ten shards of which two hold something, in parts of one
        let part = |place: Place| async move {
            Ok(match (place.shard, place.at) {
                (3, 0) => (7, vec!["a"]),
                (3, 7) => (0, vec!["b"]),
                (8, 0) => (0, vec!["c"]),
                _ => (0, vec![]),
            })
        };
        // when they are paged by two
        let first = fill(None, 10, 2, part).await.unwrap();
        let second = fill(first.next.as_deref(), 10, 2, part).await.unwrap();
        // then each is found once and the second page is the last
        assert_eq!((first.items, second.items), (vec!["a", "b"], vec!["c"]));
        assert_eq!(second.next, None);
    }

    #[tokio::test]
    async fn a_cursor_that_is_none_is_refused() {
        let part = |_| async { Ok((0, Vec::<()>::new())) };
        for cursor in ["", "1", "10.0", "-1.0", "1.x"] {
            assert!(fill(Some(cursor), 10, 2, part).await.is_err(), "{cursor}");
        }
    }
}
