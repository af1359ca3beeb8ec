//! Webhooks over a real store: signed, at least once, in order for each device, and no endpoint waits for another.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;
use reveille::{
    adapters::{
        embedded::{EmbeddedOptions, EmbeddedStore},
        webhook::{CourierOptions, WebhookCourier},
    },
    domain::{
        event::{Event, EventKind},
        id::{DeviceId, TenantId, WebhookId},
        webhook::{Allowed, Patience, Receipt, Secret, Settings, sign},
    },
    ports::{
        Store,
        clock::Clock,
        documents::Precondition,
        error::StoreError,
        feed::{After, Cursor},
        webhooks::{Courier, Delivery},
    },
    service::webhook::{Delivering, Means, Standing, Webhooks},
    telemetry::Telemetry,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::{JoinHandle, LocalSet},
    time::sleep,
};

struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.0.load(Ordering::SeqCst)).unwrap()
    }
}

/// Endpoints by their address: what each answers next, and what it has taken.
#[derive(Default)]
struct Endpoints {
    answers: Mutex<HashMap<String, VecDeque<Receipt>>>,
    taken: Mutex<Vec<Delivery>>,
    tries: Mutex<HashMap<String, u32>>,
}

#[async_trait]
impl Courier for Endpoints {
    async fn deliver(&self, delivery: Delivery) -> Receipt {
        let url = delivery.url.clone();
        *self.tries.lock().unwrap().entry(url.clone()).or_default() += 1;
        let answer = self
            .answers
            .lock()
            .unwrap()
            .get_mut(&url)
            .and_then(VecDeque::pop_front);
        let answer = answer.unwrap_or(Receipt::Taken);
        if answer == Receipt::Taken {
            self.taken.lock().unwrap().push(delivery);
        }
        answer
    }
}

struct World {
    store: Arc<dyn Store>,
    webhooks: Webhooks,
    endpoints: Arc<Endpoints>,
    means: Means,
    tenant: TenantId,
    clock: Arc<TestClock>,
    _folder: TempDir,
}

fn busy() -> Receipt {
    Receipt::Refused {
        status: 503,
        retry_after: None,
    }
}

impl World {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let clock = Arc::new(TestClock(AtomicI64::new(1_760_000_000_000)));
        let options = EmbeddedOptions {
            segment_bytes: 1024 * 1024,
            ballast_bytes: 0,
            feed_events_max: 50,
            ..EmbeddedOptions::new(folder.path().join("store"), clock.clone())
        };
        let store: Arc<dyn Store> = EmbeddedStore::open(options).unwrap();
        let endpoints = Arc::new(Endpoints::default());
        Self {
            webhooks: Webhooks::new(store.clone(), clock.clone(), Allowed::default()),
            means: Means {
                courier: endpoints.clone(),
                patience: Patience::default(),
                telemetry: Telemetry::new(Duration::from_secs(60)),
            },
            store,
            endpoints,
            tenant: TenantId::new("contoso").unwrap(),
            clock,
            _folder: folder,
        }
    }

    async fn webhook(&self, name: &str, batch_max: u16, types: &[&str]) -> WebhookId {
        let settings = Settings {
            url: format!("https://{name}.example/hook"),
            types: types.iter().map(|t| (*t).to_owned()).collect(),
            batch_max,
        };
        self.webhooks
            .create(&self.tenant, settings)
            .await
            .unwrap()
            .id
    }

    fn deliver(&self, id: &WebhookId) -> JoinHandle<Result<(), StoreError>> {
        let (desk, means) = (self.webhooks.clone(), self.means.clone());
        let key = (self.tenant.clone(), id.clone());
        let owner = format!("test/{}", rand::random::<u64>());
        tokio::task::spawn_local(Delivering::new(desk, means, key, owner).work())
    }

    /// `count` events of each of some devices, numbered in their order.
    async fn happen(&self, kind: EventKind, devices: usize, count: usize) {
        for n in 0..count {
            let event = |d: usize| {
                let device = DeviceId::new(&format!("d{d}")).unwrap();
                Event::of_device(kind, self.clock.now(), &device).with("n", n)
            };
            let events = (0..devices).map(event).collect();
            self.store.append(&self.tenant, events).await.unwrap();
        }
    }

    fn taken(&self, name: &str) -> Vec<Delivery> {
        let url = format!("https://{name}.example/hook");
        let taken = self.endpoints.taken.lock().unwrap();
        taken.iter().filter(|d| d.url == url).cloned().collect()
    }

    fn tries(&self, name: &str) -> u32 {
        let url = format!("https://{name}.example/hook");
        let tries = self.endpoints.tries.lock().unwrap();
        tries.get(&url).copied().unwrap_or_default()
    }

    fn answers(&self, name: &str, answers: Vec<Receipt>) {
        let url = format!("https://{name}.example/hook");
        self.endpoints
            .answers
            .lock()
            .unwrap()
            .insert(url, answers.into());
    }

    /// The metric of requests that ended so.
    fn requests(&self, result: &str) -> u64 {
        let rendered = self.means.telemetry.render(tokio::time::Instant::now());
        let result = format!("result=\"{result}\"");
        let of_it = |line: &&str| {
            line.starts_with("reveille_webhook_deliveries_total{") && line.contains(&result)
        };
        let value = rendered
            .lines()
            .find(of_it)
            .and_then(|line| line.rsplit(' ').next());
        value.map_or(0, |value| value.parse().unwrap())
    }

    async fn standing(&self, id: &WebhookId) -> Standing {
        self.webhooks.get(&self.tenant, id).await.unwrap()
    }

    async fn until(&self, wanted: impl AsyncFn() -> bool) {
        for _ in 0..20_000 {
            if wanted().await {
                return;
            }
            sleep(Duration::from_millis(50)).await;
            // Time is paused and the store's is not: nobody gives up while its disk is slow.
            let (any, ttl) = (Precondition::Any, Some(Duration::from_secs(3_600)));
            let looked = self.store.put("look", "".into(), any, ttl);
            looked.await.unwrap();
        }
        panic!("it has not come true");
    }
}

fn body(delivery: &Delivery) -> Value {
    serde_json::from_slice(&delivery.body).unwrap()
}

async fn local(test: impl Future<Output = ()>) {
    LocalSet::new().run_until(test).await;
}

#[tokio::test(start_paused = true)]
async fn events_are_signed_and_come_in_the_order_of_each_device() {
    local(async {
        let world = World::new();
        world.happen(EventKind::PushClosed, 1, 1).await;
        let id = world.webhook("a", 1, &["push.closed"]).await;
        world.deliver(&id);
        world.happen(EventKind::ChannelDied, 1, 1).await;
        world.happen(EventKind::PushClosed, 3, 4).await;

        world.until(async || world.taken("a").len() >= 12).await;

        let taken = world.taken("a");
        assert_eq!(
            taken.len(),
            12,
            "only what was asked for, and only what came later"
        );
        let mut next = HashMap::new();
        for delivery in &taken {
            let event = body(delivery);
            assert_eq!(event["type"], "push.closed");
            assert_eq!(event["timestamp"], event["time"]);
            let n = next.entry(event["data"]["device"].to_string()).or_insert(0);
            assert_eq!(event["data"]["n"], *n);
            *n += 1;
        }
        let secret: Secret = world.standing(&id).await.webhook.secret;
        let first = &taken[0];
        let signature = sign(&[&secret], &first.id, first.timestamp, &first.body);
        assert_eq!(first.signature, signature);
        world
            .until(async || world.standing(&id).await.progress.delivered == 12)
            .await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_new_secret_and_a_new_address_hold_from_the_next_event_on() {
    local(async {
        let world = World::new();
        let id = world.webhook("a", 1, &[]).await;
        world.deliver(&id);
        world.happen(EventKind::PushClosed, 1, 1).await;
        world.until(async || world.taken("a").len() == 1).await;

        world.webhooks.rotate(&world.tenant, &id).await.unwrap();
        world.happen(EventKind::PushClosed, 1, 1).await;
        world.until(async || world.taken("a").len() == 2).await;

        let second = world.taken("a").remove(1);
        let webhook = world.standing(&id).await.webhook;
        let (former, _) = webhook.former_secret.unwrap();
        let secrets = [&webhook.secret, &former];
        let both = sign(&secrets, &second.id, second.timestamp, &second.body);
        assert_eq!(second.signature, both);

        let settings = Settings {
            url: "https://b.example/hook".to_owned(),
            ..webhook.settings
        };
        let changed = world.webhooks.set(&world.tenant, &id, settings);
        changed.await.unwrap();
        world.happen(EventKind::PushClosed, 1, 1).await;
        world.until(async || world.taken("b").len() == 1).await;
        assert_eq!(world.taken("a").len(), 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_an_endpoint_does_not_take_comes_again_under_the_same_id() {
    local(async {
        let world = World::new();
        let id = world.webhook("a", 1, &[]).await;
        world.answers("a", vec![busy(), busy()]);
        world.happen(EventKind::PushClosed, 1, 3).await;
        world.deliver(&id);

        world.until(async || world.taken("a").len() == 3).await;

        let order: Vec<Value> = world
            .taken("a")
            .iter()
            .map(|d| body(d)["data"]["n"].clone())
            .collect();
        assert_eq!(order, [0, 1, 2]);
        let ids: Vec<String> = world.taken("a").iter().map(|d| d.id.clone()).collect();
        world
            .webhooks
            .replay(&world.tenant, &id, &After::Oldest)
            .await
            .unwrap();
        world.until(async || world.taken("a").len() == 6).await;
        let again: Vec<String> = world.taken("a")[3..].iter().map(|d| d.id.clone()).collect();
        assert_eq!(ids, again);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_failing_endpoint_delays_no_other_and_is_switched_off_after_days() {
    local(async {
        let world = World::new();
        let (bad, good) = (
            world.webhook("bad", 1, &[]).await,
            world.webhook("good", 10, &[]).await,
        );
        world.answers("bad", vec![busy(); 10_000]);
        world.happen(EventKind::PushClosed, 5, 2).await;
        world.deliver(&bad);
        world.deliver(&good);

        world.until(async || world.taken("good").len() == 1).await;
        let batch = body(&world.taken("good")[0]);
        assert_eq!(batch["type"], "batch");
        assert_eq!(batch["data"]["events"].as_array().unwrap().len(), 10);
        world
            .until(async || world.standing(&bad).await.progress.failures >= 3)
            .await;
        assert_eq!(world.standing(&bad).await.webhook.disabled, None);

        world
            .clock
            .0
            .fetch_add(5 * 24 * 3_600_000 + 1, Ordering::SeqCst);
        world
            .until(async || world.standing(&bad).await.webhook.disabled.is_some())
            .await;
        let disabled = world.standing(&bad).await.webhook.disabled.unwrap();
        let said =
            "every attempt has failed since 2025-10-09T08:53:20Z, the last one: answered 503";
        assert_eq!(disabled.reason, said);
        let survey = world.webhooks.survey().await.unwrap();
        assert_eq!(survey.active, [(world.tenant.clone(), good)]);
        assert_eq!(survey.disabled, [(world.tenant.clone(), 1)].into());

        // Set anew it goes on where it stopped: nothing is lost.
        world.answers("bad", Vec::new());
        let settings = world.standing(&bad).await.webhook.settings;
        world
            .webhooks
            .set(&world.tenant, &bad, settings)
            .await
            .unwrap();
        world.deliver(&bad);
        world.until(async || world.taken("bad").len() == 10).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn each_request_is_counted_by_how_it_ended_however_many_events_it_holds() {
    local(async {
        let world = World::new();
        let (one, many) = (
            world.webhook("one", 1, &[]).await,
            world.webhook("many", 4, &[]).await,
        );
        world.answers("many", vec![busy()]);
        world.happen(EventKind::PushClosed, 5, 2).await;
        world.deliver(&one);
        world
            .until(async || world.requests("delivered") == 10)
            .await;
        assert_eq!(world.requests("failed"), 0);

        world.deliver(&many);
        world.until(async || world.taken("many").len() == 3).await;
        world
            .until(async || world.requests("delivered") == 13)
            .await;
        assert_eq!(world.requests("failed"), 1);

        // Those on the wire at once fail together, and count each.
        world.answers("one", vec![busy(); 5]);
        world.happen(EventKind::PushClosed, 5, 1).await;
        world.until(async || world.taken("one").len() == 15).await;
        world.until(async || world.requests("failed") == 6).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn nobody_who_mends_a_failing_endpoint_waits_for_its_next_retry() {
    local(async {
        let world = World::new();
        let id = world.webhook("bad", 1, &[]).await;
        let good = world.webhook("good", 1, &[]).await;
        let later = || Receipt::Refused {
            status: 503,
            retry_after: Some(Duration::from_secs(3600)),
        };
        world.answers("bad", (0..100).map(|_| later()).collect());
        world.happen(EventKind::PushClosed, 1, 1).await;
        world.clock.0.fetch_add(30_000, Ordering::SeqCst);
        world.deliver(&id);
        world.deliver(&good);
        let failures = async |n| world.standing(&id).await.progress.failures >= n;
        world.until(async || failures(1).await).await;
        world.until(async || world.taken("good").len() == 1).await;

        // The one that lags is told, not the one that does not.
        let lag = "reveille_webhook_lag_seconds{tenant=\"contoso\"} 30\n";
        let rendered = || world.means.telemetry.render(tokio::time::Instant::now());
        assert!(rendered().contains(lag));

        let began = tokio::time::Instant::now();
        let (oldest, tenant) = (After::Oldest, &world.tenant);
        world.webhooks.replay(tenant, &id, &oldest).await.unwrap();
        world
            .until(async || failures(1).await && world.tries("bad") >= 2)
            .await;
        let mut settings = world.standing(&id).await.webhook.settings;
        settings.url = "https://mended.example/hook".to_owned();
        world.webhooks.set(tenant, &id, settings).await.unwrap();
        world.until(async || world.taken("mended").len() == 1).await;
        assert!(began.elapsed() < Duration::from_secs(60));
        assert!(!rendered().contains(lag));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_gone_is_left_alone() {
    local(async {
        let world = World::new();
        let id = world.webhook("a", 1, &[]).await;
        world.answers("a", vec![Receipt::Gone]);
        world.happen(EventKind::PushClosed, 1, 1).await;
        world.deliver(&id);

        world
            .until(async || world.standing(&id).await.webhook.disabled.is_some())
            .await;

        let tries = world.endpoints.tries.lock().unwrap().clone();
        assert_eq!(tries.values().sum::<u32>(), 1);
        let disabled = world.standing(&id).await.webhook.disabled.unwrap();
        let said = "it answered 410: it is gone and wants no more events";
        assert_eq!(disabled.reason, said);
        world.until(async || world.requests("disabled") == 1).await;
        assert_eq!(world.requests("failed"), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn events_that_were_trimmed_before_their_turn_are_told_as_a_gap() {
    local(async {
        let world = World::new();
        let id = world.webhook("a", 1, &[]).await;
        world.happen(EventKind::PushClosed, 100, 3).await;
        world.store.trim().await.unwrap();
        world.deliver(&id);

        world.until(async || world.taken("a").len() > 1).await;

        let first = body(&world.taken("a")[0]);
        assert_eq!(first["type"], "feed.gap");
        assert!(world.standing(&id).await.progress.gap_at.is_some());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_told_by_the_next_broker_if_the_first_could_not() {
    local(async {
        let world = World::new();
        let id = world.webhook("a", 1, &[]).await;
        world.happen(EventKind::PushClosed, 100, 3).await;
        world.store.trim().await.unwrap();
        // Until the first broker is gone.
        world.answers("a", vec![busy(); 10_000]);
        let first = world.deliver(&id);
        world
            .until(async || world.standing(&id).await.progress.failures > 0)
            .await;
        assert!(world.standing(&id).await.progress.gap_untold);
        first.abort();
        // Its lease runs out.
        sleep(Duration::from_secs(60)).await;
        world.answers("a", Vec::new());

        world.deliver(&id);

        world
            .until(async || !world.standing(&id).await.progress.gap_untold)
            .await;
        let told = world.taken("a");
        let gaps = told.iter().filter(|t| body(t)["type"] == "feed.gap");
        assert_eq!(gaps.count(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_replay_from_an_event_begins_after_it() {
    let world = World::new();
    let id = world.webhook("a", 1, &[]).await;
    world.happen(EventKind::PushClosed, 1, 3).await;
    let (events, _) = world
        .store
        .events(&world.tenant, &After::Oldest, 10)
        .await
        .unwrap();

    let cursor: Cursor = events[1].id.clone();
    let standing = world
        .webhooks
        .replay(&world.tenant, &id, &After::Cursor(cursor.clone()))
        .await
        .unwrap();
    assert_eq!(standing.progress.cursor, Some(cursor.0));
    let unknown = After::Cursor(Cursor("?".to_owned()));
    assert!(
        world
            .webhooks
            .replay(&world.tenant, &id, &unknown)
            .await
            .is_err()
    );
}

// === over HTTP ===

/// Answers one request with `answer` and gives what was sent.
async fn one_request(listener: TcpListener, answer: &'static str) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut text = String::new();
    let mut piece = [0; 4096];
    while !text.ends_with("{}") {
        let read = stream.read(&mut piece).await.unwrap();
        assert_ne!(read, 0, "the request broke off: {text}");
        text.push_str(std::str::from_utf8(&piece[..read]).unwrap());
    }
    stream.write_all(answer.as_bytes()).await.unwrap();
    text
}

fn delivery(url: String) -> Delivery {
    Delivery {
        url,
        id: "msg_1".to_owned(),
        timestamp: 1_760_000_000,
        signature: "v1,abc".to_owned(),
        body: "{}".into(),
    }
}

#[tokio::test]
async fn a_request_carries_the_three_headers_and_redirects_are_not_followed() {
    let options = CourierOptions {
        private: true,
        extra_ca: None,
    };
    let courier = WebhookCourier::new(&options).unwrap();
    let cases = [
        ("HTTP/1.1 204 No Content\r\n\r\n", Receipt::Taken),
        (
            "HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n",
            Receipt::Gone,
        ),
        (
            "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
            Receipt::Refused {
                status: 302,
                retry_after: None,
            },
        ),
        (
            "HTTP/1.1 429 Too Many\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n",
            Receipt::Refused {
                status: 429,
                retry_after: Some(Duration::from_secs(7)),
            },
        ),
    ];
    for (answer, receipt) in cases {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?key=v", listener.local_addr().unwrap());
        let (sent, got) = tokio::join!(
            one_request(listener, answer),
            courier.deliver(delivery(url))
        );
        assert_eq!(got, receipt);
        let sent = sent.to_ascii_lowercase();
        for line in [
            "post /hook?key=v ",
            "webhook-id: msg_1",
            "webhook-timestamp: 1760000000",
            "webhook-signature: v1,abc",
        ] {
            assert!(sent.contains(line), "{sent}");
        }
    }
}

#[tokio::test]
async fn addresses_inside_are_not_called_whatever_they_are_named() {
    let courier = WebhookCourier::new(&CourierOptions::default()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "[::1]"] {
        let receipt = courier
            .deliver(delivery(format!("https://{host}:{port}/hook")))
            .await;
        let Receipt::Unreachable { detail } = receipt else {
            panic!("{host}: {receipt:?}");
        };
        assert!(detail.contains("public internet"), "{host}: {detail}");
        assert!(
            !detail.contains("hook"),
            "no address in what is told: {detail}"
        );
    }
}
