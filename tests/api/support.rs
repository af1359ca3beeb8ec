//! A broker's API on a loopback socket, and a console that talks to it.

use std::{
    collections::{BTreeMap, HashMap},
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex},
    time::Duration,
};

use actix_web::dev::ServerHandle;
use jiff::{SignedDuration, Timestamp};
use reqwest::{Method, RequestBuilder};
use reveille::{
    api::{self, MetricsText, Parts, Settings, State, server::Listening},
    domain::{
        api_key::KeyRing,
        id::{AppId, TenantId},
        schedule::Rules,
        webhook::Allowed,
        wns::channel_uri::HostPolicy,
    },
    ports::clock::Clock,
    service::{
        campaign::Campaigns,
        desk::Desk,
        status::{ActorStatus, AppStatus, BrokerStatus, TokenState, TokenStatus},
        tenants::{Tenant, Tenants},
        webhook::Webhooks,
    },
    telemetry::{RecentFailure, Telemetry},
};
use serde_json::Value;

use crate::store::TestStore;

/// When every test begins.
pub(crate) const START: &str = "2026-03-01T12:00:00Z";

pub(crate) struct TestClock(Mutex<Timestamp>);

impl TestClock {
    pub(crate) fn advance(&self, by: SignedDuration) {
        *self.0.lock().unwrap() += by;
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

/// The running parts of a broker, as a test wants them.
pub(crate) struct Running {
    pub(crate) apps: Mutex<HashMap<AppId, AppStatus>>,
    pub(crate) actors: Mutex<Vec<ActorStatus>>,
    pub(crate) unserved: Mutex<BTreeMap<TenantId, u64>>,
    pub(crate) failures: Mutex<Vec<RecentFailure>>,
}

impl BrokerStatus for Running {
    fn app(&self, app: &AppId) -> Option<AppStatus> {
        self.apps.lock().unwrap().get(app).cloned()
    }

    fn recent_failures(&self, _app: &AppId) -> Vec<RecentFailure> {
        self.failures.lock().unwrap().clone()
    }

    fn unserved(&self) -> BTreeMap<TenantId, u64> {
        self.unserved.lock().unwrap().clone()
    }

    fn actors(&self) -> Vec<ActorStatus> {
        self.actors.lock().unwrap().clone()
    }
}

impl MetricsText for Running {
    fn metrics_text(&self) -> String {
        "# HELP reveille_build_info The version.\nreveille_build_info{version=\"0\"} 1\n".to_owned()
    }
}

/// An attempt that WNS refused.
fn failure() -> RecentFailure {
    RecentFailure {
        at: "2026-03-01T12:00:00Z".parse().unwrap(),
        outcome: "channel_refused",
        host: "wns2-by3p.notify.windows.com".to_owned(),
        channel: "9f3ac1d2".to_owned(),
        ms_cv: Some("abc.0".to_owned()),
        msg_id: Some("4F2A9C31".to_owned()),
        debug_trace: Some("BY3P-22".to_owned()),
        description: None,
    }
}

pub(crate) fn sending() -> AppStatus {
    AppStatus {
        token: TokenStatus {
            state: TokenState::Valid,
            expires_at: Some("2026-03-02T12:00:00Z".parse().unwrap()),
            detail: None,
        },
        pace_per_second: 200.0,
        share_per_second: 100.0,
        in_flight: 3,
        throttled_until: None,
        hosts_avoided: Vec::new(),
        outage: false,
        holds: Vec::new(),
    }
}

pub(crate) struct Broker {
    pub(crate) address: SocketAddr,
    pub(crate) store: Arc<TestStore>,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) running: Arc<Running>,
    pub(crate) state: Arc<State>,
    pub(crate) telemetry: Telemetry,
    pub(crate) client: reqwest::Client,
    server: ServerHandle,
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.server.stop(false));
    }
}

impl Broker {
    pub(crate) async fn start() -> Self {
        Self::with(KeyRing::default(), Settings::default()).await
    }

    pub(crate) async fn with(keys: KeyRing, settings: Settings) -> Self {
        Self::keeping(1_000_000, keys, settings).await
    }

    /// A broker whose feeds keep so many events.
    pub(crate) async fn keeping(events: u64, keys: KeyRing, settings: Settings) -> Self {
        let clock = Arc::new(TestClock(Mutex::new(START.parse().unwrap())));
        let store = Arc::new(TestStore::open(clock.clone(), events));
        let apps: Vec<AppId> = ["contoso", "fabrikam"]
            .map(|a| AppId::new(a).unwrap())
            .to_vec();
        let running = Arc::new(Running {
            apps: Mutex::new(HashMap::from([(apps[0].clone(), sending())])),
            actors: Mutex::new(vec![ActorStatus {
                looping: false,
                name: "dispatcher/0".to_owned(),
                running: true,
                restarts: 0,
            }]),
            failures: Mutex::new(vec![failure()]),
            unserved: Mutex::default(),
        });
        let tenants = [("contoso", 0), ("fabrikam", 1)].map(|(id, app): (&str, usize)| Tenant {
            id: TenantId::new(id).unwrap(),
            app: apps[app].clone(),
            share: 1,
        });
        let telemetry = Telemetry::new(Duration::from_secs(60));
        let desk = Desk {
            store: store.clone(),
            clock: clock.clone(),
            rules: Arc::new(Rules::default()),
            telemetry: telemetry.clone(),
            fence: None,
        };
        let tenants = Arc::new(Tenants::new(store.clone(), tenants.to_vec(), apps.clone()));
        let state = State::new(Parts {
            campaigns: Campaigns::new(desk.clone(), tenants.clone(), running.clone()),
            webhooks: Webhooks::new(store.clone(), clock.clone(), Allowed::default()),
            desk,
            tenants,
            pfns: HashMap::from([(apps[0].clone(), "contoso.mdm_t6e9vsyjkrw9w".to_owned())]),
            hosts: HostPolicy::new(["localhost:9443"]).unwrap(),
            uri_key: b"a key".to_vec(),
            keys,
            status: running.clone(),
            metrics: running.clone(),
            settings,
        });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let bounds = Listening {
            workers: 2,
            connections_max: 20_000,
            header_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(1),
        };
        let server = api::server::serve(listener, state.clone(), bounds, |_| {}).unwrap();
        let handle = server.handle();
        actix_web::rt::spawn(server);
        Self {
            address,
            store,
            clock,
            running,
            state,
            telemetry,
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            server: handle,
        }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client
            .request(method, format!("http://{}{path}", self.address))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::DELETE, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.request(Method::POST, path).json(body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.request(Method::PUT, path).json(body)).await
    }

    pub(crate) async fn post_lines(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        let request = self.request(Method::POST, path);
        let request = request.header("content-type", "application/x-ndjson");
        Answer::of(request.body(body)).await
    }

    /// Registers devices of contoso, each with a channel of its own.
    pub(crate) async fn register(&self, devices: &[&str]) {
        let line = |d: &&str| format!("{{\"device\":\"{d}\",\"uri\":\"{}\"}}\n", uri(d));
        let lines: String = devices.iter().map(line).collect();
        let answer = self.post_lines("/v1/tenants/contoso/channels", lines).await;
        assert_eq!(answer.body["registered"], devices.len(), "{answer:?}");
    }

    /// The events of contoso.
    pub(crate) async fn events(&self) -> Vec<Value> {
        let answer = self.get("/v1/tenants/contoso/events").await;
        answer.lines()
    }
}

pub(crate) fn uri(device: &str) -> String {
    format!("https://db5p.notify.windows.com/?token=secret-of-{device}")
}

/// An answer as a console sees it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) async fn of(request: RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        assert!(
            !text.contains("secret-of-"),
            "an answer gives a channel URI away: {text}"
        );
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Self {
            status,
            headers,
            text,
            body,
        }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    pub(crate) fn lines(&self) -> Vec<Value> {
        let lines = self.text.lines();
        lines.map(|l| serde_json::from_str(l).unwrap()).collect()
    }

    /// The kind of problem this is; what every problem has is checked.
    pub(crate) fn problem(&self) -> &str {
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{self:?}"
        );
        assert_eq!(self.body["status"], self.status);
        for member in ["title", "detail"] {
            assert!(
                self.body[member].as_str().is_some_and(|t| !t.is_empty()),
                "{self:?}"
            );
        }
        let kind = self.body["type"].as_str().unwrap();
        kind.strip_prefix("urn:reveille:problem:").unwrap()
    }

    /// Status and body, for a snapshot.
    pub(crate) fn shape(&self) -> Value {
        serde_json::json!({ "status": self.status, "body": self.body })
    }
}

impl Broker {
    /// Lets WNS refuse a device's channel, and confirms it as dead.
    pub(crate) async fn mark_dead(&self, device: &str) {
        use reveille::{
            domain::{
                channel::{ChannelState, Trial},
                id::{DeviceId, DeviceKey},
                transition::Effects,
                wns::reply::ChannelRefusal,
            },
            ports::records::Urgency,
            service::edit::{Decision, Edit, edit},
        };
        let key = DeviceKey::new(
            TenantId::new("contoso").unwrap(),
            DeviceId::new(device).unwrap(),
        );
        let since = self.clock.now();
        let edits = vec![Edit::new(key, ())];
        edit(&*self.store, edits, Urgency::Settle, |_, (), record| {
            let mut record = record.unwrap();
            record.channel.as_mut().unwrap().state = ChannelState::Dead {
                since,
                cause: ChannelRefusal::Gone,
                trial: Trial::NotAsked,
            };
            Decision::Commit(Some(record), Effects::default(), ())
        })
        .await
        .unwrap();
    }
}
