//! A sandbox in this process and brokers in others, which share a store, and what can be said of them afterwards.

use std::{
    fmt::{Display, Write as _},
    fs,
    ops::Range,
    process::{Command, Stdio},
    time::Duration,
};

use reqwest::{Response, StatusCode};
use reveille::sandbox::{AppCeiling, AppSpec, Behaviour, Delay, Period, Sandbox, SandboxConfig};
use serde_json::Value;

use crate::broker::{Broker, assert_discreet, within};

/// The app and tenant of every test.
pub(crate) const TENANT: &str = "contoso";
/// Longest wait for the end of a story: leases of a minute have to end on the way.
const PATIENCE: Duration = Duration::from_secs(900);
/// Devices registered with one request.
const PART: u32 = 5_000;
/// Dispatchers of a broker.
const DISPATCHERS: usize = 2;
/// Requests in flight for one dispatcher, and what it may have claimed for each.
pub(crate) const IN_FLIGHT: u32 = 40;
const CLAIMS_EACH: u64 = 2;

/// What a test starts with.
pub(crate) struct Plan<'a> {
    pub(crate) devices: u32,
    pub(crate) brokers: usize,
    /// Of all brokers together, requests a second.
    pub(crate) pace: u32,
    /// Of one dispatcher.
    pub(crate) in_flight: u32,
    /// The `[store]` section's lines.
    pub(crate) store: &'a str,
}

/// See the module.
pub(crate) struct Chaos {
    pub(crate) sandbox: Sandbox,
    pub(crate) brokers: Vec<Broker>,
    pub(crate) devices: u32,
    pace: u32,
    in_flight: u32,
    store: String,
    folder: tempfile::TempDir,
}

impl Drop for Chaos {
    fn drop(&mut self) {
        self.brokers.iter_mut().for_each(Broker::kill);
        if !std::thread::panicking() {
            let logs = self.brokers.iter().map(Broker::logged);
            logs.for_each(|log| assert_discreet(&log, &self.sandbox, TENANT));
        }
    }
}

/// A WNS that takes 20 ms and refuses whoever is faster than the pace allows: over any time the pace, what limiters let start at
/// once, and what may be on the wire, which a busy machine delivers late.
fn strict(plan: &Plan<'_>) -> Behaviour {
    let wire = plan.brokers * DISPATCHERS * plan.in_flight as usize;
    let ceiling = AppCeiling {
        per_second: f64::from(plan.pace) * 1.01,
        burst: Some(plan.pace / 20 + u32::try_from(wire).unwrap()),
        penalty: Period(Duration::from_secs(1)),
        ..AppCeiling::default()
    };
    Behaviour {
        latency: Delay::fixed(Duration::from_millis(20)),
        app_ceiling: Some(ceiling),
        ..Behaviour::default()
    }
}

impl Chaos {
    /// Starts everything and waits until every broker is ready.
    pub(crate) async fn start(plan: &Plan<'_>) -> Self {
        let mut chaos = Self::prepare(plan);
        for number in 0..plan.brokers {
            let command = chaos.command(number);
            chaos.brokers[number].spawn(command);
        }
        for number in 0..plan.brokers {
            chaos.until_ready(number).await;
        }
        chaos
    }

    /// Waits until a broker is ready. One whose store does not answer in time on a crowded machine ends, and is started again
    /// as a service manager does it.
    async fn until_ready(&mut self, number: usize) {
        within(PATIENCE, "the broker is ready", async || {
            if self.brokers[number].has_ended() {
                let command = self.command(number);
                self.brokers[number].spawn(command);
            }
            let broker = &self.brokers[number];
            let answer = broker.http.get(broker.url("/readyz")).send().await;
            answer.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
    }

    /// Everything but the brokers runs.
    pub(crate) fn prepare(plan: &Plan<'_>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = SandboxConfig {
            devices: plan.devices,
            apps: vec![AppSpec::new(TENANT).unwrap()],
            behaviour: strict(plan),
            ..SandboxConfig::default()
        };
        let sandbox = Sandbox::start(&config).unwrap();
        fs::write(folder.path().join("ca.pem"), sandbox.ca_pem()).unwrap();
        let log = |number| folder.path().join(format!("broker-{number}.log"));
        Self {
            sandbox,
            brokers: (0..plan.brokers).map(|n| Broker::new(log(n))).collect(),
            devices: plan.devices,
            pace: plan.pace,
            in_flight: plan.in_flight,
            store: plan.store.to_owned(),
            folder,
        }
    }

    /// The command that starts one broker.
    pub(crate) fn command(&self, number: usize) -> Command {
        let path = self.folder.path().join(format!("broker-{number}.toml"));
        let login = self.sandbox.credentials(TENANT).unwrap();
        let text = format!(
            r#"
[server]
listen = "127.0.0.1:{port}"
[store]
kind = "redis"
{store}
[limits]
dispatchers = {DISPATCHERS}
in_flight_max = {in_flight}
in_flight_host_percent = 100
[wns]
sandbox_hosts = ["{host}"]
connect_timeout = "20s"
request_timeout = "20s"
ca_file = "{ca}"
[[apps]]
id = "{TENANT}"
pfn = "{pfn}"
package_sid = "{sid}"
secret_env = "CHAOS_WNS_SECRET"
token_url = "{token_url}"
[apps.pace]
start_per_second = {pace}
ceiling_per_second = {pace}
"#,
            port = self.brokers[number].port,
            store = self.store,
            ca = self.folder.path().join("ca.pem").display(),
            host = self.sandbox.host(),
            pfn = login.pfn,
            sid = login.package_sid,
            token_url = login.token_url,
            pace = self.pace,
            in_flight = self.in_flight,
        );
        fs::write(&path, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_reveille"));
        command
            .args(["serve", "--config"])
            .arg(&path)
            .env("CHAOS_WNS_SECRET", &login.secrets[0])
            .stdin(Stdio::null());
        command
    }

    /// Registers every device, at the first broker.
    pub(crate) async fn register_all(&self) {
        let all: Vec<_> = self.sandbox.channels(TENANT).collect();
        for part in all.chunks(PART as usize) {
            self.register(TENANT, part).await;
        }
    }

    /// Registers one device under another tenant.
    pub(crate) async fn register_one_of(&self, tenant: &str) {
        let one: Vec<_> = self.sandbox.channels(TENANT).take(1).collect();
        self.register(tenant, &one).await;
    }

    async fn register(&self, tenant: &str, part: &[(impl Display, impl Display)]) {
        let mut lines = String::new();
        for (device, uri) in part {
            writeln!(lines, "{{\"device\":\"{device}\",\"uri\":\"{uri}\"}}").unwrap();
        }
        let path = format!("/v1/tenants/{tenant}/channels");
        let broker = &self.brokers[0];
        within(PATIENCE, "channels are registered", async || {
            let request = broker.http.post(broker.url(&path)).body(lines.clone());
            let request = request.header("content-type", "application/x-ndjson");
            let answer = request.send().await.unwrap();
            answer.status().is_success()
        })
        .await;
    }

    /// Most devices that all brokers may have claimed at once.
    pub(crate) fn claims_max(&self) -> u64 {
        let dispatchers = self.brokers.len() * DISPATCHERS;
        dispatchers as u64 * u64::from(self.in_flight) * CLAIMS_EACH
    }

    /// Opens pushes for some devices at one broker; the answer, if there is one.
    pub(crate) async fn push(
        &self,
        broker: usize,
        devices: Range<u32>,
        query: &str,
    ) -> Option<(StatusCode, Value)> {
        let mut lines = String::new();
        for device in devices {
            writeln!(lines, "{{\"device\":\"{}\"}}", id(device)).unwrap();
        }
        let broker = &self.brokers[broker];
        let url = broker.url(&format!("/v1/tenants/{TENANT}/pushes?{query}"));
        let request = broker.http.post(url).body(lines);
        let request = request.header("content-type", "application/x-ndjson");
        shape(request.send().await.ok()?).await
    }

    /// Opens pushes for all devices at the first broker, while the app is paused: what a slow store did not answer in time is
    /// asked for again, and joins the push that is open.
    pub(crate) async fn push_all(&self) {
        self.order(0, "pause").await;
        for first in (0..self.devices).step_by(PART as usize) {
            let part = first..(first + PART).min(self.devices);
            within(PATIENCE, "pushes are opened", async || {
                let answer = self.push(0, part.clone(), "priority=bulk").await;
                answer.is_some_and(|(status, body)| {
                    let count = |what: &str| body[what].as_u64().unwrap_or(0) as usize;
                    status == StatusCode::ACCEPTED
                        && count("opened") + count("merged") == part.len()
                })
            })
            .await;
        }
        let open = self.brokers[0].open_pushes(TENANT).await;
        assert_eq!(open, u64::from(self.devices));
        self.order(0, "resume").await;
    }

    /// Pauses or resumes the app, at one broker.
    pub(crate) async fn order(&self, broker: usize, what: &str) {
        let url = self.brokers[broker].url(&format!("/v1/apps/{TENANT}/{what}"));
        let answer = self.brokers[broker].http.post(url).send().await.unwrap();
        assert!(answer.status().is_success(), "{what}: {}", answer.status());
    }

    /// Makes a call at one broker that must be taken.
    pub(crate) async fn post(&self, broker: usize, path: &str, body: Value) -> Value {
        let broker = &self.brokers[broker];
        let key = rand::random::<u64>().to_string();
        let request = || {
            let request = broker.http.post(broker.url(path)).json(&body);
            request.header("idempotency-key", &key)
        };
        broker.call(path, request).await
    }

    /// Waits until so many devices were woken.
    pub(crate) async fn until_woken(&self, devices: u64) {
        within(PATIENCE, "devices are woken", async || {
            self.sandbox.ledger().devices.accepted >= devices
        })
        .await;
    }

    /// Waits until no push is open, by the word of one broker.
    pub(crate) async fn until_all_closed(&self, broker: usize) {
        within(PATIENCE, "every push is closed", async || {
            let tenant = self.ask(broker).await;
            tenant.is_some_and(|tenant| {
                let open = tenant["pushes"].as_object().unwrap();
                open.values().filter_map(Value::as_u64).sum::<u64>() == 0
            })
        })
        .await;
    }

    /// How many asks were closed, by reason.
    pub(crate) async fn closed(&self, broker: usize) -> Vec<(String, u64)> {
        let tenant = self.ask(broker).await.unwrap();
        let closed = tenant["closed"].as_object().unwrap();
        let counts = closed
            .iter()
            .filter_map(|(r, n)| Some((r.clone(), n.as_u64()?)));
        counts.filter(|(_, n)| *n > 0).collect()
    }

    async fn ask(&self, broker: usize) -> Option<Value> {
        let broker = &self.brokers[broker];
        let url = broker.url(&format!("/v1/tenants/{TENANT}"));
        let (status, tenant) = shape(broker.http.get(url).send().await.ok()?).await?;
        status.is_success().then_some(tenant)
    }

    /// Every device was woken, WNS found nothing wrong and nobody too fast. Gives the devices that were woken more than once.
    pub(crate) fn assert_all_woken(&self) -> Vec<String> {
        let ledger = self.sandbox.ledger();
        let devices: Vec<_> = self.sandbox.device_ledgers(TENANT).collect();
        let missed: Vec<_> = devices.iter().filter(|d| d.accepted == 0).collect();
        assert!(
            missed.is_empty(),
            "{} were not woken: {:?}",
            missed.len(),
            missed.first()
        );
        let violations = &ledger.violations;
        assert!(violations.values().all(|n| *n == 0), "{violations:?}");
        let app = &ledger.apps[0];
        assert_eq!(
            app.penalties, 0,
            "faster than {} a second: {app:?}",
            self.pace
        );
        let repeated = devices.into_iter().filter(|device| device.arrived > 1);
        let repeated: Vec<_> = repeated.map(|device| device.device).collect();
        println!(
            "{} devices, {} of them woken more than once, {} notifications, {} in the busiest second",
            ledger.devices.total,
            repeated.len(),
            ledger.requests,
            app.highest_second
        );
        repeated
    }
}

/// The sandbox's name of a device, which it counts from one.
pub(crate) fn id(device: u32) -> String {
    format!("device-{:07}", device + 1)
}

async fn shape(answer: Response) -> Option<(StatusCode, Value)> {
    let status = answer.status();
    Some((status, answer.json().await.ok()?))
}
