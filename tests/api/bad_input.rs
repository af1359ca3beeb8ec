//! Requests that must not be served, or must not do harm.

use reqwest::Method;
use reveille::{api::Settings, domain::api_key::KeyRing};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Answer, Broker, uri};

const PUSHES: &str = "/v1/tenants/contoso/pushes";

#[actix_web::test]
async fn every_kind_of_refusal_is_a_problem_with_a_stable_type() {
    let broker = Broker::start().await;
    broker.register(&["d1"]).await;
    let json_type = ("content-type", "application/json");
    let send = async |method: Method, path: &str, headers: &[(&str, &str)], body: &str| {
        let mut request = broker.request(method, path).body(body.to_owned());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = Answer::of(request).await;
        let headers: Vec<String> = ["allow", "accept", "www-authenticate", "retry-after"]
            .iter()
            .filter(|name| answer.headers.contains_key(**name))
            .map(|name| format!("{name}: {}", answer.header(name)))
            .collect();
        assert!(!answer.problem().is_empty());
        let mut shape = answer.shape();
        shape["headers"] = json!(headers);
        shape
    };
    let channel = "/v1/tenants/contoso/devices/d1/channel";
    let shapes = [
        (
            "no such path",
            send(Method::GET, "/v2/devices", &[], "").await,
        ),
        (
            "no such tenant",
            send(Method::GET, "/v1/tenants/nobody", &[], "").await,
        ),
        (
            "no tenant id",
            send(Method::GET, "/v1/tenants/a%20b/devices", &[], "").await,
        ),
        (
            "no device id",
            send(Method::GET, "/v1/tenants/contoso/devices/a%2Fb", &[], "").await,
        ),
        ("wrong method", send(Method::PATCH, channel, &[], "").await),
        (
            "no content type",
            send(Method::PUT, channel, &[], "{}").await,
        ),
        (
            "wrong content type",
            send(Method::POST, PUSHES, &[("content-type", "text/xml")], "{}").await,
        ),
        (
            "encoded",
            send(
                Method::POST,
                PUSHES,
                &[json_type, ("content-encoding", "gzip")],
                "x",
            )
            .await,
        ),
        (
            "not JSON",
            send(Method::POST, PUSHES, &[json_type], "{\"devices\":").await,
        ),
        (
            "unknown field",
            send(Method::PUT, channel, &[json_type], "{\"url\":\"x\"}").await,
        ),
        (
            "duplicate field",
            send(
                Method::PUT,
                channel,
                &[json_type],
                "{\"uri\":\"a\",\"uri\":\"b\"}",
            )
            .await,
        ),
        (
            "two values",
            send(Method::PUT, channel, &[json_type], "{\"uri\":\"a\"} {}").await,
        ),
        (
            "unknown query",
            send(
                Method::POST,
                &format!("{PUSHES}?dealine=1"),
                &[json_type],
                "{}",
            )
            .await,
        ),
        (
            "bad channel",
            send(
                Method::PUT,
                channel,
                &[json_type],
                "{\"uri\":\"https://evil.example/\"}",
            )
            .await,
        ),
    ];
    let shapes: serde_json::Map<String, Value> = shapes
        .into_iter()
        .map(|(name, shape)| (name.to_owned(), shape))
        .collect();
    insta::assert_json_snapshot!("problems", shapes);
}

#[actix_web::test]
async fn no_foreign_host_ever_becomes_a_channel() {
    let broker = Broker::start().await;
    for uri in [
        "https://notify.windows.com.evil.example/?token=secret-of-x",
        "https://evilnotify.windows.com/?token=secret-of-x",
        "https://user@x.notify.windows.com/?token=secret-of-x",
        "https://x.notify.windows.com:8443/?token=secret-of-x",
        "https://x.notify.windows.com/#secret-of-x",
        "http://x.notify.windows.com/?token=secret-of-x",
        "https://localhost:9444/secret-of-x",
        "https://x.notify.windows.com\\@evil.example/secret-of-x",
        "//x.notify.windows.com/secret-of-x",
        "",
    ] {
        let path = "/v1/tenants/contoso/devices/d1/channel";
        let answer = broker.put(path, &json!({ "uri": uri })).await;
        assert_eq!((answer.status, answer.problem()), (422, "invalid"), "{uri}");
        assert_eq!(answer.body["errors"][0]["pointer"], "/uri");
    }
    assert_eq!(
        broker.get("/v1/tenants/contoso/devices/d1").await.status,
        404
    );
}

#[actix_web::test]
async fn a_long_json_body_is_refused_whether_its_length_is_told_or_not() {
    let settings = Settings {
        body_bytes_max: 10_000,
        ..Settings::default()
    };
    let broker = Broker::with(KeyRing::default(), settings).await;
    let body = json!({ "devices": ["d1"], "reason": "x".repeat(20_000) }).to_string();
    let told = broker
        .request(Method::POST, PUSHES)
        .header("content-type", "application/json");
    let answer = Answer::of(told.body(body.clone())).await;
    assert_eq!((answer.status, answer.problem()), (413, "too-large"));
    let detail = answer.body["detail"].as_str().unwrap();
    assert!(
        detail.ends_with("stream it as application/x-ndjson"),
        "{detail}"
    );
    let pieces: Vec<Result<Vec<u8>, std::io::Error>> = body
        .as_bytes()
        .chunks(1000)
        .map(|c| Ok(c.to_vec()))
        .collect();
    let untold = broker
        .request(Method::POST, PUSHES)
        .header("content-type", "application/json");
    let stream = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
    let answer = Answer::of(untold.body(stream)).await;
    assert_eq!((answer.status, answer.problem()), (413, "too-large"));
}

#[actix_web::test]
async fn beyond_the_bound_requests_are_refused_before_their_body_is_read() {
    let settings = Settings {
        requests_max: 1,
        ..Settings::default()
    };
    let broker = Broker::with(KeyRing::default(), settings).await;
    let head = |length: usize, more: &str| {
        format!(
            "POST /v1/tenants/contoso/channels HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-ndjson\r\n\
             content-length: {length}\r\n{more}\r\n"
        )
    };
    let mut slow = TcpStream::connect(broker.address).await.unwrap();
    let first = head(10, "expect: 100-continue\r\n");
    slow.write_all(first.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let n = slow.read(&mut answer).await.unwrap();
    assert!(answer[..n].starts_with(b"HTTP/1.1 100"), "it is in work");
    let mut socket = TcpStream::connect(broker.address).await.unwrap();
    socket
        .write_all(head(2_000_000_000, "").as_bytes())
        .await
        .unwrap();
    let n = socket.read(&mut answer).await.unwrap();
    let refused = String::from_utf8_lossy(&answer[..n]).into_owned();
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    assert!(refused.contains("retry-after: 1"), "{refused}");
    assert!(
        refused.contains("urn:reveille:problem:overloaded"),
        "{refused}"
    );
    let health = broker.get("/healthz").await;
    assert_eq!(health.status, 200, "probes are served whatever the load");
    slow.write_all(b"\n\n\n\n\n\n\n\n\n\n").await.unwrap();
    let n = slow.read(&mut answer).await.unwrap();
    assert!(answer[..n].starts_with(b"HTTP/1.1 200"));
    let mut status = 503;
    while status == 503 {
        status = broker.get("/v1/tenants/contoso").await.status;
    }
    assert_eq!(status, 200, "the place is free again");
}

#[actix_web::test]
async fn a_thousand_callers_at_once_are_all_answered() {
    let broker = Broker::start().await;
    let names: Vec<String> = (0..200).map(|i| format!("d{i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    broker.register(&names).await;
    let calls = (0..1000).map(|i| {
        let body = json!({ "devices": [format!("d{}", i % 200)] });
        let broker = &broker;
        async move { broker.post(PUSHES, &body).await.status }
    });
    let statuses = futures_util::future::join_all(calls).await;
    assert!(
        statuses.iter().all(|s| [202, 503].contains(s)),
        "{statuses:?}"
    );
    assert!(statuses.iter().filter(|s| **s == 202).count() >= 200);
    let path = "/v1/tenants/contoso/devices/d7/channel";
    let after = broker.put(path, &json!({ "uri": uri("d7") })).await;
    assert_eq!(after.status, 200);
}

#[actix_web::test]
async fn a_query_parameter_that_is_missing_or_repeated_is_named() {
    let broker = Broker::start().await;
    for (path, parameter) in [
        ("syncml/commands", "provider_id"),
        ("syncml/commands?step=query", "provider_id"),
        ("syncml/commands?provider_id=a&provider_id=b", "provider_id"),
        (
            "syncml/commands?provider_id=a&first_cmd_id=x",
            "first_cmd_id",
        ),
        ("channels/forecast?days=1&days=2", "days"),
        ("devices?limit=few", "limit"),
        ("devices?colour=red", "colour"),
    ] {
        let answer = broker.get(&format!("/v1/tenants/contoso/{path}")).await;
        assert_eq!(answer.problem(), "malformed", "{path}");
        let errors = &answer.body["errors"];
        assert_eq!(errors[0]["parameter"], parameter, "{path}: {errors}");
        assert_eq!(errors.as_array().unwrap().len(), 1);
    }
}
