//! Counts what gauges show: open pushes, channels, campaigns and the oldest due push of each tenant, from the store's
//! counters and the campaigns' documents.
//!
//! Owns nothing but how far the campaigns had come when they were read last; they are read again only when some document
//! has changed. A scrape reads what was sampled last and never touches the store.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use actix::{Actor, Context, Supervised};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use tokio::{
    sync::{
        broadcast::{self, error::TryRecvError},
        watch,
    },
    time::{Instant, sleep},
};

use super::{broker::Broker, supervise::live};
use crate::{
    domain::{
        ask::{Class, CloseReason},
        campaign::State,
        channel::ChannelKind,
        id::{CampaignId, TenantId},
        queue::Lane,
    },
    ports::{
        error::StoreError,
        queues::{Held, Wake},
    },
    service::campaign::{Standing, standing},
    telemetry::{ActorMetrics, CampaignPhase, Horizon, PushState, TargetPhase, TenantSample},
};

/// Messages that may wait; it has none.
pub const CAPACITY: usize = 1;
/// Time between two samples while the store changes.
const INTERVAL: Duration = Duration::from_secs(5);
/// Time between two samples while nothing seems to change.
const INTERVAL_QUIET: Duration = Duration::from_secs(30);
/// Tenants looked at together.
const TENANTS: usize = 256;
/// Tenants looked at in a sample while nothing seems to change; the next one goes on behind them.
const TENANTS_QUIET: usize = 128;

/// Takes samples.
#[derive(Clone)]
pub struct Sampler {
    /// What it works with.
    pub broker: Arc<Broker>,
    /// Its sign of life.
    pub metrics: Arc<ActorMetrics>,
}

impl Actor for Sampler {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        live(ctx, watch(self.clone()));
    }
}

impl Supervised for Sampler {}

async fn watch(sampler: Sampler) {
    let broker = &sampler.broker;
    let mut campaigns = Campaigns {
        changed: broker.store.changed(),
        known: None,
    };
    let mut round = Round::All;
    let mut news = News::of(broker);
    let mut next = Instant::now();
    loop {
        let now = Instant::now();
        sampler.metrics.progressed(now);
        broker.telemetry.summarise_failures(now);
        // What is due grows older without any news.
        if news.came() {
            (round, next) = (Round::All, now);
        }
        if now >= next {
            match sample_all(broker, &mut campaigns, round).await {
                Ok(then) => (round, next) = (then, now + INTERVAL_QUIET),
                Err(error) => broker.unreadable(&error),
            }
        }
        sleep(INTERVAL).await;
    }
}

/// What the store tells when something changes.
struct News {
    wakes: broadcast::Receiver<Wake>,
    appended: watch::Receiver<u64>,
    documents: watch::Receiver<u64>,
}

impl News {
    fn of(broker: &Broker) -> Self {
        Self {
            wakes: broker.store.wakes(),
            appended: broker.store.appended(),
            documents: broker.store.changed(),
        }
    }

    /// Whether something has come since the last call.
    fn came(&mut self) -> bool {
        let mut came = false;
        while !matches!(
            self.wakes.try_recv(),
            Err(TryRecvError::Empty | TryRecvError::Closed)
        ) {
            came = true;
        }
        for count in [&mut self.appended, &mut self.documents] {
            came |= count.has_changed().unwrap_or(false);
            count.mark_unchanged();
        }
        came
    }
}

/// How far the campaigns of all tenants have come.
struct Campaigns {
    changed: watch::Receiver<u64>,
    known: Option<Standing>,
}

impl Campaigns {
    async fn look(&mut self, broker: &Broker) -> Result<&Standing, StoreError> {
        // A sender that is gone belongs to a store that is being closed: nothing changes any more.
        if self.changed.has_changed().unwrap_or(false) {
            self.changed.mark_unchanged();
            self.known = None;
        }
        let known = match self.known.take() {
            Some(known) => known,
            None => standing(&*broker.store).await?,
        };
        Ok(self.known.insert(known))
    }
}

/// Which tenants are looked at.
#[derive(Clone, Copy)]
enum Round {
    All,
    /// Some, beginning with this one.
    From(usize),
}

impl Round {
    /// Leaves those that are looked at in this round; tells which one comes next.
    fn choose(self, tenants: &mut Vec<TenantId>) -> Self {
        let Self::From(first) = self else {
            return Self::From(0);
        };
        let first = first % tenants.len().max(1);
        tenants.rotate_left(first);
        tenants.truncate(TENANTS_QUIET);
        Self::From(first + tenants.len())
    }
}

/// Takes samples of the tenants of a round; gives the next round.
async fn sample_all(
    broker: &Broker,
    campaigns: &mut Campaigns,
    round: Round,
) -> Result<Round, StoreError> {
    let census = broker.store.census().await?;
    let standing = campaigns.look(broker).await?;
    let none = BTreeMap::new();
    let (mut tenants, mut apps) = (Vec::new(), HashMap::new());
    for (at, app) in broker.apps.iter().enumerate() {
        let own = broker.directory.tenants_of(&app.settings.id).await?;
        apps.extend(own.iter().map(|tenant| (tenant.clone(), at)));
        tenants.extend(own);
    }
    sample_apps(broker, &apps, &census);
    let next = round.choose(&mut tenants);
    for tenants in tenants.chunks(TENANTS) {
        let counters = broker.store.counters_of(tenants, "").await?;
        for (tenant, counters) in tenants.iter().zip(&counters) {
            let metrics = broker.telemetry.tenant(tenant);
            let seen = Seen {
                counters,
                census: &census,
                campaigns: standing.get(tenant).unwrap_or(&none),
                leased: metrics.pushes_leased(),
                now: broker.clock.now(),
            };
            let sample = sample(tenant, &seen);
            broker.telemetry.tenant_sampled(&metrics, &sample);
        }
    }
    Ok(next)
}

/// Takes a sample of each app, whose tenants are told by `apps`.
fn sample_apps(broker: &Broker, apps: &HashMap<TenantId, usize>, census: &[Held]) {
    let mut due = vec![0; broker.apps.len()];
    for held in census {
        let queue = &held.ready.queue;
        if let (PushState::Scheduled, Some(app)) = (state_of(queue.lane), apps.get(&queue.tenant)) {
            due[*app] += held.due;
        }
    }
    for (app, due) in broker.apps.iter().zip(due) {
        broker.telemetry.app_sampled(&app.metrics, due);
    }
    let unserved = unserved(apps, census);
    broker.telemetry.unserved_sampled(&unserved, Instant::now());
    broker.roster.count_unserved(unserved);
}

/// Open pushes of the tenants that are in none of the `apps`.
fn unserved(apps: &HashMap<TenantId, usize>, census: &[Held]) -> BTreeMap<TenantId, u64> {
    let mut unserved = BTreeMap::new();
    for held in census {
        let tenant = &held.ready.queue.tenant;
        if held.entries > 0 && !apps.contains_key(tenant) {
            *unserved.entry(tenant.clone()).or_insert(0) += held.entries;
        }
    }
    unserved
}

/// What a sample is taken from.
struct Seen<'a> {
    /// Of this tenant.
    counters: &'a BTreeMap<String, i64>,
    /// Of all tenants.
    census: &'a [Held],
    /// Of this tenant.
    campaigns: &'a BTreeMap<CampaignId, State>,
    /// Pushes of this tenant that this broker holds.
    leased: u64,
    now: Timestamp,
}

fn sample(tenant: &TenantId, seen: &Seen<'_>) -> TenantSample {
    let Seen {
        counters,
        census,
        campaigns,
        leased,
        now,
    } = *seen;
    let count = |name: String| {
        counters
            .get(&name)
            .and_then(|n| u64::try_from(*n).ok())
            .unwrap_or(0)
    };
    let mine = census.iter().filter(|h| h.ready.queue.tenant == *tenant);
    let mut states: BTreeMap<&str, (PushState, u64)> = BTreeMap::new();
    let mut add = |state: PushState, entries: u64| {
        if entries > 0 {
            states.entry(state.as_str()).or_insert((state, 0)).1 += entries;
        }
    };
    let mut oldest = Duration::ZERO;
    for held in mine {
        let state = state_of(held.ready.queue.lane);
        if state != PushState::Scheduled {
            add(state, held.entries);
            continue;
        }
        add(PushState::Due, held.due);
        add(state, held.entries.saturating_sub(held.due));
        if held.due > 0 {
            let late = Duration::try_from(now.duration_since(held.ready.earliest));
            oldest = oldest.max(late.unwrap_or_default());
        }
    }
    // A claim is in its queue until its lease ends, and counts as what waits for that.
    if let Some((_, scheduled)) = states.get_mut(PushState::Scheduled.as_str()) {
        *scheduled = scheduled.saturating_sub(leased);
    }
    TenantSample {
        pushes_open: Class::ALL
            .map(|c| (c, count(format!("pushes.{}", c.as_str()))))
            .to_vec(),
        pushes: states.into_values().collect(),
        oldest_due: oldest,
        channels: ChannelKind::ALL
            .map(|k| (k, count(format!("channels.{}", k.as_str()))))
            .to_vec(),
        channels_expiring: expiring(counters, now),
        campaigns: phases(campaigns),
        campaign_targets: progress(seen),
    }
}

/// What the pushes of a lane count as before their time has come.
fn state_of(lane: Lane) -> PushState {
    match lane {
        Lane::Timer => PushState::Blocked,
        Lane::Repush => PushState::Awaiting,
        Lane::Urgent | Lane::Normal | Lane::Bulk => PushState::Scheduled,
    }
}

/// Campaigns by how far they have come.
fn phases(campaigns: &BTreeMap<CampaignId, State>) -> Vec<(CampaignPhase, u64)> {
    let in_phase = |phase| {
        campaigns
            .values()
            .filter(|s| phase_of(**s) == phase)
            .count()
    };
    CampaignPhase::ALL
        .iter()
        .map(|phase| (*phase, in_phase(*phase) as u64))
        .collect()
}

fn phase_of(state: State) -> CampaignPhase {
    match state {
        State::Draft => CampaignPhase::Draft,
        State::Preparing => CampaignPhase::Preparing,
        State::Running => CampaignPhase::Running,
        State::Paused => CampaignPhase::Paused,
        State::Finished => CampaignPhase::Finished,
        State::Cancelled => CampaignPhase::Cancelled,
    }
}

/// Targets of the campaigns that are at work, together.
fn progress(seen: &Seen<'_>) -> Vec<(TargetPhase, u64)> {
    let at_work = |state: State| match state {
        State::Preparing | State::Running | State::Paused => true,
        State::Draft | State::Finished | State::Cancelled => false,
    };
    let phases = [
        (TargetPhase::Waiting, &["waiting"][..]),
        (TargetPhase::Open, &["open", "held", "awaiting", "blocked"]),
        (TargetPhase::Closed, &CloseReason::LABELS),
    ];
    let mut sums = phases.map(|(phase, _)| (phase, 0));
    for (id, _) in seen.campaigns.iter().filter(|(_, state)| at_work(**state)) {
        for (sum, (_, states)) in sums.iter_mut().zip(phases) {
            let counted = states.iter().filter_map(|state| {
                let count = seen.counters.get(&format!("campaign.{id}.{state}"))?;
                u64::try_from(*count).ok()
            });
            sum.1 += counted.sum::<u64>();
        }
    }
    sums.to_vec()
}

/// Channels that WNS is expected to expire within a day and within a week.
fn expiring(counters: &BTreeMap<String, i64>, now: Timestamp) -> Vec<(Horizon, u64)> {
    let today = now.to_zoned(TimeZone::UTC).date();
    let within = |days: i32| -> u64 {
        let until = today
            .checked_add(jiff::Span::new().days(days))
            .unwrap_or(Date::MAX);
        let soon = counters.iter().filter_map(|(name, count)| {
            let day: Date = name.strip_prefix("expiring.")?.parse().ok()?;
            (day <= until).then(|| u64::try_from(*count).unwrap_or(0))
        });
        soon.sum()
    };
    vec![(Horizon::Day, within(1)), (Horizon::Week, within(7))]
}

#[cfg(test)]
mod tests;
