//! Connections, the ledger and the control API.

use reveille::sandbox::{Protocols, SandboxConfig};
use serde_json::{Value, json};

use crate::bench::{APP, Bench, config, header, status_header};

#[tokio::test]
async fn the_client_chooses_http2_or_http1_and_a_sandbox_can_offer_one_only() {
    for (protocols, expected) in [
        (Protocols::Both, reqwest::Version::HTTP_2),
        (Protocols::Http2, reqwest::Version::HTTP_2),
        (Protocols::Http1, reqwest::Version::HTTP_11),
    ] {
        let bench = Bench::start(SandboxConfig {
            protocols,
            ..config(1)
        });
        let token = bench.token().await;
        let reply = bench
            .notification(&bench.uri(1), &token)
            .send()
            .await
            .unwrap();
        assert_eq!(reply.version(), expected);
        assert_eq!(status_header(&reply), "received");
    }
    let bench = Bench::start_with(config(1), reqwest::ClientBuilder::http1_only);
    let token = bench.token().await;
    let reply = bench
        .notification(&bench.uri(1), &token)
        .send()
        .await
        .unwrap();
    assert_eq!(reply.version(), reqwest::Version::HTTP_11);
    assert_eq!(bench.sandbox.ledger().connections.http1, 1);
}

/// Sends until a notification gets through: a client may notice only then that its idle connections are closed.
async fn reconnects(bench: &Bench, token: &str) {
    let uri = bench.uri(1);
    for _ in 0..5 {
        if let Ok(reply) = bench.notification(&uri, token).send().await {
            assert_eq!(reply.status(), 200);
            return;
        }
    }
    panic!("no connection could be made");
}

#[tokio::test]
async fn idle_connections_are_closed_and_the_next_request_opens_another() {
    let idle_timeout = Some(std::time::Duration::from_millis(1));
    let bench = Bench::start(SandboxConfig {
        idle_timeout,
        ..config(1)
    });
    let token = bench.token().await;
    while bench.sandbox.ledger().connections.open > 0 {
        tokio::task::yield_now().await;
    }

    reconnects(&bench, &token).await;
    assert!(bench.sandbox.ledger().connections.http2 >= 2);
}

#[tokio::test]
async fn a_stopped_sandbox_gives_its_port_back() {
    let bench = Bench::start(config(1));
    bench.token().await;
    let listen = bench.sandbox.address();

    bench.sandbox.shutdown().await;

    let again = Bench::start(SandboxConfig {
        listen,
        ..config(1)
    });
    assert_eq!(again.sandbox.address(), listen);
}

#[tokio::test]
async fn connections_can_be_closed_gently_and_abruptly() {
    let bench = Bench::start_with(config(1), reqwest::ClientBuilder::http1_only);
    let token = bench.token().await;
    for abrupt in [false, true] {
        bench.push(1, &token).await;
        let before = bench.sandbox.ledger().connections.http1;
        // The call itself travels on a connection that is closed: abruptly, it may go unanswered.
        let url = format!(
            "https://{}/sandbox/v1/connections/close",
            bench.sandbox.host()
        );
        let body = json!({"abrupt": abrupt});
        drop(bench.client.post(url).json(&body).send().await);
        reconnects(&bench, &token).await;
        assert!(bench.sandbox.ledger().connections.http1 > before);
    }
}

#[tokio::test]
async fn the_ledger_tells_each_device_and_can_be_reset() {
    let bench = Bench::start(SandboxConfig {
        threads: 2,
        ..config(5)
    });
    let token = bench.token().await;
    for number in [1, 3, 3, 3] {
        bench.push(number, &token).await;
    }

    let text = bench
        .control_raw("GET", "ledger/devices?min=1", Value::Null)
        .await
        .text()
        .await
        .unwrap();
    let ledger = bench.control("GET", "ledger", Value::Null).await;

    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let counts: Vec<_> = lines
        .iter()
        .map(|line| {
            (
                line["device"].as_str().unwrap(),
                line["arrived"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(counts, [("device-0000001", 1), ("device-0000003", 3)]);
    assert!(lines[1]["first"].as_str().unwrap() < lines[1]["last"].as_str().unwrap());
    assert_eq!(ledger["requests"], 4);
    assert_eq!(
        ledger["devices"],
        json!({"total": 5, "reached": 2, "accepted": 2, "repeats": 2, "most": 3, "checked_in": 0})
    );
    assert_eq!(ledger["apps"][0]["app"], APP);
    let highest = ledger["apps"][0]["highest_second"].as_u64().unwrap();
    assert!((1..=4).contains(&highest), "{highest}");
    bench.control("POST", "ledger/reset", Value::Null).await;
    let ledger = bench.sandbox.ledger();
    assert_eq!(
        (
            ledger.requests,
            ledger.devices.reached,
            ledger.apps[0].highest_second
        ),
        (0, 0, 0)
    );
}

/// Makes a control call that is refused with a code and a detail.
async fn mistaken(bench: &Bench, call: (&str, &str), body: Value, (code, detail): (u16, &str)) {
    let reply = bench.control_raw(call.0, call.1, body).await;
    assert_eq!(reply.status(), code, "{call:?}");
    assert_eq!(header(&reply, "content-type"), "application/problem+json");
    let problem: Value = reply.json().await.unwrap();
    let found = problem["detail"].as_str().unwrap();
    assert!(found.contains(detail), "{found}");
}

#[tokio::test]
async fn calls_that_do_not_exist_or_name_nothing_say_so() {
    let bench = Bench::start(config(1));
    let unknown = (404, "there is no call GET /sandbox/v1/nothing");
    mistaken(&bench, ("GET", "nothing"), Value::Null, unknown).await;
    for device in ["device-0000002", "device-1", "device-0000000", "x"] {
        let path = format!("devices/{device}/script");
        let detail = format!("no device {device:?}");
        mistaken(&bench, ("PUT", &path), json!([]), (404, &detail)).await;
    }
    let app = (404, "no app \"nobody\"");
    mistaken(&bench, ("GET", "channels?app=nobody"), Value::Null, app).await;
    mistaken(
        &bench,
        ("GET", "channels?from=0"),
        Value::Null,
        (400, "from 1"),
    )
    .await;
}

#[tokio::test]
async fn mistaken_bodies_say_what_is_wrong() {
    let bench = Bench::start(config(1));
    let script = ("PUT", "devices/device-0000001/script");
    let kind = (400, "unknown kind \"recieved\"");
    mistaken(&bench, script, json!(["recieved"]), kind).await;
    let behaviour = ("PATCH", "behaviour");
    mistaken(
        &bench,
        behaviour,
        json!({"latensy": "1s"}),
        (400, "latensy"),
    )
    .await;
    let shares =
        json!({"replies": [{"share": "90%", "reply": "500"}, {"share": "20%", "reply": "410"}]});
    mistaken(&bench, behaviour, shares, (400, "at most 100%")).await;
    let both = json!({"reply": "500", "requests": 1, "for": "1s"});
    mistaken(&bench, ("POST", "script"), both, (400, "not both")).await;
    let unchanged = bench.control("GET", "behaviour", Value::Null).await;
    assert_eq!(
        (&unchanged["latency"], &unchanged["replies"]),
        (&json!("0s"), &json!([]))
    );
}

#[tokio::test]
async fn the_authority_and_the_apps_are_told() {
    let bench = Bench::start(config(4));
    let pem = bench
        .control_raw("GET", "ca.pem", Value::Null)
        .await
        .text()
        .await
        .unwrap();
    let apps = bench.control("GET", "apps", Value::Null).await;

    assert_eq!(pem, bench.sandbox.ca_pem());
    assert_eq!(apps[0]["app"], APP);
    assert_eq!(apps[0]["devices"], 4);
    assert_eq!(apps[0]["token_url"], bench.credentials().token_url);
}
