//! A broker as a process of its own: started, asked, signalled, and ended by its id whatever becomes of the test.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use reqwest::{RequestBuilder, StatusCode};
use reveille::sandbox::Sandbox;
use serde_json::Value;

/// Longest wait for anything that must happen by itself.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// Lines of the log that a failed test shows.
const LAST_WORDS: usize = 40;
/// How every access token and every channel token of the sandbox begins.
const ACCESS_TOKEN: &str = "EwAAAA";
const CHANNEL_TOKEN: &str = "AwYAAA";

/// A broker that may be killed and started again at the same port.
pub(crate) struct Broker {
    pub(crate) port: u16,
    log: PathBuf,
    process: Option<Child>,
    pub(crate) http: reqwest::Client,
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.logged();
            let tail: Vec<&str> = log.lines().rev().take(LAST_WORDS).collect();
            eprintln!("--- the last words of the broker on port {} ---", self.port);
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}

impl Broker {
    /// A broker that does not run yet, on a port that nothing listens on now.
    pub(crate) fn new(log: PathBuf) -> Self {
        let http = reqwest::Client::builder().timeout(PATIENCE).build();
        Self {
            port: free_port(),
            log,
            process: None,
            http: http.unwrap(),
        }
    }

    /// Starts the process without waiting for it.
    pub(crate) fn spawn(&mut self, mut command: Command) {
        assert!(self.process.is_none(), "the broker runs already");
        let mut log = fs::OpenOptions::new();
        let log = log.create(true).append(true).open(&self.log).unwrap();
        let process = command.stdout(Stdio::null()).stderr(log).spawn();
        self.process = Some(process.unwrap());
    }

    /// Waits until it is ready.
    pub(crate) async fn ready(&self) {
        let url = self.url("/readyz");
        until("the broker is ready", async || {
            let answer = self.http.get(&url).send().await;
            answer.is_ok_and(|r| r.status().is_success())
        })
        .await;
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().expect("the broker runs").id()
    }

    /// Ends the broker as a power cut does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            drop(process.kill());
            drop(process.wait());
        }
    }

    /// Sends a signal by name.
    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill")
            .args([signal, &self.pid().to_string()])
            .status();
        assert!(sent.unwrap().success());
    }

    /// Waits for the end of the process; gives the exit code.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        let mut code = None;
        let process = self.process.as_mut().expect("the broker runs");
        until("the broker ends", async || {
            code = process.try_wait().unwrap();
            code.is_some()
        })
        .await;
        self.process = None;
        code.and_then(|status| status.code())
    }

    /// Whether the process is gone by itself; it may be started again then.
    pub(crate) fn has_ended(&mut self) -> bool {
        let process = self.process.as_mut();
        let ended = process.is_none_or(|process| process.try_wait().unwrap().is_some());
        if ended {
            self.process = None;
        }
        ended
    }

    /// What the broker has logged.
    pub(crate) fn logged(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        self.call(path, || self.http.get(self.url(path))).await
    }

    /// Makes a call that must be taken, again while the store is too slow on a crowded machine.
    pub(crate) async fn call(&self, path: &str, request: impl Fn() -> RequestBuilder) -> Value {
        let mut taken = Value::Null;
        until("the store answers", async || {
            let answer = request().send().await.unwrap();
            let status = answer.status();
            let text = answer.text().await.unwrap();
            if status == StatusCode::SERVICE_UNAVAILABLE {
                return false;
            }
            assert!(status.is_success(), "{path}: {status} {text}");
            taken = serde_json::from_str(&text).unwrap_or(Value::Null);
            true
        })
        .await;
        taken
    }

    /// Sends NDJSON that must be taken.
    pub(crate) async fn post_lines(&self, path: &str, lines: String) -> Value {
        let request = self.http.post(self.url(path));
        let request = request.header("content-type", "application/x-ndjson");
        let answer = request.body(lines).send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// How many pushes of a tenant are open, by the store's counters.
    pub(crate) async fn open_pushes(&self, tenant: &str) -> u64 {
        let tenant = self.get(&format!("/v1/tenants/{tenant}")).await;
        let open = tenant["pushes"].as_object().expect("counts of open pushes");
        open.values().filter_map(Value::as_u64).sum()
    }
}

pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// No log of any test may hold what gives power over devices.
pub(crate) fn assert_discreet(log: &str, sandbox: &Sandbox, app: &str) {
    let secrets = sandbox.credentials(app).unwrap().secrets;
    let found = [ACCESS_TOKEN, CHANNEL_TOKEN]
        .into_iter()
        .chain(secrets.iter().map(String::as_str))
        .find_map(|secret| log.lines().find(|line| line.contains(secret)));
    assert_eq!(found, None, "the log holds a secret");
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, condition: impl AsyncFnMut() -> bool) {
    within(PATIENCE, what, condition).await;
}

/// Waits until `condition` holds, for `patience` at most.
pub(crate) async fn within(
    patience: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> bool,
) {
    let deadline = tokio::time::Instant::now() + patience;
    while !condition().await {
        assert!(
            tokio::time::Instant::now() < deadline,
            "not in time: {what}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
