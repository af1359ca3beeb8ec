//! Callers that mean harm, or do it: the broker stays small, stays up, and tells nobody's secrets.

use std::{fs, time::Duration};

use futures_util::stream;
use reqwest::{Body, Method, Response, StatusCode};
use reveille::sandbox::Behaviour;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::rig::{Rig, TENANT, until};

/// Longest wait for a single answer.
const SOON: Duration = Duration::from_secs(30);
const EVIL: &str = "https://notify.windows.com.evil.example/?token=AwYAAAstolen";

/// A broker that logs as much as it can, with its devices registered.
async fn started(devices: u32) -> Rig {
    let mut rig = Rig::new(devices, Behaviour::default());
    rig.env.push(("REVEILLE_LOG_LEVEL", "trace".to_owned()));
    rig.start().await;
    rig.register_all().await;
    rig
}

fn tenant(path: &str) -> String {
    format!("/v1/tenants/{TENANT}/{path}")
}

async fn send(rig: &Rig, method: Method, path: &str, body: &Value) -> (StatusCode, Value) {
    let request = rig.http.request(method, rig.url(path)).json(body);
    shape(request.send().await.unwrap()).await
}

async fn shape(answer: Response) -> (StatusCode, Value) {
    let status = answer.status();
    (status, answer.json().await.unwrap())
}

/// A line of `/proc/<pid>/status`, in bytes.
fn memory(rig: &Rig, what: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", rig.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with(what)).unwrap();
    let kib = line.split_whitespace().nth(1).unwrap();
    kib.parse::<u64>().unwrap() * 1024
}

async fn connect(rig: &Rig) -> TcpStream {
    let address = rig.url("").replace("http://", "");
    timeout(SOON, TcpStream::connect(address))
        .await
        .unwrap()
        .unwrap()
}

/// Reads until the other side closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = timeout(SOON, stream.read_to_end(&mut bytes)).await;
    // A reset is an end, too.
    drop(read.expect("the broker ends the connection"));
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_lines_are_told_by_number_and_good_ones_among_them_are_taken() {
    // given a body with every kind of bad line between two good ones
    let rig = started(2).await;
    let line =
        |(device, uri): (String, String)| format!("{{\"device\":\"{device}\",\"uri\":\"{uri}\"}}");
    let good: Vec<String> = rig.sandbox.channels(TENANT).map(line).collect();
    let long = format!("{{\"device\":\"{}\"}}", "x".repeat(1024 * 1024));
    let evil = format!("{{\"device\":\"evil\",\"uri\":\"{EVIL}\"}}");
    let lines: [&[u8]; 8] = [
        good[0].as_bytes(),
        long.as_bytes(),
        b"{\"device\":\"\xff\xfe\",\"uri\":\"x\"}",
        b"{\"device\":",
        b"[[[[[[[[[[[[[[[[",
        evil.as_bytes(),
        b"{\"device\":\"d\",\"uri\":\"x\",\"admin\":true}",
        good[1].as_bytes(),
    ];

    // when it is sent
    let request = rig.http.post(rig.url(&tenant("channels")));
    let request = request.header("content-type", "application/x-ndjson");
    let answer = request.body(lines.join(&b'\n')).send().await.unwrap();
    let (status, body) = shape(answer).await;

    // then the good ones are taken, each bad one has its line, and no URI is shown
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!(
        (&body["unchanged"], &body["refused"]),
        (&json!(2), &json!(6)),
        "{body}"
    );
    let errors = body["errors"].as_array().unwrap();
    let numbers: Vec<u64> = errors.iter().filter_map(|e| e["line"].as_u64()).collect();
    assert_eq!(numbers, [2, 3, 4, 5, 6, 7], "{body}");
    assert!(!body.to_string().contains("stolen"), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_only_looks_like_wns_is_refused_and_gets_no_token() {
    let rig = started(1).await;
    for uri in [
        EVIL,
        "https://evil.example/notify.windows.com?token=AwYAAAstolen",
        "https://notify.windows.com@evil.example/?token=AwYAAAstolen",
        "http://db5.notify.windows.com/?token=AwYAAAstolen",
        "https://169.254.169.254/?token=AwYAAAstolen",
    ] {
        let path = tenant("devices/evil/channel");
        let (status, body) = send(&rig, Method::PUT, &path, &json!({"uri": uri})).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{uri}: {body}");
        assert_eq!(body["errors"][0]["pointer"], "/uri", "{uri}: {body}");
        assert!(!body.to_string().contains("stolen"), "{body}");
    }
    let missing = rig.http.get(rig.url(&tenant("devices/evil"))).send().await;
    assert_eq!(missing.unwrap().status(), StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_json_is_pointed_at() {
    let rig = started(1).await;
    let body = json!({"devices": ["device-0000000", "a b", "c/d"], "priority": "normal"});
    let (status, body) = send(&rig, Method::POST, &tenant("pushes"), &body).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
    let pointers: Vec<&Value> = body["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| &e["pointer"])
        .collect();
    assert_eq!(pointers, ["/devices/1", "/devices/2"], "{body}");
    for (bad, pointer) in [
        (json!({"devices": ["d1", 5]}), "/devices/1"),
        (
            json!({"devices": ["d1"], "priority": "shouting"}),
            "/priority",
        ),
        (
            json!({"devices": ["d1"], "expires_in": "soon"}),
            "/expires_in",
        ),
    ] {
        let (status, body) = send(&rig, Method::POST, &tenant("pushes"), &bad).await;
        assert!(status.is_client_error(), "{bad}: {status}");
        assert_eq!(body["errors"][0]["pointer"], pointer, "{bad}: {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_harms_nobody() {
    // given a body that promises more than it holds
    let rig = started(1).await;
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-ndjson\r\ncontent-length: 100000\r\n\r\n",
        tenant("channels"),
    );
    let (_, uri) = rig.sandbox.channels(TENANT).next().unwrap();
    let mut half = connect(&rig).await;
    half.write_all(head.as_bytes()).await.unwrap();
    let line = format!("{{\"device\":\"half\",\"uri\":\"{}", &uri[..uri.len() / 2]);
    half.write_all(line.as_bytes()).await.unwrap();

    // when the caller goes away in the middle of a line
    half.shutdown().await.unwrap();
    rest(&mut half).await;

    // then the half line was not taken for a whole one, and others are served
    let device = rig.http.get(rig.url(&tenant("devices/half"))).send().await;
    assert_eq!(device.unwrap().status(), StatusCode::NOT_FOUND);
    assert_eq!(rig.get("/readyz").await["status"], "ready");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_end_is_worked_through_in_little_memory() {
    // given 128 MB of lines, each padded to 4 kB
    const LINES: u64 = 32_000;
    const PADDED: usize = 4_096;
    const GROWTH_MAX: u64 = 48 * 1024 * 1024;
    let rig = started(100).await;
    let line = |(device, uri)| {
        let line = format!("{{\"device\":\"{device}\",\"uri\":\"{uri}\"");
        format!("{line:<PADDED$}}}\n")
    };
    let lines: Vec<String> = rig.sandbox.channels(TENANT).map(line).collect();
    let endless = lines
        .into_iter()
        .cycle()
        .take(usize::try_from(LINES).unwrap());
    let before = memory(&rig, "VmRSS");

    // when they are streamed
    let body = Body::wrap_stream(stream::iter(endless.map(Ok::<_, std::io::Error>)));
    let request = rig.http.post(rig.url(&tenant("channels"))).body(body);
    let answer = request
        .header("content-type", "application/x-ndjson")
        .send()
        .await;
    let (status, body) = shape(answer.unwrap()).await;

    // then every line was read, and the broker has not held them
    assert_eq!(
        (status, &body["unchanged"]),
        (StatusCode::OK, &json!(LINES)),
        "{body}"
    );
    let growth = memory(&rig, "VmHWM").saturating_sub(before);
    assert!(growth < GROWTH_MAX, "grew by {growth} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_json_body_that_is_too_long_is_refused() {
    let rig = started(1).await;
    let devices: Vec<String> = (0..600_000).map(|n| format!("device-{n:07}")).collect();
    let (status, body) = send(
        &rig,
        Method::POST,
        &tenant("pushes"),
        &json!({"devices": devices}),
    )
    .await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn three_thousand_callers_at_once_are_all_answered() {
    // given connections that say nothing yet
    const CALLERS: usize = 3_000;
    let rig = started(1).await;
    let mut callers = Vec::new();
    for _ in 0..CALLERS {
        callers.push(connect(&rig).await);
    }

    // when all ask at once, while another caller works as usual
    for caller in &mut callers {
        let request = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        caller.write_all(request).await.unwrap();
    }
    let opened = rig.push_all("").await;

    // then everybody has an answer
    assert_eq!(opened["opened"], 1, "{opened}");
    for caller in &mut callers {
        let answer = rest(caller).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    rig.until_all_closed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_that_never_finish_their_heads_are_cut_off_and_keep_nobody_waiting() {
    // given callers that have sent half a head
    let mut rig = Rig::new(1, Behaviour::default());
    rig.env
        .push(("REVEILLE_SERVER_HEADER_TIMEOUT", "1s".to_owned()));
    rig.start().await;
    let mut slow = Vec::new();
    for _ in 0..300 {
        let mut caller = connect(&rig).await;
        caller
            .write_all(b"POST /v1/tenants HTTP/1.1\r\nx-slow: ")
            .await
            .unwrap();
        slow.push(caller);
    }

    // then others are served, and the slow ones are ended
    assert_eq!(rig.get("/readyz").await["status"], "ready");
    for caller in &mut slow {
        let answer = rest(caller).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 408"),
            "{answer}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_answers_twice_and_does_once_and_is_for_one_request() {
    // given a request that was done
    let rig = started(2).await;
    let devices: Vec<String> = rig.sandbox.channels(TENANT).map(|(d, _)| d).collect();
    let (one, other) = (devices[0].as_str(), devices[1].as_str());
    let ask = async |devices: &[&str]| {
        let request = rig.http.post(rig.url(&tenant("pushes")));
        let request = request
            .header("idempotency-key", "once")
            .json(&json!({"devices": devices}));
        let answer = request.send().await.unwrap();
        let replayed = answer.headers().contains_key("idempotency-replayed");
        let (status, body) = shape(answer).await;
        (status, body, replayed)
    };
    let (status, first, replayed) = ask(&[one]).await;
    assert_eq!((status, replayed), (StatusCode::ACCEPTED, false), "{first}");
    rig.until_all_closed().await;
    until("the device was woken", async || rig.reached() == 1).await;

    // when it is repeated, and when its key is used for another one
    let (status, again, replayed) = ask(&[one]).await;
    let (other_status, refused, _) = ask(&[other]).await;

    // then the repeat has the first answer and does nothing, and the other one is refused
    assert_eq!(
        (status, again, replayed),
        (StatusCode::ACCEPTED, first, true)
    );
    assert_eq!(other_status, StatusCode::UNPROCESSABLE_ENTITY, "{refused}");
    assert_eq!((rig.open_pushes().await, rig.reached()), (0, 1));
}
