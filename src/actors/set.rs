//! The actors of one broker: started together, asked how they are, and drained together.

use std::{rc::Rc, sync::Arc, time::Duration};

use actix::Addr;
use actix_rt::Arbiter;
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, timeout_at},
};

use super::{
    app::{App, AppSettings},
    broker::{Broker, DispatchSettings},
    dispatcher::{self, Dispatcher, Drain, Permits},
    janitor::{self, Janitor},
    pacer::{self, Pacer},
    ready::ReadyView,
    roster::{Directory, Roster},
    sampler::{self, Sampler},
    scout::{self, Scout},
    sharer::{self, Sharer},
    status::AppStatus,
    supervise::{self, Watch},
    token_keeper::{self, TokenKeeper},
};
use crate::{
    domain::{id::AppId, schedule::Rules},
    ports::{
        Store,
        clock::Clock,
        wns::{TokenSource, Wns},
    },
    telemetry::{ActorKind, Telemetry},
};

/// Makes a way to WNS on the arbiter where it is used.
pub type WnsFactory = Arc<dyn Fn() -> Rc<dyn Wns> + Send + Sync>;

/// Where dispatchers run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Each on an arbiter, and so a thread, of its own.
    Arbiters,
    /// All on the current one: for tests on paused time.
    Here,
}

/// An app and where its tokens come from.
pub struct AppSource {
    /// How it is configured.
    pub settings: AppSettings,
    /// Where its tokens come from.
    pub tokens: Arc<dyn TokenSource>,
}

/// What the actors need of the rest of the broker.
pub struct Deps {
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Through which everything is told.
    pub telemetry: Telemetry,
    /// Who knows all tenants.
    pub directory: Arc<dyn Directory>,
    /// The apps.
    pub apps: Vec<AppSource>,
    /// The way to WNS.
    pub wns: WnsFactory,
    /// Who is told when an actor dies.
    pub watch: Arc<dyn Watch>,
}

/// The running actors.
pub struct ActorSet {
    broker: Arc<Broker>,
    keepers: Vec<Addr<TokenKeeper>>,
    dispatchers: Vec<(Addr<Dispatcher>, Permits)>,
    arbiters: Vec<Arbiter>,
    _others: Others,
}

/// Actors that nobody asks anything; they run as long as their addresses are held.
struct Others {
    _scout: Addr<Scout>,
    _sharer: Addr<Sharer>,
    _janitor: Addr<Janitor>,
    _sampler: Addr<Sampler>,
    _pacers: Vec<Addr<Pacer>>,
}

/// Starts all actors; those that do not dispatch run on the current arbiter.
pub async fn start(
    settings: DispatchSettings,
    rules: Arc<Rules>,
    deps: Deps,
    placement: Placement,
) -> ActorSet {
    let hunger = Arc::new(Notify::new());
    let app = |source: &AppSource| App::new(source.settings.clone(), &deps.telemetry, &hunger);
    let apps: Vec<Arc<App>> = deps
        .apps
        .iter()
        .map(|source| Arc::new(app(source)))
        .collect();
    let ids: Vec<AppId> = apps.iter().map(|app| app.settings.id.clone()).collect();
    let broker = Arc::new(Broker {
        store: deps.store,
        clock: deps.clock,
        rules,
        telemetry: deps.telemetry,
        apps,
        hunger,
        directory: deps.directory,
        roster: Roster::new(ids),
        ready: ReadyView::new(settings.dispatchers),
        sessions: Arc::default(),
        settings,
    });
    let starter = Starter {
        broker: broker.clone(),
        watch: deps.watch,
    };
    let sources = deps.apps.into_iter().map(|app| app.tokens);
    let keepers = broker
        .apps
        .iter()
        .zip(sources)
        .map(|(app, tokens)| starter.keeper(app, tokens))
        .collect();
    let pacers = broker.apps.iter().map(|app| starter.pacer(app)).collect();
    let others = Others {
        _scout: starter.scout(),
        _sharer: starter.sharer(),
        _janitor: starter.janitor(),
        _sampler: starter.sampler(),
        _pacers: pacers,
    };
    let (dispatchers, arbiters) = starter.dispatchers(&deps.wns, placement).await;
    ActorSet {
        broker,
        keepers,
        dispatchers,
        arbiters,
        _others: others,
    }
}

impl ActorSet {
    /// What the actors share.
    #[must_use]
    pub fn broker(&self) -> &Arc<Broker> {
        &self.broker
    }

    /// How each app is, in the order of the configuration.
    #[must_use]
    pub fn status(&self) -> Vec<AppStatus> {
        let now = self.broker.clock.now();
        self.broker
            .apps
            .iter()
            .map(|app| AppStatus::of(app, now))
            .collect()
    }

    /// Fetches a new token for an app, whatever stands against it. False if there is no such app.
    pub fn refresh_token(&self, app: &AppId) -> bool {
        let at = self
            .broker
            .apps
            .iter()
            .position(|known| known.settings.id == *app);
        at.is_some_and(|at| {
            self.keepers[at]
                .try_send(token_keeper::RefreshToken)
                .is_ok()
        })
    }

    /// Claims in all dispatchers that are not settled yet.
    #[must_use]
    pub fn unsettled(&self) -> usize {
        let open = |permits: &Permits| permits.claims_max - permits.claims.available_permits();
        self.dispatchers
            .iter()
            .map(|(_, permits)| open(permits))
            .sum()
    }

    /// Claims nothing more, and waits until what is on the wire is settled, at most for `longest`. Returns how many claims
    /// were not settled then: they are due again when their leases end.
    pub async fn drain(&self, longest: Duration) -> usize {
        let until = Instant::now() + longest;
        for (dispatcher, _) in &self.dispatchers {
            // One that has no mailbox any more has nothing to drain; one that is being restarted may take longer than there is.
            timeout_at(until, dispatcher.send(Drain)).await.ok();
        }
        for (_, permits) in &self.dispatchers {
            let all = u32::try_from(permits.claims_max).unwrap_or(u32::MAX);
            if timeout_at(until, permits.claims.acquire_many(all))
                .await
                .is_err()
            {
                break;
            }
        }
        self.unsettled()
    }

    /// Ends the arbiters of the dispatchers; drain first.
    pub fn stop(&self) {
        for arbiter in &self.arbiters {
            arbiter.stop();
        }
    }
}

struct Starter {
    broker: Arc<Broker>,
    watch: Arc<dyn Watch>,
}

impl Starter {
    fn keeper(&self, app: &Arc<App>, source: Arc<dyn TokenSource>) -> Addr<TokenKeeper> {
        let keeper = TokenKeeper {
            app: app.clone(),
            source,
            ready: self.broker.ready.clone(),
            clock: self.broker.clock.clone(),
            metrics: self
                .broker
                .telemetry
                .actor(ActorKind::TokenKeeper, Instant::now()),
        };
        supervise::start(
            ActorKind::TokenKeeper,
            token_keeper::CAPACITY,
            self.watch.clone(),
            |_| keeper,
        )
    }

    fn pacer(&self, app: &Arc<App>) -> Addr<Pacer> {
        let pacer = Pacer {
            broker: self.broker.clone(),
            app: app.clone(),
            metrics: self
                .broker
                .telemetry
                .actor(ActorKind::Pacer, Instant::now()),
        };
        supervise::start(
            ActorKind::Pacer,
            pacer::CAPACITY,
            self.watch.clone(),
            |_| pacer,
        )
    }

    fn scout(&self) -> Addr<Scout> {
        let scout = Scout {
            broker: self.broker.clone(),
            metrics: self
                .broker
                .telemetry
                .actor(ActorKind::Scout, Instant::now()),
        };
        supervise::start(
            ActorKind::Scout,
            scout::CAPACITY,
            self.watch.clone(),
            |_| scout,
        )
    }

    fn sharer(&self) -> Addr<Sharer> {
        let sharer = Sharer {
            broker: self.broker.clone(),
            metrics: self
                .broker
                .telemetry
                .actor(ActorKind::Sharer, Instant::now()),
        };
        supervise::start(
            ActorKind::Sharer,
            sharer::CAPACITY,
            self.watch.clone(),
            |_| sharer,
        )
    }

    fn janitor(&self) -> Addr<Janitor> {
        let metrics = self
            .broker
            .telemetry
            .actor(ActorKind::Janitor, Instant::now());
        let janitor = Janitor {
            broker: self.broker.clone(),
            metrics,
        };
        supervise::start(
            ActorKind::Janitor,
            janitor::CAPACITY,
            self.watch.clone(),
            |_| janitor,
        )
    }

    fn sampler(&self) -> Addr<Sampler> {
        let metrics = self
            .broker
            .telemetry
            .actor(ActorKind::Sampler, Instant::now());
        let sampler = Sampler {
            broker: self.broker.clone(),
            metrics,
        };
        supervise::start(
            ActorKind::Sampler,
            sampler::CAPACITY,
            self.watch.clone(),
            |_| sampler,
        )
    }

    async fn dispatchers(
        &self,
        wns: &WnsFactory,
        placement: Placement,
    ) -> (Vec<(Addr<Dispatcher>, Permits)>, Vec<Arbiter>) {
        let mut dispatchers = Vec::new();
        let mut arbiters = Vec::new();
        for number in 0..self.broker.settings.dispatchers {
            let permits = Permits::new(self.broker.settings.in_flight_max);
            let build = self.dispatcher(number, wns.clone(), permits.clone());
            let address = match placement {
                Placement::Here => build(),
                Placement::Arbiters => {
                    let arbiter = Arbiter::new();
                    let (tell, told) = oneshot::channel();
                    // Nobody listens any more only if the start was given up.
                    arbiter.spawn_fn(move || drop(tell.send(build())));
                    arbiters.push(arbiter);
                    told.await.expect("a new arbiter runs what it is given")
                }
            };
            dispatchers.push((address, permits));
        }
        (dispatchers, arbiters)
    }

    fn dispatcher(
        &self,
        number: usize,
        wns: WnsFactory,
        permits: Permits,
    ) -> impl FnOnce() -> Addr<Dispatcher> + Send + 'static {
        let (broker, watch) = (self.broker.clone(), self.watch.clone());
        let metrics = broker
            .telemetry
            .actor(ActorKind::Dispatcher, Instant::now());
        move || {
            let dispatcher = Dispatcher::new(number, broker, wns(), permits, metrics);
            supervise::start(ActorKind::Dispatcher, dispatcher::CAPACITY, watch, |_| {
                dispatcher
            })
        }
    }
}
