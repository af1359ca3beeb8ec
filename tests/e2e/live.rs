//! What a console does to campaigns that run, and what the devices see of it: shared pushes, a pace that changes, a call for
//! time, and channels that were taken for dead.

use std::time::Duration;

use reqwest::Method;
use reveille::sandbox::{Behaviour, CheckIns, Delay};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    console::{Console, assert_adds_up, count},
    rig::{Rig, TENANT, until},
};

const DEVICES: u32 = 200;
/// A runner looks at its campaign more than once within this time.
const LOOKS: Duration = Duration::from_secs(3);

/// Devices that check in soon after they are woken.
async fn rig() -> Rig {
    let behaviour = Behaviour {
        check_in: CheckIns {
            delay: Delay::fixed(Duration::from_secs(1)),
            ..CheckIns::default()
        },
        ..Behaviour::default()
    };
    let mut rig = Rig::new(DEVICES, behaviour);
    rig.start().await;
    rig.register_all().await;
    rig
}

async fn call(rig: &Rig, method: Method, path: &str, body: Value) -> Value {
    let request = rig.http.request(method, rig.url(path)).json(&body);
    let answer = request.send().await.unwrap();
    let status = answer.status();
    let text = answer.text().await.unwrap();
    assert!(status.is_success(), "{path}: {status} {text}");
    serde_json::from_str(&text).unwrap()
}

async fn app(rig: &Rig, verb: &str) {
    call(
        rig,
        Method::POST,
        &format!("/v1/apps/{TENANT}/{verb}"),
        json!({}),
    )
    .await;
}

/// A session of a device that is nobody's target.
async fn check_in(rig: &Rig, slow_down: &str) {
    let path = format!("/v1/tenants/{TENANT}/check-ins");
    let body = json!({"device": "console", "slow_down": slow_down});
    call(rig, Method::POST, &path, body).await;
}

fn devices(rig: &Rig, count: usize) -> Vec<String> {
    let devices = rig.sandbox.channels(TENANT).take(count);
    devices.map(|(device, _)| device.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn campaigns_over_the_same_devices_share_the_pushes_and_each_is_credited_by_its_own_asks() {
    // given three campaigns, one for half of the devices, that have released everything while the app stands still
    let rig = rig().await;
    app(&rig, "pause").await;
    let draft = |goal: &str, targets: Value| json!({"name": "x", "goal": goal, "targets": targets});
    let half = devices(&rig, 100);
    let bodies = [
        draft("check_in", "all".into()),
        draft("accepted", half.into()),
        draft("check_in", "all".into()),
    ];
    let mut campaigns = Vec::new();
    for body in &bodies {
        campaigns.push(Console::create(&rig, body).await);
    }
    for console in &campaigns {
        console.ask("start").await;
        console
            .reach("everything is released", async || {
                let told = console.campaign().await;
                !told["prepared_at"].is_null() && count(&told, "open") == count(&told, "targets")
            })
            .await;
    }

    // when one of them is called off, and the app goes on
    campaigns[2].ask("cancel").await;
    campaigns[2]
        .reach("its asks are called off", async || {
            campaigns[2].campaign().await["counts_final"] == true
        })
        .await;
    app(&rig, "resume").await;
    for console in &campaigns[..2] {
        console
            .reach("it is finished", async || {
                console.campaign().await["state"] == "finished"
            })
            .await;
    }

    // then each device was woken once, and each campaign has what it asked for
    let sent = rig.sandbox.ledger();
    assert_eq!((sent.requests, sent.devices.most), (200, 1));
    // A session that overtakes the answer of WNS is as good.
    let ends: [(&[&str], u32); 3] = [
        (&["checked_in"], 200),
        (&["accepted", "checked_in"], 100),
        (&["cancelled"], 200),
    ];
    for (console, (states, targets)) in campaigns.iter().zip(ends) {
        assert_adds_up(&console.campaign().await, targets);
        let lines = console.report().await;
        assert_eq!(lines.len(), targets as usize);
        let ended = |line: &Value| states.iter().any(|state| line["state"] == *state);
        assert!(lines.values().all(ended), "{lines:?}");
    }
    assert_eq!(campaigns[0].campaign().await["attempts"], 200);
    assert_eq!(campaigns[1].campaign().await["attempts"], 100);
    assert_eq!(campaigns[2].campaign().await["attempts"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_console_sets_the_pace_and_may_ask_for_time() {
    // given a campaign that would take a quarter of an hour
    let rig = rig().await;
    let slow = json!({
        "name": "x", "goal": "check_in", "targets": "all", "pace": {"per_second": 0.2}
    });
    let console = Console::create(&rig, &slow).await;
    console.ask("start").await;
    console.sent(1).await;

    // when the console asks for time, and sets another pace meanwhile
    check_in(&rig, "1h").await;
    let fast = json!({"per_second": 10_000.0});
    let told = call(&rig, Method::PUT, &console.path("/pace"), fast).await;
    assert_eq!(told["pace"]["per_second"], 10_000.0);

    // then nothing more is released until the console says so
    sleep(LOOKS).await;
    let waiting = console.count("waiting").await;
    assert!(waiting > 190, "{waiting}");
    sleep(LOOKS).await;
    assert_eq!(console.count("waiting").await, waiting);
    check_in(&rig, "0s").await;
    console
        .reach("it is finished", async || {
            console.campaign().await["state"] == "finished"
        })
        .await;
    let sent = rig.sandbox.ledger();
    assert_eq!((sent.requests, sent.devices.most), (200, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_that_were_taken_for_dead_by_mistake_are_pushed_again_on_request() {
    // given some devices whose channels WNS calls gone although they are not
    let rig = rig().await;
    let since = jiff::Timestamp::now();
    for device in devices(&rig, 5) {
        let path = format!("devices/{device}/script");
        rig.control(Method::PUT, &path, json!(["410"])).await;
    }
    let urgent = json!({
        "name": "wipe", "goal": "check_in", "priority": "urgent", "targets": "all"
    });
    let console = Console::create(&rig, &urgent).await;
    console.ask("start").await;
    until("five channels are dead", async || {
        let tenant = rig.get(&format!("/v1/tenants/{TENANT}")).await;
        tenant["devices"]["dead"] == 5
    })
    .await;
    let told = console.campaign().await;
    assert_eq!(count(&told, "blocked"), 5, "{told}");
    assert_eq!(count(&told, "checked_in"), 195, "{told}");
    assert_eq!(
        rig.sandbox.ledger().requests,
        200,
        "nobody sends to what is dead"
    );

    // when the marks are undone
    app(&rig, &format!("resume?revive_since={since}")).await;

    // then their pushes go out
    console
        .reach("it is finished", async || {
            console.campaign().await["state"] == "finished"
        })
        .await;
    assert_eq!(console.count("checked_in").await, 200);
    assert_eq!(rig.sandbox.ledger().requests, 205);
}
