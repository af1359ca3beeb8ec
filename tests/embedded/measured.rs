//! What is told of a store that a broker works with: each call once, and the events that commits have written.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use reveille::{
    adapters::measured::MeasuredStore,
    domain::{
        event::{Event, EventKind},
        id::{AppId, TenantId},
    },
    ports::{
        Store,
        documents::Precondition,
        feed::After,
        queues::{Selector, Want},
        records::{Committed, Expect, Fence, Item, ListName, Urgency},
        shares::ShareRequest,
    },
    telemetry::{StoreOperation, Telemetry},
};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::{HandClock, key, open, put, queue};

const SOON: Duration = Duration::from_secs(60);

/// A store on a new folder, as a broker uses it.
struct Bench {
    store: Arc<dyn Store>,
    telemetry: Telemetry,
    _folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        let (folder, clock) = (TempDir::new().unwrap(), HandClock::start());
        let telemetry = Telemetry::new(SOON);
        let store = MeasuredStore::new(open(folder.path(), &clock), telemetry.clone());
        Self {
            store: Arc::new(store),
            telemetry,
            _folder: folder,
        }
    }

    /// The value of a series, by its whole name.
    fn value(&self, series: &str) -> u64 {
        let text = self.telemetry.render(Instant::now());
        let line = text.lines().find_map(|line| line.strip_prefix(series));
        let value = line.unwrap_or_else(|| panic!("there is no {series}"));
        value.trim().parse().unwrap()
    }

    fn calls(&self, operation: StoreOperation) -> u64 {
        let name = "reveille_store_operation_duration_seconds_count";
        self.value(&format!("{name}{{operation=\"{}\"}}", operation.as_str()))
    }

    fn failures(&self, operation: &str, fault: &str) -> u64 {
        self.value(&format!(
            "reveille_store_errors_total{{operation=\"{operation}\",fault=\"{fault}\"}}"
        ))
    }

    fn events(&self, kind: EventKind) -> u64 {
        self.value(&format!(
            "reveille_feed_events_total{{type=\"{}\"}}",
            kind.as_str()
        ))
    }
}

fn tenant() -> TenantId {
    TenantId::new("contoso").unwrap()
}

fn event(kind: EventKind) -> Event {
    Event::of_device(kind, Timestamp::UNIX_EPOCH, &key(1).device)
}

fn telling(item: Item, kinds: &[EventKind]) -> Item {
    let events = kinds.iter().map(|kind| event(*kind)).collect();
    Item { events, ..item }
}

/// Calls everything that is about records and queues, once.
async fn move_devices(store: &dyn Store) {
    let (tenant, queue) = (tenant(), queue());
    let fence = Fence {
        name: "f".to_owned(),
        epoch: 1,
    };
    let selector = Selector {
        tenant: tenant.clone(),
        flow: None,
    };
    let wants = [Want {
        queue: queue.clone(),
        limit: 1,
    }];
    let items = vec![put(1, 1)];
    store.read(&[key(1)]).await.unwrap();
    store.commit(items, Urgency::Open, None).await.unwrap();
    store.raise_fence(&fence).await.unwrap();
    store.scan(&tenant, None, 10).await.unwrap();
    store.ready().await.unwrap();
    store.claim(&wants).await.unwrap();
    store.hand_back(Vec::new()).await.unwrap();
    store.park(&selector).await.unwrap();
    store.unpark(&selector).await.unwrap();
    store.browse(&queue, None, 10).await.unwrap();
    store.census().await.unwrap();
}

/// Calls everything that is about lists, counters and feeds, once.
async fn look_around(store: &dyn Store) {
    let (tenant, dead) = (tenant(), ListName::Channels("dead"));
    let held = vec![event(EventKind::AppHeld)];
    store.members(&tenant, &dead, None, 10).await.unwrap();
    store.find(&tenant, &dead, &[key(1).device]).await.unwrap();
    store.first(&tenant, &dead, 10).await.unwrap();
    store.drop_list(&tenant, &dead).await.unwrap();
    store.counters(&tenant, "").await.unwrap();
    store.tenants().await.unwrap();
    store.drop_counters(&tenant, "x").await.unwrap();
    store.events(&tenant, &After::Oldest, 10).await.unwrap();
    store.append(&tenant, held).await.unwrap();
    store.trim().await.unwrap();
}

/// Calls everything else, once.
async fn keep_house(store: &dyn Store) {
    let share = ShareRequest {
        app: AppId::new("contoso").unwrap(),
        pace_per_second: 1.0,
        demand_per_second: 1.0,
    };
    let any = Precondition::Any;
    store.put("a", "1".into(), any, None).await.unwrap();
    store.get("a").await.unwrap();
    store.list("a", None, 10).await.unwrap();
    store.delete("a").await.unwrap();
    store.hold("l", "me", SOON).await.unwrap();
    store.release("l", "me").await.unwrap();
    store.renew("me", &[share], SOON).await.unwrap();
    store.probe().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn every_call_is_timed_once_under_its_operation() {
    let bench = Bench::new();

    move_devices(&*bench.store).await;
    look_around(&*bench.store).await;
    keep_house(&*bench.store).await;

    for operation in StoreOperation::ALL {
        let calls = match operation {
            StoreOperation::Read
            | StoreOperation::Claim
            | StoreOperation::Commit
            | StoreOperation::Probe => 1,
            StoreOperation::Query => 7,
            StoreOperation::Queue => 5,
            StoreOperation::Document | StoreOperation::Lease => 4,
            StoreOperation::Feed => 2,
            StoreOperation::Upkeep => 3,
            StoreOperation::Streams => 0,
        };
        assert_eq!(bench.calls(*operation), calls, "{operation:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_fails_is_timed_and_counted_and_a_cursor_made_up_is_nobodys_failure() {
    let bench = Bench::new();
    let tenant = tenant();

    let page = bench.store.scan(&tenant, Some("nonsense"), 10).await;
    assert!(page.is_err(), "{page:?}");
    assert_eq!(bench.failures("query", "damaged"), 0);

    bench.store.close().await.unwrap();
    bench.store.read(&[key(1)]).await.unwrap_err();
    bench.store.get("a").await.unwrap_err();

    assert_eq!(bench.failures("read", "unavailable"), 1);
    assert_eq!(bench.failures("document", "unavailable"), 1);
    assert_eq!(bench.calls(StoreOperation::Read), 1);
}

#[tokio::test(start_paused = true)]
async fn events_are_counted_when_they_are_written_whoever_writes_them() {
    let bench = Bench::new();
    let (closed, died) = (EventKind::PushClosed, EventKind::ChannelDied);
    let overtaken = Item {
        expect: Expect::Absent,
        ..put(1, 2)
    };

    let items = vec![
        telling(put(1, 1), &[died, closed]),
        telling(put(2, 1), &[closed]),
    ];
    bench
        .store
        .commit(items, Urgency::Open, None)
        .await
        .unwrap();
    let lost = vec![telling(overtaken, &[closed])];
    let lost = bench.store.commit(lost, Urgency::Open, None).await.unwrap();
    assert!(matches!(lost[..], [Committed::Conflict(_)]), "{lost:?}");
    let started = vec![event(EventKind::CampaignStarted)];
    bench.store.append(&tenant(), started).await.unwrap();

    assert_eq!(bench.events(closed), 2);
    assert_eq!(bench.events(died), 1);
    assert_eq!(bench.events(EventKind::CampaignStarted), 1);
    assert_eq!(bench.events(EventKind::CampaignPaused), 0);
}
