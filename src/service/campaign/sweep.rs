//! Walking through a campaign's targets in small slices: what a pause, a resume, a cancel or the deadline leaves to do.

use std::time::Duration;

use tokio::time::Instant;

use super::batch::{Hand, ROUND, Round, Target};
use crate::{
    domain::{
        campaign::{Sweep, swept},
        id::DeviceId,
        queue::{Flow, Lane, Queue},
    },
    ports::{
        error::StoreError,
        records::{ListName, Page, Urgency},
    },
};

/// Rest after a walk that changed something, so that what lost a race is met again soon.
const REST_MIN: Duration = Duration::from_secs(1);
/// Longest rest, reached by doubling after walks that changed nothing.
const REST_MAX: Duration = Duration::from_secs(60);

/// Where the walk is.
#[derive(Debug)]
pub(super) struct Sweeper {
    kind: Option<Sweep>,
    lane: usize,
    cursor: Option<String>,
    changed: bool,
    rest: Duration,
    rest_until: Instant,
}

impl Default for Sweeper {
    fn default() -> Self {
        Self {
            kind: None,
            lane: 0,
            cursor: None,
            changed: false,
            rest: REST_MIN,
            rest_until: Instant::now(),
        }
    }
}

impl Sweeper {
    /// Goes on with the walk of `kind` until it is through or time is up. Answers whether there is more to do at once.
    pub(super) async fn go_on(
        &mut self,
        hand: &Hand<'_>,
        kind: Sweep,
        until: Instant,
    ) -> Result<bool, StoreError> {
        if self.kind != Some(kind) {
            *self = Self {
                kind: Some(kind),
                ..Self::default()
            };
        }
        if Instant::now() < self.rest_until {
            return Ok(false);
        }
        loop {
            let through = match kind {
                Sweep::Hold => self.queue_page(hand).await?,
                Sweep::Cancel | Sweep::Expire | Sweep::LetGo => {
                    self.target_page(hand, kind).await?
                }
            };
            if through {
                self.take_rest();
                return Ok(false);
            }
            if Instant::now() >= until {
                return Ok(true);
            }
        }
    }

    fn take_rest(&mut self) {
        self.rest = if self.changed {
            REST_MIN
        } else {
            (self.rest * 2).min(REST_MAX)
        };
        self.rest_until = Instant::now() + self.rest;
        (self.lane, self.cursor, self.changed) = (0, None, false);
    }

    fn note(&mut self, round: Round) {
        self.changed |= round != Round::default();
    }

    /// One page of the campaign's targets that have no result yet. Answers whether it was the last.
    async fn target_page(&mut self, hand: &Hand<'_>, kind: Sweep) -> Result<bool, StoreError> {
        let list = ListName::Targets(hand.campaign.id.clone());
        let cursor = self.cursor.as_deref();
        let page = hand
            .desk
            .store
            .members(hand.tenant, &list, cursor, ROUND)
            .await?;
        let unfinished = page.items.into_iter().filter(|m| m.text.is_empty());
        let mut devices: Vec<DeviceId> = unfinished.map(|m| m.device).collect();
        while !devices.is_empty() {
            let rest = devices.split_off(devices.len().min(ROUND));
            let targets = hand.look_up(devices).await?;
            let round = commit(hand, kind, &targets).await?;
            self.note(round);
            devices = rest;
        }
        self.cursor = page.next;
        Ok(self.cursor.is_none())
    }

    /// One page of the pushes that the campaign leads. Answers whether it was the last.
    async fn queue_page(&mut self, hand: &Hand<'_>) -> Result<bool, StoreError> {
        const LANES: [Lane; 4] = [Lane::Urgent, Lane::Normal, Lane::Bulk, Lane::Repush];
        let Some(lane) = LANES.get(self.lane) else {
            return Ok(true);
        };
        let queue = Queue {
            tenant: hand.tenant.clone(),
            lane: *lane,
            flow: Flow::Campaign(hand.campaign.id.clone()),
        };
        let page: Page<_> = hand
            .desk
            .store
            .browse(&queue, self.cursor.as_deref(), ROUND)
            .await?;
        let found = page.items.into_iter().map(|(device, stored)| Target {
            device,
            waiting: None,
            stored: Some(stored),
        });
        let mut targets: Vec<Target> = found.collect();
        while !targets.is_empty() {
            let rest = targets.split_off(targets.len().min(ROUND));
            let round = commit(hand, Sweep::Hold, &targets).await?;
            self.note(round);
            targets = rest;
        }
        self.cursor = page.next;
        if self.cursor.is_none() {
            self.lane += 1;
        }
        Ok(self.lane == LANES.len())
    }
}

async fn commit(hand: &Hand<'_>, kind: Sweep, targets: &[Target]) -> Result<Round, StoreError> {
    hand.apply(targets, Urgency::Settle, |step, candidate| {
        swept(step, hand.campaign, kind, candidate)
    })
    .await
}
