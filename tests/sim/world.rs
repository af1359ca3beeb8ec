//! The world around the actors: a clock on paused time, a WNS and a token endpoint that follow a script, and chaos.

use std::{
    cell::RefCell,
    collections::HashMap,
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use reveille::{
    actors::{
        self, ActorSet, AppSettings, AppSource, Deps, DispatchSettings, Placement,
        roster::{Directory, Membership},
        supervise::{Exit, Watch},
    },
    domain::{
        ask::{Class, Goal, Source},
        channel::ChannelState,
        id::{AppId, DeviceId, DeviceKey, TenantId},
        pace::PaceBounds,
        schedule::Rules,
        transition::{AskRequest, Step, open, register},
        wns::{
            channel_uri::{ChannelUri, HostPolicy},
            reply::{ChannelRefusal, Outcome, Trace, UnavailableKind},
            token::{AccessToken, TokenFailure, TokenReply},
        },
    },
    ports::{
        clock::Clock,
        error::StoreError,
        records::Urgency,
        wns::{Answer, Notification, TokenSource, Wns},
    },
    service::edit::{Decision, Edit, edit},
    telemetry::{ActorKind, Telemetry},
};
use tokio::time::Instant;

use crate::store::MemoryStore;

/// Wall time that follows tokio's paused clock.
pub(crate) struct SimClock {
    origin: Instant,
    epoch: Timestamp,
}

impl SimClock {
    pub(crate) fn new() -> Arc<Self> {
        let epoch = "2026-11-22T12:00:00Z".parse().unwrap();
        Arc::new(Self {
            origin: Instant::now(),
            epoch,
        })
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        self.epoch + SignedDuration::try_from(self.origin.elapsed()).unwrap()
    }
}

/// The clock of the actors, which panics when told to: they ask for the time in nearly everything they do, so that a panic can
/// come at any place of any actor.
struct NervousClock {
    clock: Arc<SimClock>,
    chaos: Arc<Chaos>,
}

impl Clock for NervousClock {
    fn now(&self) -> Timestamp {
        self.chaos.maybe_panic("clock");
        self.clock.now()
    }
}

/// How often things go wrong, each in 0.0..=1.0.
#[derive(Clone, Copy, Default)]
pub(crate) struct Odds {
    pub(crate) panic: f64,
    pub(crate) store_fails: f64,
    pub(crate) answer_lost: f64,
}

/// What goes wrong when.
pub(crate) struct Chaos {
    odds: Mutex<Odds>,
    rng: Mutex<StdRng>,
    pub(crate) panics: AtomicU32,
}

impl Chaos {
    pub(crate) fn new(seed: u64, odds: Odds) -> Arc<Self> {
        Arc::new(Self {
            odds: Mutex::new(odds),
            rng: Mutex::new(StdRng::seed_from_u64(seed)),
            panics: AtomicU32::new(0),
        })
    }

    /// Changes the odds, and gives back what they were.
    pub(crate) fn set(&self, odds: Odds) -> Odds {
        std::mem::replace(&mut self.odds.lock().unwrap(), odds)
    }

    pub(crate) fn chance(&self, odds: f64) -> bool {
        odds > 0.0 && self.rng.lock().unwrap().random_bool(odds)
    }

    pub(crate) fn number(&self, below: u64) -> u64 {
        self.rng.lock().unwrap().random_range(0..below)
    }

    pub(crate) fn maybe_panic(&self, place: &str) {
        let odds = self.odds.lock().unwrap().panic;
        if self.chance(odds) {
            self.panics.fetch_add(1, Ordering::Relaxed);
            panic!("injected in {place}");
        }
    }

    pub(crate) fn store_fails(&self) -> bool {
        let odds = self.odds.lock().unwrap().store_fails;
        self.chance(odds)
    }

    pub(crate) fn answer_lost(&self) -> bool {
        let odds = self.odds.lock().unwrap().answer_lost;
        self.chance(odds)
    }

    pub(crate) fn store_latency(&self) -> Duration {
        Duration::from_micros(200 + self.number(3_000))
    }
}

/// One POST that arrived.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    pub(crate) device: DeviceKey,
    pub(crate) began: Instant,
    pub(crate) token: String,
    pub(crate) outcome: Outcome,
}

/// Says what WNS answers, and when.
pub(crate) type Script = Box<dyn Fn(&Post, &Chaos) -> (Duration, Outcome)>;

/// A WNS that follows a script. It fails the test when it is sent to a channel that the store knows to be dead.
pub(crate) struct ScriptedWns {
    pub(crate) script: RefCell<Script>,
    pub(crate) posts: RefCell<Vec<Post>>,
    store: Arc<MemoryStore>,
    chaos: Arc<Chaos>,
    devices: RefCell<HashMap<String, DeviceKey>>,
    pub(crate) to_dead: RefCell<Vec<DeviceKey>>,
}

#[async_trait(?Send)]
impl Wns for ScriptedWns {
    async fn send(&self, notification: Notification, _: Timestamp) -> Answer {
        let device = self.devices.borrow()[notification.uri.expose()].clone();
        let bearer = notification.bearer.header().to_str().unwrap().to_owned();
        let token = bearer.trim_start_matches("Bearer ").to_owned();
        let post = Post {
            device,
            began: Instant::now(),
            token,
            outcome: Outcome::Dropped,
        };
        self.watch_for_the_dead(&post.device, &notification.uri);
        self.chaos.maybe_panic("wns");
        let (latency, outcome) = (self.script.borrow())(&post, &self.chaos);
        self.posts.borrow_mut().push(Post {
            outcome: outcome.clone(),
            ..post
        });
        tokio::time::sleep(latency).await;
        self.chaos.maybe_panic("wns");
        Answer {
            outcome,
            trace: Trace::default(),
        }
    }
}

impl ScriptedWns {
    fn watch_for_the_dead(&self, device: &DeviceKey, uri: &ChannelUri) {
        let channel = self.store.record(device).and_then(|record| record.channel);
        let Some(channel) = channel.filter(|channel| channel.uri == *uri) else {
            return;
        };
        let dead = matches!(
            channel.state,
            ChannelState::Dead { .. } | ChannelState::Suspect { .. }
        );
        if dead && !channel.usable() {
            self.to_dead.borrow_mut().push(device.clone());
        }
    }
}

/// A token endpoint. Tokens are `t1`, `t2` and so on.
pub(crate) struct ScriptedTokens {
    pub(crate) life: Duration,
    pub(crate) fetches: Mutex<Vec<Instant>>,
    pub(crate) in_flight: AtomicU32,
    pub(crate) overlapped: AtomicBool,
    pub(crate) refuses: AtomicBool,
    chaos: Arc<Chaos>,
    pub(crate) outages: f64,
}

#[async_trait]
impl TokenSource for ScriptedTokens {
    async fn fetch(&self) -> Result<TokenReply, TokenFailure> {
        if self.in_flight.fetch_add(1, Ordering::SeqCst) > 0 {
            self.overlapped.store(true, Ordering::SeqCst);
        }
        let _leave = Leave(&self.in_flight);
        let number = {
            let mut fetches = self.fetches.lock().unwrap();
            fetches.push(Instant::now());
            fetches.len()
        };
        tokio::time::sleep(Duration::from_millis(50)).await;
        self.chaos.maybe_panic("token source");
        if self.refuses.load(Ordering::SeqCst) {
            let text = |t: &str| t.to_owned().into();
            return Err(TokenFailure::Credential {
                error: text("invalid_client"),
                description: text("as told"),
            });
        }
        if self.chaos.chance(self.outages) {
            return Err(reveille::domain::wns::reply::TransportFailure::Timeout.into());
        }
        let access_token = AccessToken::new(&format!("t{number}")).unwrap();
        Ok(TokenReply {
            access_token,
            expires_in: self.life,
        })
    }
}

struct Leave<'a>(&'a AtomicU32);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Every tenant uses the app of its name.
struct SameName;

#[async_trait]
impl Directory for SameName {
    async fn membership(&self, tenant: &TenantId) -> Result<Option<Membership>, StoreError> {
        let app = AppId::new(tenant.as_str()).unwrap();
        Ok(Some(Membership { app, share: 1 }))
    }

    async fn tenants_of(&self, app: &AppId) -> Result<Vec<TenantId>, StoreError> {
        Ok(vec![TenantId::new(app.as_str()).unwrap()])
    }
}

#[derive(Default)]
pub(crate) struct Deaths(pub(crate) Mutex<Vec<(ActorKind, Exit)>>);

impl Watch for Deaths {
    fn exited(&self, actor: ActorKind, exit: Exit, _: u32, _: Duration) {
        self.0.lock().unwrap().push((actor, exit));
    }

    fn gave_up(&self, actor: ActorKind, _: u32) {
        panic!("gave up on {actor:?}");
    }
}

/// What a world is made of.
pub(crate) struct Setup {
    pub(crate) seed: u64,
    pub(crate) odds: Odds,
    pub(crate) apps: Vec<&'static str>,
    pub(crate) pace: f64,
    pub(crate) token_life: Duration,
    pub(crate) token_outages: f64,
    pub(crate) in_flight_max: usize,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            seed: 1,
            odds: Odds::default(),
            apps: vec!["a"],
            pace: 500.0,
            token_life: Duration::from_hours(24),
            token_outages: 0.0,
            in_flight_max: 64,
        }
    }
}

/// Everything, running.
pub(crate) struct World {
    pub(crate) clock: Arc<SimClock>,
    pub(crate) chaos: Arc<Chaos>,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) wns: Rc<ScriptedWns>,
    pub(crate) tokens: Vec<Arc<ScriptedTokens>>,
    pub(crate) actors: ActorSet,
    pub(crate) rules: Rules,
}

thread_local! {
    static WNS: RefCell<Option<Rc<ScriptedWns>>> = const { RefCell::new(None) };
}

/// Runs a test on paused time, all on one thread.
pub(crate) fn simulate(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().start_paused(true).build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

impl World {
    pub(crate) async fn start(setup: Setup, script: Script) -> Self {
        let clock = SimClock::new();
        let chaos = Chaos::new(setup.seed, Odds::default());
        let store = MemoryStore::new(clock.clone(), chaos.clone());
        let wns = Rc::new(ScriptedWns {
            script: RefCell::new(script),
            posts: RefCell::default(),
            store: store.clone(),
            chaos: chaos.clone(),
            devices: RefCell::default(),
            to_dead: RefCell::default(),
        });
        WNS.set(Some(wns.clone()));
        let tokens: Vec<Arc<ScriptedTokens>> =
            setup.apps.iter().map(|_| tokens(&setup, &chaos)).collect();
        let deaths = Arc::new(Deaths::default());
        let source = |(app, tokens): (&&str, &Arc<ScriptedTokens>)| AppSource {
            settings: AppSettings::new(AppId::new(app).unwrap(), pace(setup.pace)),
            tokens: tokens.clone(),
        };
        let deps = Deps {
            store: store.clone(),
            clock: Arc::new(NervousClock {
                clock: clock.clone(),
                chaos: chaos.clone(),
            }),
            telemetry: Telemetry::new(Duration::from_secs(60)),
            directory: Arc::new(SameName),
            apps: setup.apps.iter().zip(&tokens).map(source).collect(),
            wns: Arc::new(|| WNS.with_borrow(|wns| wns.clone().unwrap())),
            watch: deaths.clone(),
        };
        let mut settings = DispatchSettings::new("sim".to_owned(), Arc::from(*b"key"));
        settings.dispatchers = 2;
        settings.in_flight_max = setup.in_flight_max;
        let rules = Rules::default();
        let actors = actors::start(settings, Arc::new(rules.clone()), deps, Placement::Here).await;
        let world = Self {
            clock,
            chaos,
            store,
            wns,
            tokens,
            actors,
            rules,
        };
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.chaos.set(setup.odds);
        world
    }

    /// Registers a channel for each device and opens a push for it.
    pub(crate) async fn push(&self, app: &str, devices: std::ops::Range<usize>, class: Class) {
        self.ask(app, devices, &self.request(class)).await;
    }

    /// A direct request that ends with the first notification that WNS takes.
    pub(crate) fn request(&self, class: Class) -> AskRequest {
        AskRequest {
            source: Source::Direct,
            class,
            goal: Goal::Accepted,
            deadline: self.clock.now() + SignedDuration::from_hours(2),
            reason: None,
            trace: None,
        }
    }

    pub(crate) async fn ask(
        &self,
        app: &str,
        devices: std::ops::Range<usize>,
        request: &AskRequest,
    ) {
        let edits: Vec<Edit<AskRequest>> = devices
            .map(|n| Edit::new(self.device(app, n), request.clone()))
            .collect();
        let rules = self.rules.clone();
        // The console's own calls are no part of the chaos.
        let odds = self.chaos.set(Odds::default());
        loop {
            let decided = edit(
                &*self.store,
                edits.clone(),
                Urgency::Open,
                |key, request, record| {
                    let step = Step {
                        rules: &rules,
                        device: &key.device,
                        now: self.clock.now(),
                        jitter: 0.5,
                    };
                    let mut record = record.unwrap_or_default();
                    if record.push.is_some() || record.closed.is_some() {
                        return Decision::Leave(());
                    }
                    let (_, mut effects) = register(&step, &mut record, uri(key));
                    effects.absorb(open(&step, &mut record, request.clone()).unwrap().1);
                    Decision::Commit(Some(record), effects, ())
                },
            )
            .await;
            if decided.is_ok() {
                self.chaos.set(odds);
                return;
            }
        }
    }

    pub(crate) fn device(&self, app: &str, n: usize) -> DeviceKey {
        let key = DeviceKey::new(
            TenantId::new(app).unwrap(),
            DeviceId::new(&format!("d{n}")).unwrap(),
        );
        self.wns
            .devices
            .borrow_mut()
            .insert(uri(&key).expose().to_owned(), key.clone());
        key
    }

    /// Lets time pass until no push is open.
    pub(crate) async fn settle(&self, longest: Duration) {
        let until = Instant::now() + longest;
        while self
            .store
            .records()
            .iter()
            .any(|record| record.push.is_some())
        {
            assert!(
                Instant::now() < until,
                "pushes are still open after {longest:?}"
            );
            tokio::time::sleep(longest / 1_000).await;
        }
    }

    pub(crate) fn posts(&self) -> Vec<Post> {
        self.wns.posts.borrow().clone()
    }
}

fn tokens(setup: &Setup, chaos: &Arc<Chaos>) -> Arc<ScriptedTokens> {
    Arc::new(ScriptedTokens {
        life: setup.token_life,
        fetches: Mutex::default(),
        in_flight: AtomicU32::new(0),
        overlapped: AtomicBool::new(false),
        refuses: AtomicBool::new(false),
        chaos: chaos.clone(),
        outages: setup.token_outages,
    })
}

pub(crate) fn pace(per_second: f64) -> PaceBounds {
    PaceBounds {
        start: per_second,
        floor: per_second.min(1.0),
        ceiling: per_second,
    }
}

fn uri(key: &DeviceKey) -> ChannelUri {
    // Ten regions, as WNS has several.
    let region = key.device.as_str().bytes().last().unwrap_or(b'0');
    let text = format!(
        "https://r{}.notify.windows.com/?token={}-{}",
        char::from(region),
        key.tenant,
        key.device
    );
    ChannelUri::parse(&text, &HostPolicy::default()).unwrap()
}

pub(crate) const ACCEPTED: Outcome = Outcome::Accepted {
    cached: false,
    stated: true,
};

pub(crate) fn always(outcome: Outcome) -> Script {
    Box::new(move |_, _| (Duration::from_millis(20), outcome.clone()))
}

/// A WNS in all its moods; refusals of channels are rare enough to be no wave.
pub(crate) fn moody() -> Script {
    Box::new(|_, chaos| {
        let latency = Duration::from_millis(5 + chaos.number(200));
        let unavailable = |kind| Outcome::Unavailable {
            kind,
            retry_after: None,
        };
        match chaos.number(100) {
            0..70 => (latency, ACCEPTED),
            70..80 => (latency, Outcome::Dropped),
            80..85 => (latency, Outcome::ChannelThrottled { retry_after: None }),
            85..90 => (
                latency,
                Outcome::ChannelRefused {
                    cause: ChannelRefusal::Gone,
                },
            ),
            90..93 => (latency, unavailable(UnavailableKind::Http { status: 503 })),
            93..95 => (
                Duration::from_secs(15),
                unavailable(UnavailableKind::Timeout),
            ),
            95..98 => (latency, unavailable(UnavailableKind::Reset)),
            98..99 => (latency, Outcome::TokenRefused),
            _ => (
                latency,
                Outcome::OurFault {
                    status: 400,
                    description: None,
                },
            ),
        }
    })
}
