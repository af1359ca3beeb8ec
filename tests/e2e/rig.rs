//! A sandbox in this process, a broker in another, and the calls that a console makes.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use reqwest::{Certificate, Method};
use reveille::sandbox::{AppSpec, Behaviour, CheckIns, FleetConfig, Sandbox, SandboxConfig};
use serde_json::Value;
use tokio::io::AsyncWriteExt;

pub(crate) use crate::broker::until;
use crate::broker::{Broker, PATIENCE, assert_discreet};

/// Lines in one request, so that a slow machine answers each in time.
const PIECE_LINES: usize = 20_000;
/// The app and tenant of every test.
pub(crate) const TENANT: &str = "contoso";

/// A sandbox, a store's folder, and a broker that may be killed and started again.
pub(crate) struct Rig {
    pub(crate) sandbox: Sandbox,
    pub(crate) dir: tempfile::TempDir,
    broker: Broker,
    pub(crate) http: reqwest::Client,
    /// Where the first app's secret is, as the configuration says it.
    pub(crate) secret: String,
    /// The lines of `[store]`: at first those of a folder.
    pub(crate) store: String,
    /// Added to the configuration file as it is.
    pub(crate) extra: String,
    /// The broker, if it is not the one that was built with the tests.
    pub(crate) binary: Option<PathBuf>,
    /// Added to the broker's environment.
    pub(crate) env: Vec<(&'static str, String)>,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.kill();
        if !std::thread::panicking() {
            assert_discreet(&self.logged(), &self.sandbox, TENANT);
        }
    }
}

impl Rig {
    /// The program that was built with the tests.
    const BUILT: &str = env!("CARGO_BIN_EXE_reveille");

    /// A sandbox with `devices`, whose woken devices check in at the broker.
    pub(crate) fn new(devices: u32, behaviour: Behaviour) -> Self {
        Self::of(SandboxConfig {
            devices,
            behaviour,
            ..SandboxConfig::default()
        })
    }

    /// A sandbox as `config` has it, with the app of every test in front.
    pub(crate) fn of(mut config: SandboxConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::new(dir.path().join("broker.log"));
        config.apps.insert(0, AppSpec::new(TENANT).unwrap());
        config.fleet = Some(FleetConfig {
            url: broker.url(""),
            key: None,
        });
        let data = dir.path().join("data");
        Self {
            sandbox: Sandbox::start(&config).unwrap(),
            dir,
            http: broker.http.clone(),
            broker,
            secret: "secret_env = \"E2E_WNS_SECRET\"".to_owned(),
            store: folder(&data),
            extra: String::new(),
            binary: None,
            env: Vec::new(),
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        self.broker.url(path)
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
{store}
[wns]
sandbox_hosts = ["{host}"]
ca_file = "{ca}"
[[apps]]
id = "{TENANT}"
pfn = "{pfn}"
package_sid = "{sid}"
{secret}
token_url = "{token_url}"
[apps.pace]
start_per_second = 100000
ceiling_per_second = 100000
{extra}
"#,
            port = self.broker.port,
            store = self.store,
            host = self.sandbox.host(),
            ca = ca.display(),
            pfn = login.pfn,
            sid = login.package_sid,
            token_url = login.token_url,
            secret = self.secret,
            extra = self.extra,
        );
        fs::write(&path, text).unwrap();
        path
    }

    /// The command with its environment.
    pub(crate) fn command(&self, name: &str) -> Command {
        let secret = self.sandbox.credentials(TENANT).unwrap().secrets.remove(0);
        let mut command = Command::new(self.binary.as_deref().unwrap_or(Path::new(Self::BUILT)));
        command
            .arg(name)
            .arg("--config")
            .arg(self.configure())
            .env("E2E_WNS_SECRET", secret)
            .envs(self.env.iter().cloned())
            .stdin(Stdio::null());
        command
    }

    /// Runs a command that must end by itself; gives its exit code and what it said on standard output and error.
    pub(crate) async fn ends(&self, name: &str, args: &[&str]) -> (Option<i32>, String, String) {
        let mut command = tokio::process::Command::from(self.command(name));
        let ended = command.args(args).kill_on_drop(true).output();
        let ended = tokio::time::timeout(PATIENCE, ended).await;
        let output = ended.expect("the command ends by itself").unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    }

    /// Runs a client command with `input` on its standard input, against this broker's API; gives what [`Self::ends`] gives.
    pub(crate) async fn client(&self, args: &[&str], input: &str) -> (Option<i32>, String, String) {
        let mut child = tokio::process::Command::new(Self::BUILT)
            .args(args)
            .env("REVEILLE_URL", self.url(""))
            .env("REVEILLE_TENANT", TENANT)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let feed = async {
            // A command that reads no input may end before it is written.
            drop(stdin.write_all(input.as_bytes()).await);
            drop(stdin);
        };
        let both = async { tokio::join!(feed, child.wait_with_output()).1 };
        let output = tokio::time::timeout(PATIENCE, both).await;
        let output = output.expect("the command ends by itself").unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    }

    /// Starts the broker without waiting for it.
    pub(crate) fn spawn(&mut self) {
        let command = self.command("serve");
        self.broker.spawn(command);
    }

    /// Starts the broker and waits until it is ready.
    pub(crate) async fn start(&mut self) {
        self.spawn();
        self.broker.ready().await;
    }

    pub(crate) fn pid(&self) -> u32 {
        self.broker.pid()
    }

    /// Ends the broker as a power cut does.
    pub(crate) fn kill(&mut self) {
        self.broker.kill();
    }

    /// Sends a signal by name.
    pub(crate) fn signal(&self, signal: &str) {
        self.broker.signal(signal);
    }

    /// Waits for the broker's end; gives the exit code.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        self.broker.ended().await
    }

    /// What the broker has logged.
    pub(crate) fn logged(&self) -> String {
        self.broker.logged()
    }

    /// Calls the sandbox's control API.
    pub(crate) async fn control(&self, method: Method, path: &str, body: Value) {
        let authority = Certificate::from_pem(self.sandbox.ca_pem().as_bytes()).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([authority]);
        let url = format!("https://{}/sandbox/v1/{path}", self.sandbox.host());
        let request = client.build().unwrap().request(method, url);
        let answer = request.body(body.to_string()).send().await.unwrap();
        let status = answer.status();
        assert!(
            status.is_success(),
            "{path}: {}",
            answer.text().await.unwrap()
        );
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        self.broker.get(path).await
    }

    /// Posts an object that must be taken.
    pub(crate) async fn post(&self, path: &str, body: Value) -> Value {
        let key = rand::random::<u64>().to_string();
        let request = || {
            let request = self.http.post(self.url(path)).json(&body);
            request.header("idempotency-key", &key)
        };
        self.broker.call(path, request).await
    }

    pub(crate) async fn post_lines(&self, path: &str, lines: String) -> Value {
        self.broker.post_lines(path, lines).await
    }

    /// Registers every device of the sandbox's first app.
    pub(crate) async fn register_all(&self) {
        self.register(TENANT).await;
    }

    /// Registers every device of an app with the tenant of its name.
    pub(crate) async fn register(&self, app: &str) {
        let channels = self.sandbox.channels(app);
        let line = |(device, uri)| format!("{{\"device\":\"{device}\",\"uri\":\"{uri}\"}}");
        let path = format!("/v1/tenants/{app}/channels");
        let (lines, registered) = self
            .post_pieces(&path, channels.map(line), "registered")
            .await;
        assert_eq!(registered, lines);
    }

    /// Posts lines in as many requests as keep each short; how many there were, and the sum of what the answers count.
    pub(crate) async fn post_pieces(
        &self,
        path: &str,
        lines: impl Iterator<Item = String>,
        counted: &str,
    ) -> (u64, u64) {
        let mut lines = lines.peekable();
        let (mut sent, mut sum) = (0, 0);
        while lines.peek().is_some() {
            let piece: Vec<String> = lines.by_ref().take(PIECE_LINES).collect();
            let answer = self.post_lines(path, piece.join("\n")).await;
            sent += piece.len() as u64;
            sum += answer[counted].as_u64().unwrap();
        }
        (sent, sum)
    }

    /// Opens a push for every device of the sandbox's first app.
    pub(crate) async fn push_all(&self, query: &str) -> Value {
        self.push(TENANT, query).await
    }

    /// Opens a push for every device of an app.
    pub(crate) async fn push(&self, app: &str, query: &str) -> Value {
        let mut lines = String::new();
        for (device, _) in self.sandbox.channels(app) {
            writeln!(lines, "{{\"device\":\"{device}\"}}").unwrap();
        }
        self.post_lines(&format!("/v1/tenants/{app}/pushes?{query}"), lines)
            .await
    }

    /// How many devices of the first app WNS has taken a notification for.
    pub(crate) fn reached(&self) -> u64 {
        self.sandbox.ledger().apps[0].accepted
    }

    /// How many pushes are open, by the store's counters.
    pub(crate) async fn open_pushes(&self) -> u64 {
        self.broker.open_pushes(TENANT).await
    }

    /// Waits until no push is open.
    pub(crate) async fn until_all_closed(&self) {
        until("every push is closed", async || {
            self.open_pushes().await == 0
        })
        .await;
    }
}

/// The lines of `[store]` for a folder.
pub(crate) fn folder(path: &Path) -> String {
    format!("path = \"{}\"", path.display())
}

/// The lines of `[store]` for a server on this machine.
pub(crate) fn redis(port: u16) -> String {
    format!("kind = \"redis\"\nurl = \"redis://127.0.0.1:{port}/0\"")
}

/// A fleet that is woken and begins no session.
pub(crate) fn silent() -> Behaviour {
    Behaviour {
        check_in: CheckIns {
            never: "100%".parse().unwrap(),
            ..CheckIns::default()
        },
        ..Behaviour::default()
    }
}
