//! A sandbox in this process, a broker in another, and the calls that a console makes.

use std::{
    fmt::Write as _,
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use reveille::sandbox::{AppSpec, Behaviour, FleetConfig, Sandbox, SandboxConfig};
use serde_json::Value;

/// Longest wait for anything that must happen by itself.
const PATIENCE: Duration = Duration::from_secs(120);
/// The app and tenant of every test.
pub(crate) const TENANT: &str = "contoso";

/// A sandbox, a store's folder, and a broker that may be killed and started again.
pub(crate) struct Rig {
    pub(crate) sandbox: Sandbox,
    pub(crate) dir: tempfile::TempDir,
    port: u16,
    broker: Option<Child>,
    pub(crate) http: reqwest::Client,
    /// Added to the configuration file as it is.
    pub(crate) extra: String,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.log()).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!("--- the broker's last words ---");
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

impl Rig {
    /// A sandbox with `devices`, whose woken devices check in at the broker.
    pub(crate) fn new(devices: u32, behaviour: Behaviour) -> Self {
        let port = free_port();
        let app = AppSpec::new(TENANT).unwrap();
        let fleet = FleetConfig {
            url: format!("http://127.0.0.1:{port}"),
            key: None,
        };
        let config = SandboxConfig {
            devices,
            behaviour,
            apps: vec![app],
            fleet: Some(fleet),
            ..SandboxConfig::default()
        };
        Self {
            sandbox: Sandbox::start(&config).unwrap(),
            dir: tempfile::tempdir().unwrap(),
            port,
            broker: None,
            http: reqwest::Client::builder()
                .timeout(PATIENCE)
                .build()
                .unwrap(),
            extra: String::new(),
        }
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("broker.log")
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Writes the configuration and gives its path.
    pub(crate) fn configure(&self) -> PathBuf {
        let path = self.dir.path().join("reveille.toml");
        let ca = self.dir.path().join("ca.pem");
        fs::write(&ca, self.sandbox.ca_pem()).unwrap();
        let login = self.sandbox.credentials(TENANT).unwrap();
        let text = format!(
            r#"
[server]
listen = "127.0.0.1:{port}"
[store]
path = "{data}"
[wns]
sandbox_hosts = ["{host}"]
ca_file = "{ca}"
[[apps]]
id = "{TENANT}"
pfn = "{pfn}"
package_sid = "{sid}"
secret_env = "E2E_WNS_SECRET"
token_url = "{token_url}"
[apps.pace]
start_per_second = 100000
ceiling_per_second = 100000
{extra}
"#,
            port = self.port,
            data = self.dir.path().join("data").display(),
            host = self.sandbox.host(),
            ca = ca.display(),
            pfn = login.pfn,
            sid = login.package_sid,
            token_url = login.token_url,
            extra = self.extra,
        );
        fs::write(&path, text).unwrap();
        path
    }

    /// Starts the broker without waiting for it.
    pub(crate) fn spawn(&mut self) {
        let secret = self.sandbox.credentials(TENANT).unwrap().secrets.remove(0);
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log())
            .unwrap();
        let broker = Command::new(env!("CARGO_BIN_EXE_reveille"))
            .arg("serve")
            .arg("--config")
            .arg(self.configure())
            .env("E2E_WNS_SECRET", secret)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.broker = Some(broker);
    }

    /// Starts the broker and waits until it is ready.
    pub(crate) async fn start(&mut self) {
        self.spawn();
        let url = self.url("/readyz");
        let http = self.http.clone();
        until("the broker is ready", async || {
            http.get(&url)
                .send()
                .await
                .is_ok_and(|r| r.status().is_success())
        })
        .await;
    }

    pub(crate) fn pid(&self) -> u32 {
        self.broker.as_ref().expect("the broker runs").id()
    }

    /// Ends the broker as a power cut does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut broker) = self.broker.take() {
            drop(broker.kill());
            drop(broker.wait());
        }
    }

    /// Sends a signal by name and waits for the end; gives the exit code.
    pub(crate) fn stop(&mut self, signal: &str) -> Option<i32> {
        let mut broker = self.broker.take().expect("the broker runs");
        let sent = Command::new("kill")
            .args([signal, &broker.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
        broker.wait().unwrap().code()
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let answer = self.http.get(self.url(path)).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        answer.json().await.unwrap()
    }

    pub(crate) async fn post_lines(&self, path: &str, lines: String) -> Value {
        let request = self
            .http
            .post(self.url(path))
            .header("content-type", "application/x-ndjson");
        let answer = request.body(lines).send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Registers every device of the sandbox.
    pub(crate) async fn register_all(&self) {
        let mut lines = String::new();
        for (device, uri) in self.sandbox.channels(TENANT) {
            writeln!(lines, "{{\"device\":\"{device}\",\"uri\":\"{uri}\"}}").unwrap();
        }
        let devices = self.sandbox.ledger().devices.total;
        let answer = self
            .post_lines(&format!("/v1/tenants/{TENANT}/channels"), lines)
            .await;
        assert_eq!(answer["registered"], devices, "{answer}");
    }

    /// Opens a push for every device of the sandbox.
    pub(crate) async fn push_all(&self, query: &str) -> Value {
        let mut lines = String::new();
        for (device, _) in self.sandbox.channels(TENANT) {
            writeln!(lines, "{{\"device\":\"{device}\"}}").unwrap();
        }
        self.post_lines(&format!("/v1/tenants/{TENANT}/pushes?{query}"), lines)
            .await
    }

    /// How many pushes are open, by the store's counters.
    pub(crate) async fn open_pushes(&self) -> u64 {
        let tenant = self.get(&format!("/v1/tenants/{TENANT}")).await;
        let open = tenant["pushes"].as_object().expect("counts of open pushes");
        open.values().filter_map(Value::as_u64).sum()
    }

    /// Waits until no push is open.
    pub(crate) async fn until_all_closed(&self) {
        until("every push is closed", async || {
            self.open_pushes().await == 0
        })
        .await;
    }
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !condition().await {
        assert!(
            tokio::time::Instant::now() < deadline,
            "not in time: {what}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
