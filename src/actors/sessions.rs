//! The cap on open sessions, for pushes that are repeated: how many of each campaign this broker may claim now.
//!
//! What is counted is in the store; here is what was read of it within the last second, less what has been claimed since. While
//! a campaign has not been looked at, none of its re-pushes are claimed. Every broker takes a part of what is free at each look,
//! so that all of them together take no more than there is.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::broker::Broker;
use crate::{
    domain::{
        id::{CampaignId, TenantId},
        queue::{Flow, Lane, Queue},
    },
    service::campaign::session_room,
};

/// How often the campaigns whose re-pushes are due are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Least time between two looks, for campaigns that are due for the first time.
const LOOK_GAP: Duration = Duration::from_millis(50);
/// Part of the free sessions that a broker takes at a look.
const PART: u64 = 10;

type Key = (TenantId, CampaignId);

/// What may be claimed of each campaign whose re-pushes are due.
#[derive(Debug, Default)]
pub struct Sessions {
    rooms: Mutex<HashMap<Key, Room>>,
    unknown: Notify,
}

#[derive(Debug, Default)]
struct Room {
    /// What may still be claimed until the next look; `None` without a bound.
    left: Option<u64>,
    /// Claimed and not settled, so that the store does not count it yet.
    in_flight: u64,
    /// Whether its turn has come since the last look.
    due: bool,
}

/// Leave to claim so many pushes of one queue. What is not used is free again.
#[derive(Debug)]
pub struct Leave {
    sessions: Arc<Sessions>,
    key: Option<Key>,
    left: u64,
}

/// A claimed push that will open a session, until it is settled.
#[derive(Debug)]
pub struct Session {
    sessions: Arc<Sessions>,
    key: Key,
}

impl Sessions {
    /// Whether something may be claimed from `queue` now.
    #[must_use]
    pub fn admits(&self, queue: &Queue) -> bool {
        let Some(key) = bounded(queue) else {
            return true;
        };
        let mut rooms = self.rooms();
        if let Some(room) = rooms.get_mut(&key) {
            room.due = true;
            return room.left != Some(0);
        }
        let room = Room {
            left: Some(0),
            due: true,
            ..Room::default()
        };
        rooms.insert(key, room);
        self.unknown.notify_one();
        false
    }

    /// Leave to claim up to `most` from `queue`.
    #[must_use]
    pub fn leave(self: &Arc<Self>, queue: &Queue, most: usize) -> Leave {
        let most = most as u64;
        let leave = |key, left| Leave {
            sessions: self.clone(),
            key,
            left,
        };
        let Some(key) = bounded(queue) else {
            return leave(None, most);
        };
        let mut rooms = self.rooms();
        let Some(room) = rooms.get_mut(&key) else {
            return leave(None, 0);
        };
        let Some(left) = &mut room.left else {
            return leave(None, most);
        };
        let granted = most.min(*left);
        *left -= granted;
        room.in_flight += granted;
        leave(Some(key), granted)
    }

    /// The campaigns that are due; what has not been since the last look is forgotten.
    fn due(&self) -> Vec<Key> {
        let mut rooms = self.rooms();
        rooms.retain(|_, room| room.due || room.in_flight > 0);
        let due = rooms.iter_mut().filter(|(_, room)| room.due);
        due.map(|(key, room)| {
            room.due = false;
            key.clone()
        })
        .collect()
    }

    /// Notes how many more sessions the store's counters allow.
    fn note(&self, key: &Key, free: Option<u64>) {
        if let Some(room) = self.rooms().get_mut(key) {
            let in_flight = room.in_flight;
            room.left = free.map(|free| free.saturating_sub(in_flight).div_ceil(PART));
        }
    }

    fn rooms(&self) -> MutexGuard<'_, HashMap<Key, Room>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The campaign whose cap bounds what is claimed from `queue`.
fn bounded(queue: &Queue) -> Option<Key> {
    match (&queue.flow, queue.lane) {
        (Flow::Campaign(id), Lane::Repush) => Some((queue.tenant.clone(), id.clone())),
        (Flow::Campaign(_), Lane::Urgent | Lane::Normal | Lane::Bulk | Lane::Timer)
        | (Flow::Direct, _) => None,
    }
}

impl Leave {
    /// How many more may be claimed.
    #[must_use]
    pub fn left(&self) -> usize {
        usize::try_from(self.left).unwrap_or(usize::MAX)
    }

    /// Uses one; `None` if nothing bounds the queue.
    pub fn take(&mut self) -> Option<Session> {
        self.left = self.left.saturating_sub(1);
        let key = self.key.clone()?;
        Some(Session {
            sessions: self.sessions.clone(),
            key,
        })
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        let Some(key) = &self.key else { return };
        if let Some(room) = self.sessions.rooms().get_mut(key) {
            room.in_flight = room.in_flight.saturating_sub(self.left);
            room.left = room.left.map(|left| left.saturating_add(self.left));
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(room) = self.sessions.rooms().get_mut(&self.key) {
            room.in_flight = room.in_flight.saturating_sub(1);
        }
    }
}

/// Looks at the campaigns whose re-pushes are due, as long as it is polled.
pub(super) async fn keep(broker: Arc<Broker>) {
    loop {
        let began = Instant::now();
        let due = broker.sessions.due();
        for key in &due {
            let (tenant, id) = key;
            let now = broker.clock.now();
            // Of a campaign that cannot be read now nothing is repeated until the next look.
            let free = session_room(&*broker.store, (tenant, id), now).await;
            broker.sessions.note(key, free.unwrap_or(Some(0)));
        }
        if !due.is_empty() {
            broker.ready.ring_all();
        }
        tokio::select! {
            () = sleep_until(began + LOOK) => {}
            () = broker.sessions.unknown.notified() => sleep_until(began + LOOK_GAP).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(text: &str) -> Queue {
        text.parse().unwrap()
    }

    fn known(free: Option<u64>) -> (Arc<Sessions>, Queue, Key) {
        let (sessions, queue) = (Arc::new(Sessions::default()), queue("a:repush:c/renew"));
        assert!(!sessions.admits(&queue), "it has not been looked at");
        let [key]: [Key; 1] = sessions.due().try_into().unwrap();
        sessions.note(&key, free);
        (sessions, queue, key)
    }

    #[test]
    fn first_pushes_and_those_of_no_campaign_are_not_bounded() {
        let sessions = Arc::new(Sessions::default());
        for text in ["a:repush:direct", "a:bulk:c/renew", "a:timer:direct"] {
            let queue = queue(text);
            assert!(sessions.admits(&queue), "{text}");
            let mut leave = sessions.leave(&queue, 7);
            assert_eq!(leave.left(), 7);
            assert!(leave.take().is_none());
        }
        assert!(sessions.due().is_empty());
    }

    #[test]
    fn a_look_gives_a_part_of_what_is_free_less_what_is_on_its_way() {
        let (sessions, queue, key) = known(Some(100));
        let mut leave = sessions.leave(&queue, 256);
        assert_eq!(leave.left(), 10);
        let claimed: Vec<Session> = (0..4).filter_map(|_| leave.take()).collect();
        assert_eq!(claimed.len(), 4);
        assert_eq!(sessions.leave(&queue, 256).left(), 0);

        // What was not found may be claimed again.
        drop(leave);
        assert_eq!(sessions.leave(&queue, 256).left(), 6);
        sessions.note(&key, Some(24));
        assert_eq!(sessions.leave(&queue, 256).left(), 2);
        drop(claimed);
        sessions.note(&key, Some(24));
        assert_eq!(sessions.leave(&queue, 256).left(), 3);
        sessions.note(&key, Some(0));
        assert!(!sessions.admits(&queue));
    }

    #[test]
    fn without_a_cap_there_is_no_bound() {
        let (sessions, queue, _) = known(None);
        assert!(sessions.admits(&queue));
        assert_eq!(sessions.leave(&queue, 256).left(), 256);
    }

    #[test]
    fn campaigns_that_are_not_due_any_more_are_forgotten() {
        let (sessions, queue, _) = known(Some(100));
        let session = sessions.leave(&queue, 1).take();
        assert!(session.is_some());
        assert_eq!(sessions.due(), []);
        assert_eq!(sessions.rooms().len(), 1, "one is on its way");
        drop(session);
        assert_eq!(sessions.due(), []);
        assert!(sessions.rooms().is_empty());
    }
}
