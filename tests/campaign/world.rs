//! A broker's campaigns over an embedded store, with a clock that the test sets and devices that it plays.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use reveille::{
    adapters::embedded::{EmbeddedOptions, EmbeddedStore},
    domain::{
        ask::{Class, Goal},
        campaign::{Definition, Pace, Selection, TargetStatus, TargetView, Until, Wave},
        counter::Moves,
        id::{AppId, CampaignId, DeviceId, DeviceKey, TenantId},
        item::{Change, Expect, Item, Placement},
        record::Revision,
        schedule::Rules,
        transition::{Attempt, check_in, register, settle},
        wns::{
            channel_uri::ChannelUri,
            reply::{Outcome, Trace},
        },
    },
    ports::{
        Store,
        clock::Clock,
        feed::After,
        queues::Want,
        records::{Committed, Urgency},
    },
    service::{
        campaign::{Campaigns, Ended, Report, Shift},
        desk::Desk,
        edit::Decision,
        status::{ActorStatus, AppStatus, BrokerStatus, TokenState, TokenStatus},
        tenants::{Tenant, Tenants},
    },
    telemetry::Telemetry,
};
use tempfile::TempDir;
use tokio::{task::LocalSet, time::sleep};

/// How often a test looks whether something has come true, in paused time.
const LOOK: Duration = Duration::from_millis(100);
/// Looks until a test gives up.
const LOOKS_MAX: usize = 20_000;

/// Runs a test with tasks, in paused time.
pub(crate) async fn local(test: impl Future<Output = ()>) {
    LocalSet::new().run_until(test).await;
}

struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.0.load(Ordering::SeqCst)).unwrap()
    }
}

/// An app that sends 800 a second.
struct Steady;

impl BrokerStatus for Steady {
    fn recent_failures(&self, _: &AppId) -> Vec<reveille::telemetry::RecentFailure> {
        Vec::new()
    }

    fn app(&self, _: &AppId) -> Option<AppStatus> {
        Some(AppStatus {
            token: TokenStatus {
                state: TokenState::Valid,
                expires_at: None,
                detail: None,
            },
            pace_per_second: 800.0,
            share_per_second: 800.0,
            in_flight: 0,
            throttled_until: None,
            hosts_avoided: Vec::new(),
            outage: false,
            holds: Vec::new(),
        })
    }

    fn unserved(&self) -> BTreeMap<TenantId, u64> {
        BTreeMap::new()
    }

    fn actors(&self) -> Vec<ActorStatus> {
        Vec::new()
    }
}

pub(crate) struct World {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) campaigns: Campaigns,
    pub(crate) tenant: TenantId,
    desk: Desk,
    clock: Arc<TestClock>,
    _folder: TempDir,
}

pub(crate) fn device(n: usize) -> DeviceId {
    DeviceId::new(&format!("d{n}")).unwrap()
}

pub(crate) fn devices(count: usize) -> Vec<DeviceId> {
    (0..count).map(device).collect()
}

pub(crate) fn definition(selection: Selection, goal: Goal) -> Definition {
    Definition {
        name: "revoke CA 7".to_owned(),
        reason: None,
        class: Class::Normal,
        goal,
        until: Until::ExpiresIn(Duration::from_secs(3_600)),
        pace: Pace::default(),
        waves: Vec::new(),
        selection,
    }
}

impl World {
    /// A tenant with `count` devices that have live channels.
    pub(crate) async fn new(count: usize) -> Self {
        let folder = TempDir::new().unwrap();
        let now = AtomicI64::new(1_760_000_000_000);
        let clock = Arc::new(TestClock(now));
        let options = EmbeddedOptions {
            segment_bytes: 1024 * 1024,
            ballast_bytes: 0,
            ..EmbeddedOptions::new(folder.path().join("store"), clock.clone())
        };
        let store: Arc<dyn Store> = EmbeddedStore::open(options).unwrap();
        let desk = Desk {
            store: store.clone(),
            clock: clock.clone(),
            rules: Arc::new(Rules::default()),
            telemetry: Telemetry::new(Duration::from_secs(60)),
            fence: None,
        };
        let app = AppId::new("contoso").unwrap();
        let tenant = TenantId::new("contoso").unwrap();
        let configured = Tenant {
            id: tenant.clone(),
            app: app.clone(),
            share: 1,
        };
        let tenants = Arc::new(Tenants::new(store.clone(), vec![configured], vec![app]));
        let campaigns = Campaigns::new(desk.clone(), tenants, Arc::new(Steady));
        let world = Self {
            store,
            campaigns,
            tenant,
            desk,
            clock,
            _folder: folder,
        };
        world
            .register_all((0..count).map(|n| (n, 1)).collect())
            .await;
        world
    }

    pub(crate) fn pass(&self, seconds: i64) {
        self.clock.0.fetch_add(seconds * 1_000, Ordering::SeqCst);
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    // === devices ===

    pub(crate) async fn register(&self, n: usize, generation: u32) {
        self.register_all(vec![(n, generation)]).await;
    }

    async fn register_all(&self, channels: Vec<(usize, u32)>) {
        let uri = |(n, generation): (usize, u32)| {
            let text = format!("https://db5p.notify.windows.com/?token=AwYA{n}.{generation}");
            (device(n), ChannelUri::from_stored(&text))
        };
        let jobs = channels.into_iter().map(uri).collect();
        let done = self
            .desk
            .change(&self.tenant, jobs, Urgency::Open, |step, uri, record| {
                let mut record = record.unwrap_or_default();
                let (_, effects) = register(step, &mut record, uri.clone());
                Decision::Commit(Some(record), effects, ())
            });
        done.await.unwrap();
    }

    /// WNS answers a notification to the device.
    pub(crate) async fn answer(&self, n: usize, outcome: Outcome) {
        let job = vec![(device(n), ())];
        let done = self
            .desk
            .change(&self.tenant, job, Urgency::Settle, |step, (), record| {
                let mut record = record.unwrap();
                let attempt = Attempt {
                    began_at: step.now,
                    asks: record.asked(),
                    generation: record.generation(),
                    outcome: outcome.clone(),
                    trace: Trace::default(),
                    ms_cv: Arc::from("cv"),
                    ttl: Duration::from_secs(600),
                    wave: false,
                };
                let effects = settle(step, &mut record, &attempt);
                Decision::Commit(Some(record), effects, ())
            });
        done.await.unwrap();
    }

    pub(crate) async fn accept(&self, n: usize) {
        let outcome = Outcome::Accepted {
            cached: false,
            stated: true,
        };
        self.answer(n, outcome).await;
    }

    /// WNS accepts a notification for each open target; answers which they are.
    pub(crate) async fn accept_open(&self, id: &CampaignId) -> Vec<usize> {
        let open = self.targets(id, &[TargetStatus::Open]).await;
        let numbers = open.iter().map(|t| t.device.as_str()[1..].parse().unwrap());
        let numbers: Vec<usize> = numbers.collect();
        for n in &numbers {
            self.accept(*n).await;
        }
        numbers
    }

    pub(crate) async fn check_in(&self, n: usize) {
        let job = vec![(device(n), ())];
        let done = self
            .desk
            .change(&self.tenant, job, Urgency::Settle, |step, (), record| {
                let mut record = record.unwrap();
                let noted = check_in(step, &mut record, step.now);
                Decision::Commit(Some(record), noted.effects, ())
            });
        done.await.unwrap();
    }

    /// Makes a device's record unreadable.
    pub(crate) async fn damage(&self, device: &DeviceId) {
        let key = DeviceKey::new(self.tenant.clone(), device.clone());
        let found = self.store.read(std::slice::from_ref(&key)).await.unwrap();
        let item = Item {
            key,
            expect: Expect::Revision(found[0].as_ref().unwrap().revision),
            lease: None,
            change: Change::Put(Revision(rand::random()), "damaged".into()),
            placement: Placement::default(),
            moves: Moves::default(),
            lists: Vec::new(),
            events: Vec::new(),
        };
        let done = self.store.commit(vec![item], Urgency::Open, None).await;
        assert_eq!(done, Ok(vec![Committed::Done]));
    }

    pub(crate) async fn forget(&self, n: usize) {
        let forgotten = vec![device(n)];
        reveille::service::devices::forget(&self.desk, &self.tenant, forgotten)
            .await
            .unwrap();
    }

    /// How many pushes a dispatcher could take now.
    pub(crate) async fn claimable(&self) -> usize {
        let ready = self.store.ready().await.unwrap();
        let want = |ready: reveille::ports::queues::Ready| Want {
            queue: ready.queue,
            limit: 256,
        };
        let wants: Vec<Want> = ready.into_iter().map(want).collect();
        let claimed = self.store.claim(&wants).await.unwrap();
        let count = claimed.len();
        let back = claimed
            .into_iter()
            .map(|c| (c.key, c.lease, self.now()))
            .collect();
        self.store.hand_back(back).await.unwrap();
        count
    }

    // === campaigns ===

    pub(crate) async fn draft(&self, definition: Definition, targets: usize) -> CampaignId {
        let campaign = self.campaigns.create(&self.tenant, definition).await;
        let id = campaign.unwrap().id;
        for chunk in devices(targets).chunks(1_000) {
            self.campaigns
                .add_targets(&self.tenant, &id, chunk, false)
                .await
                .unwrap();
        }
        id
    }

    pub(crate) async fn started(&self, definition: Definition, targets: usize) -> CampaignId {
        let id = self.draft(definition, targets).await;
        self.campaigns.start(&self.tenant, &id, None).await.unwrap();
        id
    }

    /// A shift at the campaign, on a task of its own.
    pub(crate) fn shift(
        &self,
        id: &CampaignId,
    ) -> tokio::task::JoinHandle<Result<Ended, reveille::ports::error::StoreError>> {
        let key = (self.tenant.clone(), id.clone());
        let owner = format!("test/{}", rand::random::<u64>());
        tokio::task::spawn_local(Shift::new(self.campaigns.clone(), key, owner).work())
    }

    pub(crate) async fn report(&self, id: &CampaignId) -> Report {
        let report = self.campaigns.report(&self.tenant, id).await.unwrap();
        assert!(report.counts.add_up(), "{:?}", report.counts);
        report
    }

    /// Waits until the report is as `wanted`.
    pub(crate) async fn until(&self, id: &CampaignId, wanted: impl Fn(&Report) -> bool) -> Report {
        for _ in 0..LOOKS_MAX {
            let report = self.report(id).await;
            if wanted(&report) {
                return report;
            }
            sleep(LOOK).await;
        }
        panic!("still {:?}", self.report(id).await);
    }

    pub(crate) async fn targets(
        &self,
        id: &CampaignId,
        states: &[TargetStatus],
    ) -> Vec<TargetView> {
        let mut found = Vec::new();
        let mut cursor = None;
        loop {
            let page = (cursor.as_deref(), 100);
            let page = self.campaigns.targets(&self.tenant, id, states, page);
            let page = page.await.unwrap();
            found.extend(page.items);
            cursor = page.next;
            if cursor.is_none() {
                return found;
            }
        }
    }

    /// Waits until the types of all campaign events are `wanted`: each is told after the state that it tells of.
    pub(crate) async fn until_told(&self, wanted: &[&str]) {
        for _ in 0..LOOKS_MAX {
            if self.told().await == wanted {
                return;
            }
            sleep(LOOK).await;
        }
        panic!("{wanted:?} were not told: {:?}", self.told().await);
    }

    async fn told(&self) -> Vec<String> {
        let mut events = Vec::new();
        let mut after = After::Oldest;
        loop {
            let (page, next) = self
                .store
                .events(&self.tenant, &after, 1_000)
                .await
                .unwrap();
            if page.is_empty() {
                break;
            }
            events.extend(page);
            after = After::Cursor(next);
        }
        let kinds = events.iter().map(|entry| {
            let event: serde_json::Value = serde_json::from_slice(&entry.json).unwrap();
            event["type"].as_str().unwrap().to_owned()
        });
        kinds.filter(|kind| kind.starts_with("campaign.")).collect()
    }
}

pub(crate) fn wave(size: &str, hold: u64, checked_in_min: &str) -> Wave {
    Wave {
        size: reveille::domain::campaign::WaveSize::Share(size.parse().unwrap()),
        gate: reveille::domain::campaign::Gate {
            hold: Duration::from_secs(hold),
            checked_in_min: checked_in_min.parse().ok(),
            errors_max: None,
        },
    }
}
