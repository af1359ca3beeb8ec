//! What the broker tells about itself: log lines and metrics, always both from one named event.
//!
//! Code does not log or count by itself: it names what happened by a function of [`Telemetry`], which writes the line and
//! moves the counters, so that the two cannot disagree. Lines about failures are bounded ([`FailureLog`]). No token, no
//! secret and no whole channel URI reaches a line: events take a host and a keyed hash.

mod catalogue;
mod events;
mod failure_log;
mod family;
mod handles;
mod labels;
mod libraries;
mod logging;
mod panics;
mod recent;
mod reference;
mod traces;

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use prometheus::{
    Histogram, IntCounter, TextEncoder, core::Collector, process_collector::ProcessCollector,
};
use tokio::time::Instant;

use crate::domain::{
    event::EventKind,
    id::{AppId, TenantId},
};

use self::{catalogue::Families, recent::RecentFailures, traces::Traces};
pub use self::{
    events::{AttemptFinished, InFlight, Leased, RequestInFlight, TenantSample, WebhookLag},
    failure_log::{FailureLog, Summary, Verdict},
    handles::{ActorMetrics, AppMetrics, TenantMetrics},
    labels::{
        ActorKind, CampaignPhase, DeliveryResult, ExportResult, Horizon, MessageResult,
        PauseReason, PushState, ResultClass, StoreFault, StoreOperation, TargetPhase, TokenResult,
    },
    libraries::limit_library_lines,
    logging::{LogError, LogOptions, init},
    panics::install_panic_hook,
    recent::{RECENT_PER_OUTCOME, RecentFailure},
    reference::reference,
    traces::RequestSpan,
};

/// Content type of [`Telemetry::render`].
pub const METRICS_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A scrape has room for one part in so many more than the longest before it.
const ROOM: usize = 16;

/// The one place through which everything is told. Cloning is cheap.
#[derive(Clone)]
pub struct Telemetry(Arc<Inner>);

struct Inner {
    families: Families,
    /// By operation.
    store_durations: [Histogram; StoreOperation::ALL.len()],
    store_batch: Histogram,
    /// By type.
    feed_events: [IntCounter; EventKind::ALL.len()],
    process: ProcessCollector,
    apps: RwLock<HashMap<AppId, Arc<AppMetrics>>>,
    tenants: RwLock<HashMap<TenantId, Arc<TenantMetrics>>>,
    actors: Mutex<Vec<Weak<ActorMetrics>>>,
    failures: FailureLog,
    recent: RecentFailures,
    /// Set only if traces are exported.
    traces: OnceLock<Traces>,
    /// Length of the longest text that [`Telemetry::render`] has written, in bytes: room for the next one.
    rendered: AtomicUsize,
}

impl Telemetry {
    /// Makes a registry of its own with every metric of the catalogue. A kind of failure is logged once a
    /// `failure_interval`.
    #[must_use]
    pub fn new(failure_interval: Duration) -> Self {
        let families = Families::new();
        families
            .build_info
            .with(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        families.panics.with(&[]);
        families.http_in_flight.with(&[]);
        families.pushes_unserved.with(&[]);
        for operation in StoreOperation::ALL {
            for fault in StoreFault::ALL {
                let labels = [operation.as_str(), fault.as_str()];
                families.store_errors.with(&labels);
            }
        }
        for result in ExportResult::ALL {
            families.trace_exports.with(&[result.as_str()]);
        }
        let duration = |at: usize| {
            families
                .store_duration
                .with(&[StoreOperation::ALL[at].as_str()])
        };
        Self(Arc::new(Inner {
            store_durations: std::array::from_fn(duration),
            store_batch: families.store_batch.with(&[]),
            feed_events: EventKind::ALL.map(|kind| families.feed_events.with(&[kind.as_str()])),
            families,
            process: ProcessCollector::for_self(),
            apps: RwLock::default(),
            tenants: RwLock::default(),
            actors: Mutex::default(),
            failures: FailureLog::new(failure_interval),
            recent: RecentFailures::default(),
            traces: OnceLock::new(),
            rendered: AtomicUsize::new(0),
        }))
    }

    /// The handles of `app`; its series begin at zero when it is first asked for.
    #[must_use]
    pub fn app(&self, app: &AppId) -> Arc<AppMetrics> {
        let known = self.0.apps.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(app) {
            return Arc::clone(known);
        }
        drop(known);
        let mut apps = self.0.apps.write().unwrap_or_else(PoisonError::into_inner);
        let made = || Arc::new(AppMetrics::new(app.clone(), &self.0.families));
        Arc::clone(apps.entry(app.clone()).or_insert_with(made))
    }

    /// The handles of `tenant`; its series begin at zero when it is first asked for.
    #[must_use]
    pub fn tenant(&self, tenant: &TenantId) -> Arc<TenantMetrics> {
        let known = self
            .0
            .tenants
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(tenant) {
            return Arc::clone(known);
        }
        drop(known);
        let mut tenants = self
            .0
            .tenants
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let made = || Arc::new(TenantMetrics::new(tenant.clone(), &self.0.families));
        Arc::clone(tenants.entry(tenant.clone()).or_insert_with(made))
    }

    /// The handle of an actor that has just started. Dropping it takes the actor out of the progress metric.
    #[must_use]
    pub fn actor(&self, kind: ActorKind, now: Instant) -> Arc<ActorMetrics> {
        let actor = ActorMetrics::new(kind, now);
        let mut actors = self.0.actors.lock().unwrap_or_else(PoisonError::into_inner);
        actors.retain(|known| known.strong_count() > 0);
        actors.push(Arc::downgrade(&actor));
        self.0.families.actor_restarts.with(&[kind.as_str()]);
        actor
    }

    /// The last failed attempts of `app`, oldest first, at most [`RECENT_PER_OUTCOME`] of each outcome.
    #[must_use]
    pub fn recent_failures(&self, app: &AppId) -> Vec<RecentFailure> {
        self.0.recent.of(app)
    }

    /// Every metric in the Prometheus text format. With a thousand apps it takes some milliseconds of a thread.
    #[must_use]
    pub fn render(&self, now: Instant) -> String {
        self.age_actors(now);
        let longest = self.0.rendered.load(Ordering::Relaxed);
        let mut text = String::with_capacity(longest + longest / ROOM);
        self.0.families.render(&mut text);
        TextEncoder::new()
            .encode_utf8(&self.0.process.collect(), &mut text)
            .expect("writing to a string does not fail, and every family has a name");
        self.0.rendered.fetch_max(text.len(), Ordering::Relaxed);
        text
    }

    /// For each kind the actor that is farthest behind, so that one frozen among a thousand shows.
    fn age_actors(&self, now: Instant) {
        let mut oldest: HashMap<ActorKind, f64> = HashMap::new();
        let actors = self.0.actors.lock().unwrap_or_else(PoisonError::into_inner);
        for actor in actors.iter().filter_map(Weak::upgrade) {
            let age = oldest.entry(actor.kind).or_default();
            *age = age.max(actor.age_seconds(now));
        }
        drop(actors);
        self.0.families.actor_progress_age.clear();
        for (kind, age) in oldest {
            self.0
                .families
                .actor_progress_age
                .with(&[kind.as_str()])
                .set(age);
        }
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Telemetry")
    }
}

#[cfg(test)]
mod tests;
