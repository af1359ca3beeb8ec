//! One broker's shift at one campaign: as long as it holds the lease, it looks once a second what there is to do.
//!
//! Everything is read from the store each time; what a shift remembers only saves work. After any error the shift ends, and
//! the next one has a higher epoch: a commit of the former that is still on its way is refused then.

use std::{collections::HashSet, time::Duration};

use jiff::SignedDuration;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};

use super::{
    CampaignError, Campaigns,
    batch::{Hand, ROUND},
    prepare::prepare,
    release::{Limits, TRACED_MAX, release},
    selecting::Selecting,
    selector,
    sweep::Sweeper,
};
use crate::{
    domain::{
        campaign::{Allowance, Campaign, Counts, Duties, Look, State, Tick},
        counter::Counter,
        id::{CampaignId, TenantId},
    },
    ports::{error::StoreError, records::Fence},
    service::slow_down,
};

/// How often a shift looks at its campaign.
const TICK: Duration = Duration::from_secs(1);
/// The same when there is nothing to do but wait; a changed document wakes it earlier.
const IDLE_TICK: Duration = Duration::from_secs(5);
/// Shortest time between two looks when other documents change all the time.
const TICK_MIN: Duration = Duration::from_millis(200);
/// How long a tick may work before it looks at the campaign again.
const SLICE: Duration = Duration::from_millis(700);
/// The same for listing targets, so that what is listed is soon released.
const LISTING: Duration = Duration::from_millis(200);
/// How long the lease lasts without being prolonged.
const TERM: Duration = Duration::from_secs(6);
/// How often it is prolonged.
const PROLONG: Duration = Duration::from_secs(2);
/// How often queues are put in or out of service though nothing has changed.
const ALIGN: Duration = Duration::from_secs(30);
/// News younger than this are left to whoever changed the document.
const NEWS_AGE: SignedDuration = SignedDuration::from_secs(2);

/// Why a shift is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The campaign has nothing left to do, or is gone.
    Done,
    /// Another broker has it.
    Elsewhere,
}

/// One broker's work at one campaign.
pub struct Shift {
    desk: Campaigns,
    tenant: TenantId,
    id: CampaignId,
    owner: String,
    former: Vec<String>,
    began: Instant,
    fence: Option<Fence>,
    held_at: Instant,
    aligned: Option<(bool, Instant)>,
    allowance: Allowance,
    selecting: Selecting,
    sweeper: Sweeper,
    paused: Option<(u64, HashSet<CampaignId>)>,
    changed: watch::Receiver<u64>,
}

/// How long to wait before the next look.
enum Next {
    Now,
    In(Duration),
    Never(Ended),
}

impl Shift {
    /// A shift of `owner`, a name that no other shift has had.
    #[must_use]
    pub fn new(desk: Campaigns, (tenant, id): (TenantId, CampaignId), owner: String) -> Self {
        let changed = desk.store.changed();
        let now = Instant::now();
        Self {
            desk,
            tenant,
            id,
            owner,
            former: Vec::new(),
            began: now,
            fence: None,
            held_at: now,
            aligned: None,
            allowance: Allowance::default(),
            selecting: Selecting::default(),
            sweeper: Sweeper::default(),
            paused: None,
            changed,
        }
    }

    /// The same shift after others of this broker that could not give the lease back.
    #[must_use]
    pub fn after(mut self, former: Vec<String>) -> Self {
        self.former = former;
        self
    }

    /// Works until there is nothing left to do or the lease is another's.
    ///
    /// # Errors
    /// [`StoreError`]; start another shift after a while.
    ///
    /// # Cancel safety
    /// May be dropped at any moment: the lease runs out, and everything is in the store.
    pub async fn work(mut self) -> Result<Ended, StoreError> {
        let name = format!("campaign/{}/{}", self.tenant, self.id);
        for former in &self.former {
            self.desk.store.release(&name, former).await?;
        }
        let result = self.ticks(&name).await;
        let released = self.desk.store.release(&name, &self.owner).await;
        let ended = result?;
        released?;
        Ok(ended)
    }

    async fn ticks(&mut self, lease: &str) -> Result<Ended, StoreError> {
        loop {
            let began = Instant::now();
            if !self.keep(lease).await? {
                return Ok(Ended::Elsewhere);
            }
            self.changed.mark_unchanged();
            match self.tick().await? {
                Next::Never(ended) => return Ok(ended),
                Next::Now => {}
                Next::In(time) => {
                    let left = time.saturating_sub(began.elapsed());
                    // Neither a change nor the end of the time is an error.
                    let _woken = timeout(left, self.changed.changed()).await;
                    sleep_until(began + TICK_MIN).await;
                }
            }
        }
    }

    /// Takes or prolongs the lease; the fence is raised before anything is done under a new epoch.
    async fn keep(&mut self, lease: &str) -> Result<bool, StoreError> {
        if self.fence.is_some() && self.held_at.elapsed() < PROLONG {
            return Ok(true);
        }
        let at = Instant::now();
        let Some(epoch) = self.desk.store.hold(lease, &self.owner, TERM).await? else {
            return Ok(false);
        };
        if self.fence.as_ref().is_none_or(|f| f.epoch != epoch) {
            let name = format!("campaign:{}:{}", self.tenant, self.id);
            let fence = Fence { name, epoch };
            self.desk.store.raise_fence(&fence).await?;
            self.fence = Some(fence);
        }
        self.held_at = at;
        Ok(true)
    }

    async fn tick(&mut self) -> Result<Next, StoreError> {
        let (version, campaign) = match self.desk.load(&self.tenant, &self.id).await {
            Ok(found) => found,
            Err(CampaignError::Store(error)) => return Err(error),
            Err(
                CampaignError::Unknown(_) | CampaignError::Refused(_) | CampaignError::Invalid(_),
            ) => return Ok(Next::Never(Ended::Done)),
        };
        if !campaign.active() {
            return Ok(Next::Never(Ended::Done));
        }
        if campaign.news_before(self.desk.clock.now(), NEWS_AGE) {
            self.desk.tell(&self.tenant, version, &campaign).await?;
            return Ok(Next::Now);
        }
        self.align(&campaign).await?;
        if let Some(held_up) = self.held_up(&campaign).await? {
            return self.become_(version, held_up).await;
        }
        let counts = self.desk.counts(&self.tenant, &self.id).await?;
        match campaign.tick(&counts, self.desk.clock.now()) {
            Tick::Becomes(next) => self.become_(version, *next).await,
            Tick::Does(duties) => self.work_at(&campaign, &counts, duties).await,
        }
    }

    async fn held_up(&self, campaign: &Campaign) -> Result<Option<Campaign>, StoreError> {
        let now = self.desk.clock.now();
        if campaign.judge_at.is_none_or(|at| at > now) {
            return Ok(None);
        }
        let key = (&self.tenant, &self.id);
        let backlog = self.desk.backlogs.of(&*self.desk.store, key, now).await?;
        Ok(campaign.held_up(backlog.first, now))
    }

    /// Makes sure that queues are in or out of service as the campaign's state says, should a console have died between
    /// changing the state and doing so.
    async fn align(&mut self, campaign: &Campaign) -> Result<(), StoreError> {
        let parked = campaign.parked();
        let known = self
            .aligned
            .is_some_and(|(as_, at)| as_ == parked && at.elapsed() < ALIGN);
        if known {
            return Ok(());
        }
        let selector = selector(&self.tenant, &self.id);
        if parked {
            self.desk.store.park(&selector).await?;
        } else {
            self.desk.store.unpark(&selector).await?;
        }
        self.aligned = Some((parked, Instant::now()));
        Ok(())
    }

    async fn become_(&mut self, version: u64, next: Campaign) -> Result<Next, StoreError> {
        if next.counted_out() {
            // Nothing is left in the queues; a park that outlives its campaign would be kept for ever.
            let selector = selector(&self.tenant, &self.id);
            self.desk.store.unpark(&selector).await?;
        }
        if let Some(version) = self.desk.replace(&self.tenant, version, &next).await? {
            self.desk.announce(&self.tenant, version, next).await;
        }
        Ok(Next::Now)
    }

    async fn work_at(
        &mut self,
        campaign: &Campaign,
        counts: &Counts,
        duties: Duties,
    ) -> Result<Next, StoreError> {
        let until = Instant::now() + SLICE;
        let fence = self.fence.clone().ok_or(StoreError::Fenced)?;
        let desk = self.desk.clone();
        let tenant = self.tenant.clone();
        let hand = Hand {
            desk: &desk,
            tenant: &tenant,
            campaign,
            fence: &fence,
        };
        if let Some(slot) = counts.slot_to_drop(self.desk.clock.now()) {
            let counter = Counter::Woken(self.id.clone(), slot).to_string();
            self.desk
                .store
                .drop_counters(&self.tenant, &counter)
                .await?;
        }
        let mut more = false;
        if duties.release > 0 {
            more = self.release(&hand, counts, duties.release).await?;
        }
        if let Some(sweep) = duties.sweep {
            more |= self.sweeper.go_on(&hand, sweep, until).await?;
        }
        if duties.prepare {
            return self.prepare(&hand, counts).await;
        }
        if more {
            return Ok(Next::Now);
        }
        if duties.sweep.is_some() {
            return Ok(Next::In(TICK));
        }
        Ok(Next::In(match campaign.state {
            State::Running => TICK,
            State::Draft
            | State::Preparing
            | State::Paused
            | State::Finished
            | State::Cancelled => IDLE_TICK,
        }))
    }

    /// Lists more targets. The first page is released before a second is looked for.
    async fn prepare(&mut self, hand: &Hand<'_>, counts: &Counts) -> Result<Next, StoreError> {
        let mut until = Instant::now();
        if counts.targets > 0 {
            until += LISTING;
        }
        if prepare(hand, &mut self.selecting, until).await? {
            let now = self.desk.clock.now();
            let (version, mut campaign) = match self.desk.load(&self.tenant, &self.id).await {
                Ok(found) => found,
                Err(CampaignError::Store(error)) => return Err(error),
                Err(
                    CampaignError::Unknown(_)
                    | CampaignError::Refused(_)
                    | CampaignError::Invalid(_),
                ) => return Ok(Next::Now),
            };
            if campaign.preparing() {
                campaign.prepared(now);
                return self.become_(version, campaign).await;
            }
        }
        Ok(Next::Now)
    }

    /// Releases what pace, backlog and open sessions allow, at most `most`. Answers whether time was up before: a pause must
    /// be seen, and the lease prolonged, however much there is to release.
    async fn release(
        &mut self,
        hand: &Hand<'_>,
        counts: &Counts,
        most: u64,
    ) -> Result<bool, StoreError> {
        let until = Instant::now() + SLICE;
        let store = self.desk.store.clone();
        let key = (&self.tenant, &self.id);
        let now = self.desk.clock.now();
        let backlog = self.desk.backlogs.of(&*store, key, now).await?;
        let look = Look {
            elapsed: self.began.elapsed(),
            pace: &hand.campaign.definition.pace,
            app_per_second: self.desk.app_pace(&self.tenant).await?,
            backlog: backlog.first,
            repush_due: backlog.repush,
            sessions: counts.sessions(now),
            slowed: slow_down::until(&*store, &self.tenant, now)
                .await?
                .is_some(),
        };
        let mut left = self.allowance.look(&look).min(most);
        if left == 0 {
            return Ok(false);
        }
        let wave = hand.campaign.wave_of_release(counts.targets);
        let paused = self.paused().await?;
        let mut released = counts.targets.saturating_sub(counts.waiting);
        while left > 0 {
            let asked = left.min(ROUND as u64);
            let limits = Limits {
                targets: asked,
                traced: TRACED_MAX.saturating_sub(released),
            };
            let round = release(hand, wave, &paused, limits).await?;
            self.allowance.spend(round.done);
            released += round.done;
            left = left.saturating_sub(round.done);
            if round.done < asked {
                break;
            }
            if Instant::now() >= until {
                return Ok(left > 0);
            }
        }
        Ok(false)
    }

    /// The paused campaigns of the tenant, read again when some document has changed.
    async fn paused(&mut self) -> Result<HashSet<CampaignId>, StoreError> {
        let seen = *self.changed.borrow();
        if let Some((at, paused)) = &self.paused
            && *at == seen
        {
            return Ok(paused.clone());
        }
        let paused = self.desk.paused(&self.tenant).await?;
        self.paused = Some((seen, paused.clone()));
        Ok(paused)
    }
}
