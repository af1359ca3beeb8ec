//! A campaign over a whole fleet, paused, resumed, killed and cancelled: it takes effect within a second, and every target is
//! accounted for.
//!
//! `E2E_FLEET` is the number of devices, 5,000 without it: a broker that is built without optimisation needs
//! minutes for many more. `E2E_BROKER` is another broker's program, such as one that was optimised.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use jiff::Timestamp;
use reveille::sandbox::{Behaviour, CheckIns, Delay, Period, Share};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    console::{AT_ONCE, Console, assert_adds_up, count},
    rig::{Rig, TENANT},
};

/// Devices without `E2E_FLEET`.
const DEVICES: u32 = 5_000;
/// Releasing the fleet takes at least so long, so that there is a middle to pause and to die in.
const SENDING: f64 = 15.0;
/// The same for a campaign that must not be through before all its targets are listed.
const LONG: f64 = 60.0;

fn fleet() -> u32 {
    let chosen = std::env::var("E2E_FLEET").ok();
    chosen.map_or(DEVICES, |n| n.parse().expect("a number of devices"))
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

/// A draft for the whole fleet, at a pace that leaves a middle.
fn draft() -> Value {
    json!({
        "name": "revoke CA 7", "goal": "check_in", "expires_in": "1h",
        "pace": {"per_second": f64::from(fleet()) / SENDING},
    })
}

/// Streams the whole fleet into a draft.
async fn list(console: &Console<'_>) {
    let devices = console.rig.sandbox.channels(TENANT);
    let lines = devices.map(|(device, _)| format!("{{\"device\":\"{device}\"}}"));
    let path = console.path("/targets");
    let (_, added) = console.rig.post_pieces(&path, lines, "added").await;
    assert_eq!(added, u64::from(fleet()));
}

/// A broker with the whole fleet.
async fn rig() -> Rig {
    let mut rig = Rig::new(fleet(), behaviour());
    rig.binary = std::env::var_os("E2E_BROKER").map(PathBuf::from);
    // A sandbox that shares a busy machine must not be taken for one that is out.
    rig.extra = "[limits]\ndispatchers = 2\nin_flight_max = 64\n".to_owned();
    rig.start().await;
    let began = Instant::now();
    rig.register_all().await;
    eprintln!("registered {} in {:?}", fleet(), began.elapsed());
    rig
}

fn share(of: f64) -> u64 {
    (f64::from(fleet()) * of) as u64
}

/// How many lines of a report there are of each state.
fn states(report: &BTreeMap<String, Value>) -> BTreeMap<&str, u64> {
    let mut states = BTreeMap::new();
    for line in report.values() {
        *states.entry(line["state"].as_str().unwrap()).or_default() += 1;
    }
    states
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_is_woken_and_accounted_for_although_the_campaign_is_paused_and_the_broker_killed()
{
    // given a draft for the whole fleet
    let mut rig = rig().await;
    let console = Console::create(&rig, &draft()).await;
    list(&console).await;
    let id = console.id.clone();
    let began = Instant::now();
    let mut slowest = Duration::ZERO;

    // when it is started, paused, killed while it stands still, resumed, and killed again while it runs
    slowest = slowest.max(console.begins("start").await);
    console.sent(share(0.2)).await;
    slowest = slowest.max(console.stops("pause").await);
    assert_adds_up(&console.campaign().await, fleet());
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
    console.sent(share(0.5)).await;
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
    assert_adds_up(&running, fleet());
    assert_eq!(running["state"], "running");
    // A notification went out for each, also for those whose dead channel had to be replaced first.
    let reached = rig.sandbox.ledger().devices.reached;
    assert_eq!(reached, u64::from(fleet()), "{running}");
    let silent = count(&running, "awaiting") + count(&running, "blocked");
    assert_eq!(answered() + silent, u64::from(fleet()), "{running}");
    assert!(answered() * 100 > u64::from(fleet()) * 99, "{running}");

    // and a cancel ends those that never answer, at once, so that the report names every target once
    slowest = slowest.max(console.ask("cancel").await);
    let ended = console.campaign().await;
    assert_adds_up(&ended, fleet());
    let report = console.report().await;
    let states = states(&report);
    eprintln!("{states:?}, delays {}", ended["check_in_delay_seconds"]);
    assert_eq!(states.values().sum::<u64>(), u64::from(fleet()));
    for state in ["checked_in", "cancelled"] {
        assert_eq!(states[state], count(&ended, state), "{state}");
    }
    assert_eq!(states.len(), 2, "{states:?}");
    assert_eq!(states["checked_in"], answered());
    assert!(slowest <= AT_ONCE, "{slowest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_for_all_begins_before_it_knows_them_all_and_can_be_called_off_at_once() {
    // given a campaign for all devices that there are
    let rig = rig().await;
    let mut body = draft();
    body["targets"] = "all".into();
    body["pace"]["per_second"] = (f64::from(fleet()) / LONG).into();
    let console = Console::create(&rig, &body).await;

    // when it is started
    let mut slowest = console.begins("start").await;

    // then the first is released before the last is listed
    console
        .reach("all are listed", async || {
            !console.campaign().await["prepared_at"].is_null()
        })
        .await;
    let listed = console.campaign().await;
    assert_eq!(count(&listed, "targets"), u64::from(fleet()));
    assert_adds_up(&listed, fleet());
    let report = console.report().await;
    let released = report
        .values()
        .filter_map(|line| line["opened_at"].as_str());
    let first: Timestamp = released.min().unwrap().parse().unwrap();
    let prepared: Timestamp = listed["prepared_at"].as_str().unwrap().parse().unwrap();
    assert!(first < prepared, "{first} comes after {prepared}");

    // when it is called off in the middle
    console.sent(share(0.1)).await;
    slowest = slowest.max(console.stops("cancel").await);

    // then every target has ended, in the counts and in the report
    let told = console.campaign().await;
    assert_eq!(told["state"], "cancelled");
    assert_adds_up(&told, fleet());
    assert_eq!(ended(&told), u64::from(fleet()), "{told}");
    let report = console.report().await;
    let at_once = states(&report);
    assert!(
        at_once
            .keys()
            .all(|s| ["checked_in", "cancelled"].contains(s)),
        "{at_once:?}"
    );
    assert_eq!(report.len(), fleet() as usize);

    // and when the runner is through with them, that is what they were: but for sessions that came meanwhile
    console
        .reach("no push is left", async || rig.open_pushes().await == 0)
        .await;
    let after = console.campaign().await;
    assert_adds_up(&after, fleet());
    assert!(
        count(&after, "cancelled") <= at_once["cancelled"],
        "{after}"
    );
    assert_eq!(ended(&after), u64::from(fleet()), "{after}");
    let reached = rig.sandbox.ledger().devices.reached;
    assert!(reached < u64::from(fleet()), "{after}");
    assert!(slowest <= AT_ONCE, "{slowest:?}");
}

/// Targets that have checked in or were cancelled.
fn ended(campaign: &Value) -> u64 {
    count(campaign, "checked_in") + count(campaign, "cancelled")
}
