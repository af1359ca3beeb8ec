//! A console at one campaign of a running broker: what it asks, and how soon that is so.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::rig::{Rig, TENANT};

/// Whatever a console asks of a campaign must be so within this time: a second, and many times that for a broker without
/// optimisation whose machine also builds and tests. That it does not grow with the fleet is shown by order and counts; what
/// it took is printed.
pub(crate) const AT_ONCE: Duration = Duration::from_secs(20);
/// For so long nothing may be sent to call a campaign quiet.
const QUIET: Duration = Duration::from_millis(400);
/// Every target is released, and its first session told, within this time.
const PATIENCE: Duration = Duration::from_secs(600);

/// A console at one campaign.
pub(crate) struct Console<'a> {
    pub(crate) rig: &'a Rig,
    pub(crate) id: String,
}

impl<'a> Console<'a> {
    /// Makes a draft as `body` says.
    pub(crate) async fn create(rig: &'a Rig, body: &Value) -> Self {
        let url = rig.url(&format!("/v1/tenants/{TENANT}/campaigns"));
        let made = rig.http.post(url).json(body).send().await.unwrap();
        assert!(made.status().is_success(), "{:?}", made.text().await);
        let made: Value = made.json().await.unwrap();
        let id = made["id"].as_str().unwrap().to_owned();
        Self { rig, id }
    }

    pub(crate) fn path(&self, below: &str) -> String {
        format!("/v1/tenants/{TENANT}/campaigns/{}{below}", self.id)
    }

    pub(crate) async fn campaign(&self) -> Value {
        self.rig.get(&self.path("")).await
    }

    /// How many targets are in a state.
    pub(crate) async fn count(&self, state: &str) -> u64 {
        count(&self.campaign().await, state)
    }

    /// Reads the report: each target's line by its device, which comes once.
    pub(crate) async fn report(&self) -> BTreeMap<String, Value> {
        let url = self.rig.url(&self.path("/targets?format=ndjson"));
        let text = self.rig.http.get(url).send().await.unwrap().text().await;
        let mut lines = BTreeMap::new();
        for line in text.unwrap().lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let device = line["device"].as_str().unwrap().to_owned();
            let twice = lines.insert(device, line);
            assert_eq!(twice, None, "a target comes twice");
        }
        lines
    }

    /// Asks for a change; how long the answer took.
    pub(crate) async fn ask(&self, verb: &str) -> Duration {
        let began = Instant::now();
        let url = self.rig.url(&self.path(&format!("/{verb}")));
        let answer = self.rig.http.post(url).send().await.unwrap();
        assert!(answer.status().is_success(), "{verb}: {}", answer.status());
        began.elapsed()
    }

    /// Asks for a change that lets notifications flow; how long it took until one was there.
    pub(crate) async fn begins(&self, verb: &str) -> Duration {
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
    pub(crate) async fn stops(&self, verb: &str) -> Duration {
        let began = Instant::now();
        let answered = self.ask(verb).await;
        let (mut last, mut seen) = (Instant::now(), self.rig.sandbox.ledger().requests);
        // What is on the wire has gone out before: a machine that is busy may be slow to count it.
        while (last.elapsed() < QUIET || self.on_the_wire().await) && began.elapsed() < AT_ONCE * 2
        {
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

    /// Whether the broker waits for answers of WNS.
    async fn on_the_wire(&self) -> bool {
        let app = self.rig.get(&format!("/v1/apps/{TENANT}")).await;
        app["pace"]["in_flight"].as_u64().unwrap() > 0
    }

    /// Waits until `count` notifications were sent.
    pub(crate) async fn sent(&self, count: u64) {
        self.reach("notifications are sent", async || {
            self.rig.sandbox.ledger().requests >= count
        })
        .await;
    }

    pub(crate) async fn reach(&self, what: &str, mut condition: impl AsyncFnMut() -> bool) {
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

pub(crate) fn count(campaign: &Value, state: &str) -> u64 {
    campaign["counts"][state].as_u64().unwrap()
}

/// All counts but the first are of targets that are somewhere.
pub(crate) fn assert_adds_up(campaign: &Value, targets: u32) {
    let counts = campaign["counts"].as_object().unwrap();
    let parts = counts.iter().filter(|(name, _)| *name != "targets");
    let sum: u64 = parts.filter_map(|(_, n)| n.as_u64()).sum();
    assert_eq!(sum, u64::from(targets), "{campaign}");
    assert_eq!(count(campaign, "targets"), u64::from(targets), "{campaign}");
}
