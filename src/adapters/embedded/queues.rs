//! The queues port.

use std::ops::Bound;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::broadcast;

use super::{
    EmbeddedStore,
    batch::key_of,
    due::Entry,
    fetch::{fetch_all, fetch_readable},
    records::{PAGE_MAX, unknown_cursor},
    state::write_park,
};
use crate::{
    domain::{
        id::{DeviceId, DeviceKey},
        queue::Queue,
    },
    ports::{
        error::StoreError,
        queues::{Claimed, Held, Queues, Ready, Selector, Wake, Want},
        records::{Lease, Page, Stored, Urgency},
    },
};

#[async_trait]
impl Queues for EmbeddedStore {
    async fn ready(&self) -> Result<Vec<Ready>, StoreError> {
        let all = self.look_at_queues()?.into_iter();
        let in_service = all.filter(|(_, _, parked)| !parked);
        Ok(in_service.map(|(ready, _, _)| ready).collect())
    }

    async fn claim(&self, wants: &[Want]) -> Result<Vec<Claimed>, StoreError> {
        self.shared.side()?;
        let moment = self.shared.moment();
        let (mut held, mut found) = (Vec::new(), Vec::new());
        {
            let mut state = self.shared.state();
            for want in wants {
                let Some(queue) = state.due.find(&want.queue) else {
                    continue;
                };
                for taken in state.claim(queue, want.limit, moment) {
                    let (queue, token) = (want.queue.clone(), taken.token);
                    held.push((taken.key, Lease { queue, token }));
                    found.push(Some(taken.found));
                }
            }
        }
        let records = fetch_readable(found).await?;
        let claimed = held.into_iter().zip(records.into_iter().flatten());
        let claimed = claimed.map(|((key, lease), stored)| Claimed { key, lease, stored });
        Ok(claimed.collect())
    }

    async fn hand_back(
        &self,
        claims: Vec<(DeviceKey, Lease, Timestamp)>,
    ) -> Result<(), StoreError> {
        self.shared.side()?;
        let moment = self.shared.moment();
        let mut state = self.shared.state();
        state.clock.observe(moment);
        for (key, lease, at) in claims {
            let due_ms = state.clock.due_ms(at);
            state.hand_back(key_of(&key), lease.token, due_ms, moment.instant);
        }
        let wakes = self.shared.wakes_of(&mut state);
        drop(state);
        self.shared.announce(wakes, &[]);
        Ok(())
    }

    fn wakes(&self) -> broadcast::Receiver<Wake> {
        self.shared.wakes.subscribe()
    }

    async fn park(&self, selector: &Selector) -> Result<(), StoreError> {
        self.set_parked(selector.clone(), true).await
    }

    async fn unpark(&self, selector: &Selector) -> Result<(), StoreError> {
        self.set_parked(selector.clone(), false).await
    }

    async fn browse(
        &self,
        queue: &Queue,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<(DeviceId, Stored)>, StoreError> {
        self.shared.side()?;
        let (ids, found, next) = {
            let state = self.shared.state();
            let after = match cursor {
                None => Bound::Unbounded,
                Some(cursor) => browse_place(cursor, state.opened)?,
            };
            let (mut entries, limit) = (Vec::new(), limit.clamp(1, PAGE_MAX));
            if let Some(id) = state.due.find(queue) {
                entries.extend(state.due.after(id, after).take(limit));
            }
            let last = entries.last().filter(|_| entries.len() == limit);
            let next = last.map(|(ms, number)| format!("{}.{ms}.{number}", state.opened));
            let numbers = entries.iter().map(|(_, number)| *number);
            let ids: Vec<_> = numbers.clone().map(|n| state.devices.id(n)).collect();
            let found = numbers.map(|n| Some(state.found(n))).collect();
            (ids, found, next)
        };
        let records = fetch_all(found).await?;
        let items = ids.into_iter().zip(records.into_iter().flatten()).collect();
        Ok(Page { items, next })
    }

    async fn census(&self) -> Result<Vec<Held>, StoreError> {
        let all = self.look_at_queues()?.into_iter();
        // The lock is taken for each queue anew: counting a long one takes milliseconds.
        let held = all.map(|(ready, entries, _)| {
            let moment = self.shared.moment();
            let mut state = self.shared.state();
            let now_ms = state.clock.observe(moment);
            let due = state.due.find(&ready.queue);
            let due = due.map_or(0, |id| state.due.count_due(id, now_ms));
            Held {
                ready,
                entries: entries.max(due),
                due,
            }
        });
        Ok(held.collect())
    }
}

impl EmbeddedStore {
    /// Every queue with its size and whether it is parked.
    fn look_at_queues(&self) -> Result<Vec<(Ready, u64, bool)>, StoreError> {
        self.shared.side()?;
        let moment = self.shared.moment();
        let mut state = self.shared.state();
        state.clock.observe(moment);
        let look = |(queue, due_ms, size, parked): (&Queue, i64, u64, bool)| {
            let (queue, earliest) = (queue.clone(), state.clock.timestamp(due_ms));
            (Ready { queue, earliest }, size, parked)
        };
        Ok(state.due.census().map(look).collect())
    }

    async fn set_parked(&self, selector: Selector, parked: bool) -> Result<(), StoreError> {
        self.change("parks".to_owned(), Urgency::Settle, move |stage| {
            write_park(&selector, parked, stage.batch.frame_mut());
            Ok(())
        })
        .await
    }
}

/// A place in a queue. Numbers hold as long as the store is open; a cursor from before begins with its millisecond again.
fn browse_place(cursor: &str, opened: u64) -> Result<Bound<Entry>, StoreError> {
    let mut parts = cursor.split('.');
    let mut part = || parts.next()?.parse::<i64>().ok();
    let (Some(times), Some(due_ms), Some(number)) = (part(), part(), part()) else {
        return Err(unknown_cursor());
    };
    let number = u32::try_from(number).map_err(|_| unknown_cursor())?;
    match u64::try_from(times) {
        Ok(times) if times == opened => Ok(Bound::Excluded((due_ms, number))),
        Ok(times) if times < opened => Ok(Bound::Included((due_ms, 0))),
        Ok(_) | Err(_) => Err(unknown_cursor()),
    }
}
