//! Channels over real TLS sockets: their URIs, the requests they take, the replies they give.

use reveille::sandbox::{AppSpec, Behaviour, SandboxConfig, StatusHeaders};
use serde_json::Value;

use crate::bench::{Bench, behaving, config, header, status_header};

#[tokio::test]
async fn a_documented_notification_is_received_and_answered_as_by_wns() {
    let bench = Bench::start(config(3));
    let token = bench.token().await;

    let reply = bench
        .notification(&bench.uri(2), &token)
        .send()
        .await
        .unwrap();

    assert_eq!(reply.status(), 200);
    assert_eq!(status_header(&reply), "received");
    assert_eq!(header(&reply, "X-WNS-DeviceConnectionStatus"), "connected");
    assert_eq!(header(&reply, "MS-CV"), "abcdefghijklmnopqrstuv.0");
    assert!(!header(&reply, "X-WNS-Debug-Trace").is_empty());
    assert!(!header(&reply, "Strict-Transport-Security").is_empty());
    let id = header(&reply, "X-WNS-Msg-ID");
    assert!(
        !id.is_empty()
            && id.len() <= 16
            && id
                .bytes()
                .all(|c| c.is_ascii_digit() || (b'A'..=b'F').contains(&c)),
        "{id}"
    );
    assert_eq!(reply.content_length(), Some(0));
    assert_eq!(reply.bytes().await.unwrap(), "");
    let ledger = bench.sandbox.ledger();
    assert_eq!((ledger.requests, ledger.accepted), (1, 1));
    assert_eq!(ledger.replies["received"], 1);
    assert_eq!(ledger.violations.values().sum::<u64>(), 0);
    assert_eq!(bench.device(2).arrived, 1);
    assert_eq!(bench.device(1).arrived, 0);
    bench.sandbox.shutdown().await;
}

#[tokio::test]
async fn any_altered_byte_of_a_channel_is_404() {
    let bench = Bench::start(config(3));
    let token = bench.token().await;
    let uri = bench.uri(1);
    let start = uri.find("token=").unwrap() + "token=".len();

    for at in (start..uri.len()).step_by(13) {
        let mut altered = uri.clone();
        let other = if uri.as_bytes()[at] == b'A' { "B" } else { "A" };
        altered.replace_range(at..=at, other);
        let reply = bench.notification(&altered, &token).send().await.unwrap();
        assert_eq!(reply.status(), 404, "{altered}");
    }
    let upper = uri.replace("%3d", "%3D");
    assert_ne!(upper, uri);
    assert_eq!(
        bench
            .notification(&upper, &token)
            .send()
            .await
            .unwrap()
            .status(),
        404
    );
    assert_eq!(
        bench
            .notification(&uri, &token)
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
}

/// Sends a request and expects a status code and one violation in the ledger, or none.
async fn refused(bench: &Bench, request: reqwest::Request, code: u16, violation: &str) {
    bench.sandbox.reset_ledger();
    let reply = bench.client.execute(request).await.unwrap();
    assert_eq!(reply.status(), code, "{violation}");
    for (kind, count) in bench.sandbox.ledger().violations {
        assert_eq!(
            count,
            u64::from(kind == violation),
            "{kind} after {violation}"
        );
    }
}

#[tokio::test]
async fn headers_that_depart_from_the_documents_are_refused_and_counted() {
    let bench = Bench::start(config(1));
    let (token, uri) = (bench.token().await, bench.uri(1));
    let cases = [
        ("x-wns-type", "wns/toast", 400, "wns_type"),
        ("content-type", "text/xml", 400, "content_type"),
        ("x-wns-ttl", "0", 400, "ttl_conflict"),
        ("x-wns-ttl", "soon", 400, "ttl"),
        ("x-wns-cache-policy", "maybe", 400, "cache_policy"),
        ("x-wns-requestforstatus", "1", 400, "request_for_status"),
        ("x-wns-priority", "9", 400, "priority"),
        ("x-wns-suppresspopup", "true", 400, "not_for_raw"),
        ("authorization", "Basic eA==", 401, "authorization"),
        ("ms-cv", "x", 200, "correlation_vector"),
        ("x-wns-priority", "1", 200, ""),
    ];
    for (name, value, code, violation) in cases {
        let mut request = bench.notification(&uri, &token).build().unwrap();
        request.headers_mut().insert(name, value.parse().unwrap());
        refused(&bench, request, code, violation).await;
    }
}

#[tokio::test]
async fn bodies_that_depart_from_the_documents_are_refused_and_counted() {
    let bench = Bench::start_with(config(1), reqwest::ClientBuilder::http1_only);
    let (token, uri) = (bench.token().await, bench.uri(1));
    let body = |body: reqwest::Body| bench.notification(&uri, &token).body(body).build().unwrap();
    let chunks = futures_util::stream::iter([Ok::<_, std::io::Error>("wake")]);

    refused(&bench, body("".into()), 400, "empty_body").await;
    refused(&bench, body(vec![b'x'; 5000].into()), 200, "").await;
    refused(&bench, body(vec![b'x'; 5001].into()), 413, "body_too_large").await;
    refused(
        &bench,
        body(reqwest::Body::wrap_stream(chunks)),
        400,
        "content_length",
    )
    .await;
    let get = bench.client.get(&uri).bearer_auth(&token).build().unwrap();
    refused(&bench, get, 405, "method").await;
}

#[tokio::test]
async fn the_reply_says_what_is_wrong_with_a_request() {
    let bench = Bench::start(config(1));
    let token = bench.token().await;
    let mut request = bench.notification(&bench.uri(1), &token).build().unwrap();
    request
        .headers_mut()
        .insert("x-wns-ttl", "0".parse().unwrap());

    let reply = bench.client.execute(request).await.unwrap();

    assert_eq!(
        header(&reply, "X-WNS-Error-Description"),
        "Ttl value conflicts with X-WNS-Cache-Policy."
    );
}

#[tokio::test]
async fn a_channel_of_another_app_is_403_and_its_devices_are_not_reached() {
    let apps =
        ["contoso", "id=fabrikam,secret=s,devices=2"].map(|text| text.parse::<AppSpec>().unwrap());
    let bench = Bench::start(SandboxConfig {
        apps: apps.to_vec(),
        ..config(1)
    });
    let token = bench.token().await;
    let foreign = bench.sandbox.channels("fabrikam").next().unwrap().1;

    let reply = bench.notification(&foreign, &token).send().await.unwrap();

    assert_eq!(reply.status(), 403);
    assert_eq!(status_header(&reply), "dropped");
    assert_eq!(
        header(&reply, "X-WNS-Error-Description"),
        "Channel URL incompatible with caller app"
    );
    assert_eq!(
        bench
            .sandbox
            .device_ledgers("fabrikam")
            .map(|device| device.arrived)
            .sum::<u32>(),
        0
    );
    assert_eq!(bench.sandbox.ledger().replies["403"], 1);
}

#[tokio::test]
async fn channels_are_listed_in_lines_that_a_broker_takes() {
    let bench = Bench::start(config(700));

    let reply = bench
        .control_raw("GET", "channels?from=2&count=600", Value::Null)
        .await;

    assert_eq!(header(&reply, "content-type"), "application/x-ndjson");
    let text = reply.text().await.unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 600);
    assert_eq!(lines[0]["device"], "device-0000002");
    assert_eq!(lines[599]["device"], "device-0000601");
    assert_eq!(lines[0]["uri"], bench.uri(2));
    let prefix = format!("https://{}/?token=AwYAAA", bench.sandbox.host());
    assert!(
        lines
            .iter()
            .all(|line| line["uri"].as_str().unwrap().starts_with(&prefix))
    );
}

#[tokio::test]
async fn the_same_seed_gives_the_same_channels() {
    let (one, same, other) = (
        Bench::start(config(2)),
        Bench::start(config(2)),
        Bench::start(SandboxConfig {
            seed: 2,
            ..config(2)
        }),
    );
    let token = |bench: &Bench| bench.uri(2).split_once("token=").unwrap().1.to_owned();

    assert_eq!(token(&one), token(&same));
    assert_ne!(token(&one), token(&other));
}

#[tokio::test]
async fn devices_take_turns_over_the_hosts_that_are_given() {
    let hosts = ["wns1.example:9443", "wns2.example:9443"].map(str::to_owned);
    let bench = Bench::start(SandboxConfig {
        channel_hosts: hosts.to_vec(),
        ..config(3)
    });

    let starts: Vec<_> = (1..=3)
        .map(|number| bench.uri(number)[..21].to_owned())
        .collect();

    assert_eq!(
        starts,
        [
            "https://wns1.example:",
            "https://wns2.example:",
            "https://wns1.example:"
        ]
    );
}

#[tokio::test]
async fn the_status_header_has_the_spelling_that_was_asked_for() {
    for (spelling, new, old) in [
        (StatusHeaders::Status, "received", ""),
        (StatusHeaders::NotificationStatus, "", "received"),
        (StatusHeaders::None, "", ""),
    ] {
        let bench = Bench::start(behaving(
            1,
            Behaviour {
                status_headers: spelling,
                ..Behaviour::default()
            },
        ));
        let token = bench.token().await;
        let reply = bench
            .notification(&bench.uri(1), &token)
            .send()
            .await
            .unwrap();
        assert_eq!(header(&reply, "X-WNS-Status"), new);
        assert_eq!(header(&reply, "X-WNS-NotificationStatus"), old);
    }
}
