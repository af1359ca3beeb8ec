//! Consoles are told, once for each, of channels that expire soon because their devices have not renewed them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::Timestamp;
use reveille::{
    adapters::embedded::{EmbeddedOptions, EmbeddedStore},
    domain::{
        channel::{ChannelState, Trial},
        id::{DeviceId, TenantId},
        schedule::Rules,
        transition::Effects,
        wns::{channel_uri::ChannelUri, reply::ChannelRefusal},
    },
    ports::{clock::Clock, feed::After, records::Urgency},
    service::{channels, desk::Desk, edit::Decision, expiry::Reminders},
    telemetry::Telemetry,
};
use serde_json::Value;
use tempfile::TempDir;

const HOST: &str = "db5p.notify.windows.com";

struct TestClock(Mutex<Timestamp>);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

struct World {
    desk: Desk,
    clock: Arc<TestClock>,
    tenant: TenantId,
    _folder: TempDir,
}

impl World {
    fn at(moment: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let clock = Arc::new(TestClock(Mutex::new(moment.parse().unwrap())));
        let options = EmbeddedOptions {
            segment_bytes: 1024 * 1024,
            ballast_bytes: 0,
            ..EmbeddedOptions::new(folder.path().join("store"), clock.clone())
        };
        let desk = Desk {
            store: EmbeddedStore::open(options).unwrap(),
            clock: clock.clone(),
            rules: Arc::new(Rules::default()),
            telemetry: Telemetry::new(Duration::from_secs(60)),
            fence: None,
        };
        Self {
            desk,
            clock,
            tenant: TenantId::new("contoso").unwrap(),
            _folder: folder,
        }
    }

    fn set(&self, moment: &str) {
        *self.clock.0.lock().unwrap() = moment.parse().unwrap();
    }

    async fn report(&self, devices: impl IntoIterator<Item = String>, secret: &str) {
        let report = |name: String| {
            let uri = format!("https://{HOST}/?token={secret}-{name}");
            (DeviceId::new(&name).unwrap(), ChannelUri::from_stored(&uri))
        };
        let reports = devices.into_iter().map(report).collect();
        let registered = channels::register(&self.desk, &self.tenant, reports);
        registered.await.unwrap();
    }

    async fn report_one(&self, device: &str, secret: &str) {
        self.report([device.to_owned()], secret).await;
    }

    async fn die(&self, device: &str) {
        let job = vec![(DeviceId::new(device).unwrap(), ())];
        let died = self
            .desk
            .change(&self.tenant, job, Urgency::Settle, |step, (), record| {
                let mut record = record.unwrap();
                record.channel.as_mut().unwrap().state = ChannelState::Dead {
                    since: step.now,
                    cause: ChannelRefusal::Gone,
                    trial: Trial::NotAsked,
                };
                Decision::Commit(Some(record), Effects::default(), ())
            });
        died.await.unwrap();
    }

    /// One round of the broker that does this.
    async fn round(&self, reminders: &mut Reminders, entries: usize) {
        let strangers = TenantId::new("without-channels").unwrap();
        let tenants = async || Ok(vec![strangers, self.tenant.clone()]);
        reminders.go_on(&self.desk, tenants, entries).await.unwrap();
    }

    /// How often each device was told, and all that was said.
    async fn told(&self) -> (BTreeMap<String, usize>, Vec<Value>) {
        let (mut told, mut said) = (BTreeMap::new(), Vec::new());
        let mut after = After::Oldest;
        loop {
            let (page, next) = self
                .desk
                .store
                .events(&self.tenant, &after, 1_000)
                .await
                .unwrap();
            if page.is_empty() {
                return (told, said);
            }
            for entry in page {
                let event: Value = serde_json::from_slice(&entry.json).unwrap();
                if event["type"] == "channel.expiring" {
                    let device = event["data"]["device"].as_str().unwrap().to_owned();
                    *told.entry(device).or_default() += 1;
                    said.push(event);
                }
            }
            after = After::Cursor(next);
        }
    }

    async fn devices_told(&self) -> Vec<(String, usize)> {
        self.told().await.0.into_iter().collect()
    }
}

fn once(devices: &[&str]) -> Vec<(String, usize)> {
    devices.iter().map(|d| ((*d).to_owned(), 1)).collect()
}

#[tokio::test]
async fn a_channel_that_is_not_renewed_is_told_once_three_days_before_its_end() {
    let world = World::at("2026-03-01T12:00:00Z");
    for device in ["a", "b", "renewed", "dead"] {
        world.report_one(device, "first").await;
    }
    let mut reminders = Reminders::default();
    world.set("2026-03-16T12:00:00Z");
    world.report_one("renewed", "second").await;
    // The same channel once more is no renewal.
    world.report_one("b", "first").await;
    world.die("dead").await;

    world.set("2026-03-27T23:59:00Z");
    world.round(&mut reminders, 1_000).await;
    assert_eq!(world.devices_told().await, []);

    world.set("2026-03-28T00:01:00Z");
    for _ in 0..2 {
        world.round(&mut reminders, 1_000).await;
        assert_eq!(world.devices_told().await, once(&["a", "b"]));
    }
    let (_, said) = world.told().await;
    assert_eq!(said[0]["data"]["expires_at"], "2026-03-31T12:00:00Z");
    assert_eq!(said[0]["data"]["first_seen"], "2026-03-01T12:00:00Z");
    assert_eq!(said[0]["data"]["host"], HOST);
    assert!(
        said.iter()
            .all(|event| !event.to_string().contains("first-"))
    );

    // Neither the next days nor another broker tell them again.
    for day in [
        "2026-03-28T20:00:00Z",
        "2026-03-29T12:00:00Z",
        "2026-04-02T12:00:00Z",
    ] {
        world.set(day);
        world.round(&mut Reminders::default(), 1_000).await;
        world.round(&mut reminders, 1_000).await;
    }
    assert_eq!(world.devices_told().await, once(&["a", "b"]));
    world.set("2026-04-12T12:00:00Z");
    world.round(&mut reminders, 1_000).await;
    assert_eq!(world.devices_told().await, once(&["a", "b", "renewed"]));
}

#[tokio::test]
async fn what_would_have_been_told_while_no_broker_ran_is_told_when_one_comes() {
    let world = World::at("2026-03-01T12:00:00Z");
    for (day, device) in [("01", "a"), ("03", "b"), ("05", "c"), ("08", "d")] {
        world.set(&format!("2026-03-{day}T12:00:00Z"));
        world.report_one(device, "first").await;
    }
    world.set("2026-03-28T12:00:00Z");
    world.round(&mut Reminders::default(), 1_000).await;
    assert_eq!(world.devices_told().await, once(&["a"]));

    // Those of b were due on the 30th.
    world.set("2026-04-01T12:00:00Z");
    world.round(&mut Reminders::default(), 1_000).await;
    assert_eq!(world.devices_told().await, once(&["a", "b", "c"]));
}

#[tokio::test]
async fn a_walk_that_lasts_beyond_midnight_leaves_nobody_out() {
    let world = World::at("2026-03-01T12:00:00Z");
    world
        .report((0..1_300).map(|n| format!("d{n}")), "first")
        .await;
    world.set("2026-03-02T12:00:00Z");
    world.report_one("later", "first").await;

    let mut reminders = Reminders::default();
    world.set("2026-03-28T23:59:50Z");
    world.round(&mut reminders, 1).await;
    let first = world.devices_told().await.len();
    assert!((1..1_300).contains(&first), "{first} in one slice");
    world.set("2026-03-29T00:00:10Z");
    for _ in 0..10 {
        world.round(&mut reminders, 1).await;
    }

    let told = world.devices_told().await;
    assert_eq!(told.len(), 1_301);
    assert!(told.iter().all(|(_, times)| *times == 1));
}
