//! What an operator lives through: stops, wrong secrets, outages, throttling, revoked tokens.

use std::time::{Duration, Instant};

use reqwest::Method;
use reveille::sandbox::{AppSpec, Behaviour, Delay, Protocols, SandboxConfig};
use serde_json::{Value, json};

use crate::rig::{Rig, TENANT, until};

const OTHER: &str = "fabrikam";

fn slow(latency: Duration) -> Behaviour {
    Behaviour {
        latency: Delay::fixed(latency),
        ..Behaviour::default()
    }
}

/// What `/readyz` says of the first app.
async fn readiness(rig: &Rig) -> Value {
    let ready = rig.get("/readyz").await;
    let components = ready["components"].as_array().expect("its components");
    let name = format!("app/{TENANT}");
    let found = components.iter().find(|c| c["name"] == name.as_str());
    found.expect("a component for each app").clone()
}

async fn metrics(rig: &Rig) -> String {
    let answer = rig.http.get(rig.url("/metrics")).send().await.unwrap();
    answer.text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_settles_what_is_on_the_wire_and_the_next_broker_does_the_rest_once() {
    // given a broker that has 20 of 400 notifications on the wire
    const DEVICES: u32 = 400;
    let mut rig = Rig::new(DEVICES, slow(Duration::from_millis(300)));
    rig.extra =
        "[limits]\ndispatchers = 1\nin_flight_max = 20\nin_flight_host_percent = 100\n".to_owned();
    rig.start().await;
    rig.register_all().await;
    rig.push_all("priority=normal").await;
    until("some have arrived", async || {
        rig.sandbox.ledger().requests > 20
    })
    .await;

    // when it is asked to stop
    rig.signal("-TERM");
    let code = rig.ended().await;

    // then it ends in order, in the middle of the work, and nothing is lost or sent twice
    assert_eq!(code, Some(0));
    assert!(
        rig.reached() < u64::from(DEVICES),
        "the stop came too late to show anything"
    );
    rig.sandbox.set_behaviour(Behaviour::default()).unwrap();
    rig.start().await;
    rig.until_all_closed().await;
    let ledger = rig.sandbox.ledger();
    assert_eq!(ledger.devices.accepted, u64::from(DEVICES));
    assert_eq!(ledger.devices.repeats, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_sigterm_ends_at_once_and_keeps_every_push() {
    // given a broker that waits for a WNS which takes its time
    const DEVICES: u32 = 20;
    let mut rig = Rig::new(DEVICES, slow(Duration::from_secs(14)));
    rig.start().await;
    rig.register_all().await;
    rig.push_all("").await;
    let app = format!("/v1/apps/{TENANT}");
    until("requests are on the wire", async || {
        rig.get(&app).await["pace"]["in_flight"].as_u64() > Some(0)
    })
    .await;

    // when it is asked twice to stop
    rig.signal("-TERM");
    until("it drains", async || rig.logged().contains("drain")).await;
    let asked = Instant::now();
    rig.signal("-TERM");
    let code = rig.ended().await;

    // then it does not wait for the replies, says that it was cut short, and every push is still there
    assert_eq!(code, Some(1));
    assert!(
        asked.elapsed() < Duration::from_secs(8),
        "{:?}",
        asked.elapsed()
    );
    assert!(rig.logged().contains("stopped at once"));
    rig.start().await;
    // What WNS had answered just before is closed; nothing is lost, and nothing is closed that WNS did not take.
    let taken = rig.sandbox.ledger().devices.accepted;
    assert!(rig.open_pushes().await + taken >= u64::from(DEVICES));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_is_told_everywhere_and_pushes_wait_until_it_is_mended() {
    // given a secret file with the wrong secret
    const DEVICES: u32 = 50;
    let mut rig = Rig::new(DEVICES, Behaviour::default());
    let file = rig.dir.path().join("secret");
    std::fs::write(&file, "not-the-hunter2-secret\n").unwrap();
    rig.secret = format!("secret_file = \"{}\"", file.display());
    rig.start().await;
    rig.register_all().await;
    rig.push_all("").await;
    let app = format!("/v1/apps/{TENANT}");
    until("the refusal is noted", async || {
        rig.get(&app).await["token"]["state"] == "refused"
    })
    .await;

    // then readiness, the API, the metrics and the log say so with a cure, and nothing is sent
    let component = readiness(&rig).await;
    assert_eq!(component["status"], "degraded", "{component}");
    assert!(
        component["detail"].to_string().contains("compare both"),
        "{component}"
    );
    let shown = rig.get(&app).await;
    assert_eq!(shown["state"], "stopped", "{shown}");
    assert!(
        shown["token"]["detail"]
            .to_string()
            .contains("invalid_client"),
        "{shown}"
    );
    let paused = format!("reveille_app_paused{{app=\"{TENANT}\",reason=\"credential_refused\"}} 1");
    assert!(metrics(&rig).await.contains(&paused));
    assert!(rig.logged().contains("compare both"));
    assert!(!rig.logged().contains("hunter2"));
    assert_eq!(rig.open_pushes().await, u64::from(DEVICES));
    assert_eq!(rig.sandbox.ledger().requests, 0);

    // when the file is mended and somebody says so
    let good = rig.sandbox.credentials(TENANT).unwrap().secrets.remove(0);
    std::fs::write(&file, good).unwrap();
    let resumed = rig
        .http
        .post(rig.url(&format!("{app}/resume")))
        .send()
        .await;
    assert!(resumed.unwrap().status().is_success());

    // then all that waited goes out
    rig.until_all_closed().await;
    assert_eq!(rig.reached(), u64::from(DEVICES));
    assert_eq!(rig.get(&app).await["token"]["state"], "valid");
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_wait_for_a_token_endpoint_that_is_out_and_go_by_themselves_when_it_is_back() {
    // given a token endpoint that cuts every connection
    let mut rig = Rig::new(50, Behaviour::default());
    rig.control(Method::PATCH, "token-endpoint", json!({"mode": "reset"}))
        .await;
    rig.start().await;
    rig.register_all().await;
    rig.push_all("").await;
    let app = format!("/v1/apps/{TENANT}");
    until("the outage is noted", async || {
        rig.get(&app).await["token"]["state"] == "unavailable"
    })
    .await;
    assert_eq!(readiness(&rig).await["status"], "degraded");
    assert_eq!(
        (rig.open_pushes().await, rig.sandbox.ledger().requests),
        (50, 0)
    );

    // when it is back
    rig.control(Method::PATCH, "token-endpoint", json!({"mode": "normal"}))
        .await;

    // then nobody has to do anything
    rig.until_all_closed().await;
    assert_eq!(rig.reached(), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_wns_throttles_waits_as_long_as_it_is_told_and_another_app_goes_on() {
    // given two apps, one of which WNS refuses for some seconds
    const DEVICES: u32 = 100;
    const IN_FLIGHT: u64 = 8;
    let mut rig = Rig::of(SandboxConfig {
        devices: DEVICES,
        apps: vec![AppSpec::new(OTHER).unwrap()],
        ..SandboxConfig::default()
    });
    let login = rig.sandbox.credentials(OTHER).unwrap();
    rig.extra = format!(
        "[limits]\ndispatchers = 1\nin_flight_max = {IN_FLIGHT}\nin_flight_host_percent = 100\n\
         [[apps]]\nid = \"{OTHER}\"\npackage_sid = \"{}\"\nsecret_env = \"E2E_OTHER_SECRET\"\ntoken_url = \"{}\"\n",
        login.package_sid, login.token_url,
    );
    rig.env.push(("E2E_OTHER_SECRET", login.secrets[0].clone()));
    rig.start().await;
    rig.register(TENANT).await;
    rig.register(OTHER).await;
    rig.control(
        Method::PUT,
        &format!("apps/{TENANT}/penalty"),
        json!({"for": "9s"}),
    )
    .await;
    rig.push(TENANT, "").await;
    until("the throttle is met", async || {
        rig.sandbox.ledger().apps[0].during_penalty > 0
    })
    .await;

    // when the other app has work
    rig.push(OTHER, "").await;
    until("the other app is done", async || {
        rig.sandbox.ledger().apps[1].accepted == u64::from(DEVICES)
    })
    .await;

    // then it was not held up, and the throttled app says until when it waits
    let ledger = rig.sandbox.ledger();
    assert!(
        ledger.apps[0].throttled_until.is_some(),
        "the other app took as long as the penalty"
    );
    assert_eq!(rig.reached(), 0);
    let shown = rig.get(&format!("/v1/apps/{TENANT}")).await;
    assert_eq!(shown["state"], "throttled", "{shown}");
    assert!(shown["throttled_until"].is_string(), "{shown}");

    // and it goes on by itself, without having asked again before
    rig.until_all_closed().await;
    assert_eq!(rig.reached(), u64::from(DEVICES));
    assert!(rig.sandbox.ledger().apps[0].during_penalty <= IN_FLIGHT);
}

#[tokio::test(flavor = "multi_thread")]
async fn revoked_tokens_cost_one_refresh_and_no_push() {
    // given a broker with a token
    const DEVICES: u32 = 300;
    let mut rig = Rig::new(DEVICES, slow(Duration::from_millis(20)));
    rig.start().await;
    rig.register_all().await;
    let app = format!("/v1/apps/{TENANT}");
    until("it has a token", async || {
        rig.get(&app).await["token"]["state"] == "valid"
    })
    .await;

    // when the token is revoked before anything is sent
    assert_eq!(rig.sandbox.revoke_tokens(), 1);
    rig.push_all("").await;
    rig.until_all_closed().await;

    // then it was refused, and one request brought another one for all pushes
    let ledger = rig.sandbox.ledger();
    assert!(ledger.replies["401"] > 0);
    assert_eq!(ledger.tokens.issued, 2);
    assert_eq!(ledger.devices.accepted, u64::from(DEVICES));
}

#[tokio::test(flavor = "multi_thread")]
async fn wns_is_reached_over_http1_and_over_http2_alike() {
    for (offered, wanted, http2) in [
        (Protocols::Http1, "true", false),
        (Protocols::Http2, "true", true),
        (Protocols::Both, "true", true),
        (Protocols::Both, "false", false),
    ] {
        // given a WNS that offers these versions to a broker that wants these
        let mut rig = Rig::of(SandboxConfig {
            devices: 100,
            protocols: offered,
            ..SandboxConfig::default()
        });
        rig.env.push(("REVEILLE_WNS_HTTP2", wanted.to_owned()));
        rig.start().await;
        rig.register_all().await;

        // when it sends
        rig.push_all("").await;
        rig.until_all_closed().await;

        // then it does so over that version alone
        let ledger = rig.sandbox.ledger();
        assert_eq!(ledger.devices.accepted, 100);
        let (one, two) = (ledger.connections.http1, ledger.connections.http2);
        assert_eq!((one > 0, two > 0), (!http2, http2), "{offered:?} {wanted}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_asked_to_stop_while_it_starts_ends_in_order() {
    // given a broker that waits for its store
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}/0", silent.local_addr().unwrap());
    let mut rig = Rig::new(1, Behaviour::default());
    rig.env.push(("REVEILLE_STORE_KIND", "redis".to_owned()));
    rig.env.push(("REVEILLE_STORE_URL", url));
    rig.spawn();
    let _connection = silent.accept().await.unwrap();

    rig.signal("-TERM");

    assert_eq!(rig.ended().await, Some(0), "{}", rig.logged());
}
