//! A broker at work, watched by a real Prometheus with our rules: what it exposes is clean, and every question that
//! dashboards, rules and alerts ask has an answer.

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::Duration,
};

use reveille::sandbox::{Behaviour, CheckIns, Delay};
use serde_json::Value;

use crate::{
    expressions::{self, of_dashboards, of_rules, selectors},
    redis_server::RedisServer,
    rig::{Rig, TENANT, redis, until},
    tools,
};

const DEVICES: u32 = 500;
const INBOX: &str = "rv:{t:contoso}:inbox";
/// What is only asked where tenants have streams.
const OF_STREAMS: [&str; 3] = ["reveille_inbox", "reveille_outbox", "streams.json"];

/// What is only known where the configuration says when a secret expires.
const OF_SECRETS: &str = "Secret ends in";

/// A Prometheus of its own; ended when dropped.
struct Prometheus {
    process: Child,
    url: String,
    http: reqwest::Client,
    _folder: tempfile::TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Prometheus {
    /// Starts one that looks at the broker every second. Rules are evaluated as often, else the test would wait for them.
    fn start(rig: &Rig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        for name in ["rules.yml", "alerts.yml"] {
            let rules = tools::read(&format!("deploy/prometheus/{name}"));
            fs::write(file(name), rules.replace("interval: 30s", "interval: 1s")).unwrap();
        }
        let target = rig.url("").replace("http://", "");
        let config = serde_json::json!({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [file("rules.yml"), file("alerts.yml")],
            "scrape_configs": [{"job_name": "reveille", "static_configs": [{"targets": [target]}]}],
        });
        fs::write(file("prometheus.yml"), config.to_string()).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let process = Command::new("prometheus")
            .arg(format!(
                "--config.file={}",
                file("prometheus.yml").display()
            ))
            .arg(format!("--storage.tsdb.path={}", file("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(fs::File::create(file("log")).unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("prometheus: {error}; tests/run installs it"));
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(10))
            .no_proxy()
            .build()
            .unwrap();
        Self {
            process,
            url: format!("http://127.0.0.1:{port}"),
            http,
            _folder: folder,
        }
    }

    /// Whether an expression gives a number now.
    async fn answers(&self, expression: &str) -> bool {
        let request = self
            .http
            .post(format!("{}/api/v1/query", self.url))
            .form(&[("query", expression)]);
        let Ok(answer) = request.send().await else {
            return false;
        };
        let Ok(answer) = answer.json::<Value>().await else {
            return false;
        };
        let series = answer["data"]["result"].as_array().into_iter().flatten();
        series
            .filter_map(|one| one["value"][1].as_str())
            .any(|value| value != "NaN")
    }
}

fn troubled() -> Behaviour {
    Behaviour {
        latency: Delay::fixed(Duration::from_millis(10)),
        dead: "2%".parse().unwrap(),
        check_in: CheckIns {
            delay: "10ms..200ms".parse().unwrap(),
            ..CheckIns::default()
        },
        ..Behaviour::default()
    }
}

/// All that must have an answer: panels and recording rules as they stand, and each series that an alert names, since an alert
/// itself is silent while all is well.
fn questions() -> Vec<(String, String)> {
    let recorded = expressions::rules("deploy/prometheus/rules.yml");
    let recorded = recorded
        .iter()
        .map(|rule| rule["record"].as_str().unwrap().to_owned());
    let mut all: Vec<(String, String)> = recorded.map(|name| (name.clone(), name)).collect();
    all.extend(of_dashboards(TENANT).into_iter().map(|e| (e.place, e.text)));
    for expression in of_rules() {
        let named = selectors(&expression.text)
            .into_iter()
            .map(|selector| selector.metric);
        all.extend(named.map(|metric| (expression.place.clone(), format!("count({metric})"))));
    }
    all.sort();
    all.dedup_by(|a, b| a.1 == b.1);
    all
}

/// Asks a broker that wakes a fleet, a part of it in trouble, watched from its first moment; `work` gives it more to do each time.
/// Both go on until they are dropped.
async fn answers_all(
    mut rig: Rig,
    questions: Vec<(String, String)>,
    work: impl Fn(&Rig),
) -> (Rig, Prometheus) {
    rig.start().await;
    let prometheus = Prometheus::start(&rig);
    until("Prometheus has seen the broker twice", async || {
        prometheus
            .answers("count_over_time(reveille_build_info[1m]) >= 2")
            .await
    })
    .await;
    rig.register_all().await;

    // Every question is asked until it is answered, while the broker goes on working: what rises before Prometheus has seen the
    // series has no rate.
    let mut open = questions;
    let patience = tokio::time::Instant::now() + Duration::from_secs(90);
    while !open.is_empty() && tokio::time::Instant::now() < patience {
        rig.push_all("goal=check_in&expires_in=1h").await;
        work(&rig);
        let mut unanswered = Vec::new();
        for (place, question) in open {
            if !prometheus.answers(&question).await {
                unanswered.push((place, question));
            }
        }
        open = unanswered;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }

    assert!(
        open.is_empty(),
        "{} questions without an answer: {open:#?}",
        open.len()
    );
    (rig, prometheus)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_question_of_dashboards_rules_and_alerts_has_an_answer() {
    let of_streams = |text: &str| OF_STREAMS.iter().any(|part| text.contains(part));
    let mut questions = questions();
    questions.retain(|(place, question)| !of_streams(place) && !of_streams(question));
    let unknown = questions
        .extract_if(.., |(place, _)| place.ends_with(OF_SECRETS))
        .collect::<Vec<_>>();
    let (_rig, prometheus) = answers_all(Rig::new(DEVICES, troubled()), questions, |_| {}).await;

    // The end of a secret that nobody has stated is not told as decades ago.
    let [(_, question)] = unknown.as_slice() else {
        panic!("one panel: {unknown:?}")
    };
    assert!(
        prometheus
            .answers("reveille_secret_expiry_timestamp_seconds")
            .await
    );
    assert!(!prometheus.answers(question).await, "{question}");
}

#[tokio::test(flavor = "multi_thread")]
async fn so_has_every_question_to_a_broker_on_redis_whose_tenant_has_streams() {
    let server = RedisServer::durable();
    let mut rig = Rig::new(DEVICES, troubled());
    rig.store = redis(server.port);
    rig.secret += "\nsecret_expires = \"2099-12-31\"";
    rig.extra = format!("[streams]\ntenants = [\"{TENANT}\"]\n");
    let taken = |rig: &Rig| {
        let (device, _) = rig.sandbox.channels(TENANT).next().unwrap();
        serde_json::json!({ "devices": [device] }).to_string()
    };
    let work = |rig: &Rig| {
        let (taken, refused) = (taken(rig), "{}");
        let entries = [taken.as_str(), refused].map(|body| vec!["command", "push", "body", body]);
        server.add_all(INBOX, entries);
    };
    answers_all(rig, questions(), work).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_broker_at_work_exposes_is_clean() {
    // given a broker that has done a bit of everything
    let mut rig = Rig::new(DEVICES, troubled());
    rig.start().await;
    rig.register_all().await;
    rig.push_all("goal=accepted").await;
    until("the fleet is awake", async || rig.reached() > 400).await;

    // when its metrics are given to the linter of Prometheus
    let answer = rig.http.get(rig.url("/metrics")).send().await.unwrap();
    let metrics = rig.dir.path().join("metrics.txt");
    fs::write(&metrics, answer.text().await.unwrap()).unwrap();
    let judged = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(fs::File::open(&metrics).unwrap())
        .output()
        .unwrap_or_else(|error| panic!("promtool: {error}; tests/run installs it"));

    // then it has nothing to say
    let said = [judged.stdout, judged.stderr].concat();
    assert_eq!(String::from_utf8_lossy(&said), "");
    assert!(judged.status.success());
}
