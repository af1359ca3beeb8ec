//! A campaign over a whole fleet, paused, resumed, killed and cancelled: it takes effect within a second, and every target is
//! accounted for.
//!
//! `REVEILLE_E2E_FLEET` is the number of devices, 5,000 without it: a broker that is built without optimisation needs
//! minutes for many more. `REVEILLE_E2E_BROKER` is another broker's program, such as one that was optimised.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use reveille::sandbox::{Behaviour, CheckIns, Delay, Period, Share};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::rig::{Rig, TENANT, until};

/// Devices without `REVEILLE_E2E_FLEET`.
const DEVICES: u32 = 5_000;
/// Releasing the fleet takes at least so long, so that there is a middle to pause and to die in.
const SENDING: f64 = 15.0;
/// Whatever a console asks of a campaign must be so within this time: a second, and more for a broker without optimisation
/// on a machine that is busy with other tests. What it took is printed.
const AT_ONCE: Duration = Duration::from_secs(10);
/// For so long nothing may be sent to call a campaign quiet.
const QUIET: Duration = Duration::from_millis(400);
/// Every target is released, and its first session told, within this time.
const PATIENCE: Duration = Duration::from_secs(600);

fn fleet() -> u32 {
    let chosen = std::env::var("REVEILLE_E2E_FLEET").ok();
    chosen.map_or(DEVICES, |n| n.parse().expect("a number of devices"))
}

/// A console at one campaign.
struct Console<'a> {
    rig: &'a Rig,
    id: String,
}

impl Console<'_> {
    fn path(&self, below: &str) -> String {
        format!("/v1/tenants/{TENANT}/campaigns/{}{below}", self.id)
    }

    async fn campaign(&self) -> Value {
        self.rig.get(&self.path("")).await
    }

    /// Asks for a change; how long the answer took.
    async fn ask(&self, verb: &str) -> Duration {
        let began = Instant::now();
        let url = self.rig.url(&self.path(&format!("/{verb}")));
        let answer = self.rig.http.post(url).send().await.unwrap();
        assert!(answer.status().is_success(), "{verb}: {}", answer.status());
        began.elapsed()
    }

    /// Asks for a change that lets notifications flow; how long it took until one was there.
    async fn begins(&self, verb: &str) -> Duration {
        let (began, before) = (Instant::now(), self.rig.sandbox.ledger().requests);
        let answered = self.ask(verb).await;
        while self.rig.sandbox.ledger().requests == before && began.elapsed() < AT_ONCE * 2 {
            sleep(Duration::from_millis(5)).await;
        }
        eprintln!(
            "{verb}: answered after {answered:?}, sent after {:?}",
            began.elapsed()
        );
        began.elapsed()
    }

    /// Asks for a change that stops notifications; how long it took until the last.
    async fn stops(&self, verb: &str) -> Duration {
        let began = Instant::now();
        let answered = self.ask(verb).await;
        let (mut last, mut seen) = (Instant::now(), self.rig.sandbox.ledger().requests);
        while last.elapsed() < QUIET && began.elapsed() < AT_ONCE * 2 {
            let now = self.rig.sandbox.ledger().requests;
            if now != seen {
                (last, seen) = (Instant::now(), now);
            }
            sleep(Duration::from_millis(5)).await;
        }
        let quiet = last.duration_since(began);
        eprintln!("{verb}: answered after {answered:?}, quiet after {quiet:?}");
        quiet
    }

    /// Waits until `share` of the fleet has been sent a notification.
    async fn sent(&self, share: f64) {
        let goal = (f64::from(fleet()) * share) as u64;
        self.reach("notifications are sent", async || {
            self.rig.sandbox.ledger().requests >= goal
        })
        .await;
    }

    async fn reach(&self, what: &str, mut condition: impl AsyncFnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition().await {
            assert!(
                Instant::now() < deadline,
                "{what}: {}",
                self.campaign().await
            );
            sleep(Duration::from_millis(100)).await;
        }
    }
}

fn count(campaign: &Value, state: &str) -> u64 {
    campaign["counts"][state].as_u64().unwrap()
}

/// All counts but the first are of targets that are somewhere.
fn assert_adds_up(campaign: &Value) {
    let counts = campaign["counts"].as_object().unwrap();
    let parts = counts.iter().filter(|(name, _)| *name != "targets");
    let sum: u64 = parts.filter_map(|(_, n)| n.as_u64()).sum();
    assert_eq!(sum, u64::from(fleet()), "{campaign}");
    assert_eq!(count(campaign, "targets"), u64::from(fleet()), "{campaign}");
}

/// The fleet: one in 200 never answers, three in a hundred have a dead channel and get another within two seconds.
fn behaviour() -> Behaviour {
    Behaviour {
        latency: Delay::fixed(Duration::from_millis(10)),
        dead: Share::ratio(0.03),
        check_in: CheckIns {
            never: Share::ratio(0.005),
            poll: Some(Period(Duration::from_secs(2))),
            ..CheckIns::default()
        },
        ..Behaviour::default()
    }
}

/// A draft for the whole fleet, whose targets are streamed.
async fn draft(rig: &Rig) -> String {
    let body = json!({
        "name": "revoke CA 7", "goal": "check_in", "expires_in": "1h",
        "pace": {"per_second": f64::from(fleet()) / SENDING},
    });
    let path = format!("/v1/tenants/{TENANT}/campaigns");
    let made = rig.http.post(rig.url(&path)).json(&body).send().await;
    let made: Value = made.unwrap().json().await.unwrap();
    let id = made["id"].as_str().unwrap().to_owned();
    let devices = rig.sandbox.channels(TENANT);
    let lines = devices.map(|(device, _)| format!("{{\"device\":\"{device}\"}}"));
    let path = format!("{path}/{id}/targets");
    let (_, added) = rig.post_pieces(&path, lines, "added").await;
    assert_eq!(added, u64::from(fleet()));
    id
}

/// Reads the report: the devices in each state.
async fn report(console: &Console<'_>) -> BTreeMap<String, BTreeSet<String>> {
    let url = console.rig.url(&console.path("/targets?format=ndjson"));
    let text = console.rig.http.get(url).send().await.unwrap().text().await;
    let mut states: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let field = |name: &str| line[name].as_str().unwrap().to_owned();
        let new = states
            .entry(field("state"))
            .or_default()
            .insert(field("device"));
        assert!(new, "{line} comes twice");
    }
    states
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_is_woken_and_accounted_for_although_the_campaign_is_paused_and_the_broker_killed()
{
    // given a draft for the whole fleet
    let mut rig = Rig::new(fleet(), behaviour());
    rig.binary = std::env::var_os("REVEILLE_E2E_BROKER").map(PathBuf::from);
    // A sandbox that shares a busy machine must not be taken for one that is out.
    rig.extra = "[limits]\ndispatchers = 2\nin_flight_max = 64\n".to_owned();
    rig.start().await;
    let began = Instant::now();
    rig.register_all().await;
    let id = draft(&rig).await;
    eprintln!("registered and listed {} in {:?}", fleet(), began.elapsed());
    let began = Instant::now();
    let mut slowest = Duration::ZERO;

    // when it is started, paused, killed while it stands still, resumed, and killed again while it runs
    let console = Console {
        rig: &rig,
        id: id.clone(),
    };
    slowest = slowest.max(console.begins("start").await);
    console.sent(0.2).await;
    slowest = slowest.max(console.stops("pause").await);
    assert_adds_up(&console.campaign().await);
    until("nothing is on the wire", async || {
        let metrics = rig.http.get(rig.url("/metrics")).send().await.unwrap();
        let metrics = metrics.text().await.unwrap();
        metrics.contains("reveille_attempts_in_flight{app=\"contoso\"} 0\n")
    })
    .await;
    let asleep = rig.sandbox.ledger().requests;
    rig.kill();
    rig.start().await;
    sleep(Duration::from_secs(1)).await;
    let console = Console {
        rig: &rig,
        id: id.clone(),
    };
    assert_eq!(
        rig.sandbox.ledger().requests,
        asleep,
        "paused is paused after a restart"
    );
    assert_eq!(console.campaign().await["state"], "paused");
    slowest = slowest.max(console.begins("resume").await);
    console.sent(0.5).await;
    rig.kill();
    rig.start().await;

    // then every device that can be reached is woken, and all that can check in have done so
    let console = Console { rig: &rig, id };
    let answered = || rig.sandbox.ledger().devices.checked_in;
    console
        .reach("the fleet is awake", async || {
            let told = console.campaign().await;
            let sent = count(&told, "waiting") + count(&told, "open") == 0;
            let quiet = rig.sandbox.ledger().fleet.planned == 0;
            sent && quiet && count(&told, "checked_in") == answered()
        })
        .await;
    eprintln!("woken after {:?}", began.elapsed());
    let running = console.campaign().await;
    assert_adds_up(&running);
    assert_eq!(running["state"], "running");
    // A notification went out for each, also for those whose dead channel had to be replaced first.
    let reached = rig.sandbox.ledger().devices.reached;
    assert_eq!(reached, u64::from(fleet()), "{running}");
    let silent = count(&running, "awaiting") + count(&running, "blocked");
    assert_eq!(answered() + silent, u64::from(fleet()), "{running}");
    assert!(answered() * 100 > u64::from(fleet()) * 99, "{running}");

    // and a cancel ends those that never answer, so that the report names every target once
    slowest = slowest.max(console.ask("cancel").await);
    until("what was left has ended", async || {
        let told = console.campaign().await;
        count(&told, "awaiting") + count(&told, "blocked") == 0
    })
    .await;
    let ended = console.campaign().await;
    assert_adds_up(&ended);
    let states = report(&console).await;
    let sizes: BTreeMap<&str, u64> = states
        .iter()
        .map(|(s, d)| (s.as_str(), d.len() as u64))
        .collect();
    eprintln!("{sizes:?}, delays {}", ended["check_in_delay_seconds"]);
    assert_eq!(sizes.values().sum::<u64>(), u64::from(fleet()));
    for state in ["checked_in", "cancelled"] {
        assert_eq!(sizes[state], count(&ended, state), "{state}");
    }
    assert_eq!(sizes.len(), 2, "{sizes:?}");
    assert_eq!(sizes["checked_in"], answered());
    assert!(slowest <= AT_ONCE, "{slowest:?}");
}
