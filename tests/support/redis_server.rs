//! Real `redis-server` processes for tests: each on ports of its own with a folder of its own, ended with the value.

use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// Longest time for a server to answer.
const START_MAX: Duration = Duration::from_secs(20);

/// Names another program than `redis-server` that speaks as it does, such as `valkey-server`.
const PROGRAM: &str = "TEST_REDIS_SERVER";

/// The program that the tests start.
pub(crate) fn program() -> String {
    std::env::var(PROGRAM).unwrap_or_else(|_| "redis-server".to_owned())
}

/// How the program calls itself, with a blank behind.
pub(crate) fn engine() -> &'static str {
    match program().contains("valkey") {
        true => "valkey ",
        false => "redis ",
    }
}

/// One server.
pub(crate) struct RedisServer {
    pub port: u16,
    folder: TempDir,
    arguments: Vec<String>,
    process: Option<Child>,
}

impl RedisServer {
    /// Starts a server that keeps what it acknowledges: an append-only file, synced at every write.
    pub(crate) fn durable() -> Self {
        Self::start(&["--appendonly", "yes", "--appendfsync", "always"])
    }

    /// Starts a server with these arguments, without snapshots.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut server = Self::prepared(arguments);
        server.run();
        server
    }

    /// A server that has a port and a folder but does not run yet.
    pub(crate) fn prepared(arguments: &[&str]) -> Self {
        Self {
            port: free_port(),
            folder: tempfile::tempdir().unwrap(),
            arguments: arguments.iter().map(|a| (*a).to_owned()).collect(),
            process: None,
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Adds an argument for the next start.
    pub(crate) fn argue(&mut self, arguments: &[&str]) {
        self.arguments
            .extend(arguments.iter().map(|a| (*a).to_owned()));
    }

    /// Writes the configuration file, which the server may write to later.
    pub(crate) fn configure(&self, text: &str) {
        std::fs::write(self.folder.path().join("redis.conf"), text).unwrap();
    }

    /// Starts the process and waits until it answers.
    pub(crate) fn run(&mut self) {
        self.spawn();
        self.wait_until_it_answers();
    }

    /// Starts the process and does not wait.
    pub(crate) fn spawn(&mut self) {
        assert!(self.process.is_none(), "the server runs already");
        let log = std::fs::File::create(self.folder.path().join("log")).unwrap();
        let program = program();
        let mut command = Command::new(&program);
        // A configuration file lets Sentinels and cluster nodes write theirs.
        let file = self.folder.path().join("redis.conf");
        if !file.exists() {
            self.configure("save \"\"\n");
        }
        command
            .arg(&file)
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--daemonize", "no", "--dir"])
            .arg(self.folder.path())
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(Stdio::null());
        self.process = Some(command.spawn().unwrap_or_else(|error| {
            panic!("{program} cannot be started ({error}): install it (Debian, Ubuntu: apt-get install {program})")
        }));
    }

    pub(crate) fn wait_until_it_answers(&self) {
        let begun = Instant::now();
        while !self.answers() {
            assert!(
                begun.elapsed() < START_MAX,
                "the server on port {} does not answer: {}",
                self.port,
                self.log()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn answers(&self) -> bool {
        let pong = self
            .connection()
            .and_then(|mut connection| redis::cmd("PING").query::<String>(&mut connection));
        pong.is_ok()
    }

    fn connection(&self) -> redis::RedisResult<redis::Connection> {
        let client = redis::Client::open(("127.0.0.1", self.port))?;
        client.get_connection_with_timeout(START_MAX)
    }

    /// What the server has written to its log.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Sends a command and returns its answer.
    pub(crate) fn try_ask<T: redis::FromRedisValue>(
        &self,
        words: &[&str],
    ) -> redis::RedisResult<T> {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query(&mut self.connection()?)
    }

    /// Whether it is a master now; a server that is being promoted cuts its connections, and then nobody knows.
    pub(crate) fn is_master(&self) -> bool {
        let role: redis::RedisResult<Vec<redis::Value>> = self.try_ask(&["ROLE"]);
        let master = redis::Value::BulkString(b"master".to_vec());
        role.is_ok_and(|role| role.first() == Some(&master))
    }

    /// Sends a command that must succeed.
    pub(crate) fn ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        self.try_ask(words)
            .unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// Adds entries to a stream, all with one call; gives their ids.
    pub(crate) fn add_all<'a>(
        &self,
        stream: &str,
        entries: impl IntoIterator<Item = Vec<&'a str>>,
    ) -> Vec<String> {
        let mut pipeline = redis::pipe();
        for fields in entries {
            pipeline.cmd("XADD").arg(stream).arg("*").arg(fields);
        }
        pipeline.query(&mut self.connection().unwrap()).unwrap()
    }

    /// Ends the process without notice.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Sends a signal by name, for example `STOP`.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.process.as_ref().unwrap().id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status();
        assert!(sent.unwrap().success());
    }

    /// Bytes that its data take.
    pub(crate) fn used_memory(&self) -> f64 {
        let info: String = self.ask(&["INFO", "memory"]);
        let line = info
            .lines()
            .find_map(|line| line.strip_prefix("used_memory:"));
        line.and_then(|bytes| bytes.trim().parse().ok())
            .unwrap_or_else(|| panic!("no used_memory in {info}"))
    }

    /// Main thread's processor time so far, in seconds.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let info: String = self.ask(&["INFO", "cpu"]);
        let of = |name: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.trim().parse::<f64>().ok())
                .unwrap_or_else(|| panic!("no {name} in {info}"))
        };
        of("used_cpu_user_main_thread:") + of("used_cpu_sys_main_thread:")
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // A stopped process ends as well.
            let _ended = process.kill();
            let _reaped = process.wait();
        }
    }
}

/// A port that nothing listens on now; cluster nodes use the one 10,000 above as well. Both lie below those that the system gives
/// to clients, and no port is given out twice, so that a server that is started again finds its own.
fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id();
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    loop {
        let turn = begin.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed));
        let port = 12_000 + u16::try_from(turn % 10_000).unwrap();
        if is_free(port) && is_free(port + 10_000) {
            return port;
        }
    }
}
