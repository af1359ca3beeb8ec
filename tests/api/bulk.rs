//! Streamed bodies of any length.

use std::{
    collections::HashMap,
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use reqwest::Body;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    store::Trouble,
    support::{Broker, uri},
};

const CHANNELS: &str = "/v1/tenants/contoso/channels";

#[actix_web::test]
async fn lines_over_the_limit_and_invalid_text_are_counted_and_do_not_stop_the_others() {
    let broker = Broker::start().await;
    let mut body = Vec::new();
    writeln!(body, "{{\"device\":\"a\",\"uri\":\"{}\"}}", uri("a")).unwrap();
    body.extend(vec![b'x'; 1024 * 1024]);
    body.push(b'\n');
    body.extend_from_slice(b"{\"device\":\"b\xFF\",\"uri\":\"https://x.notify.windows.com/\"}\n");
    body.extend_from_slice(b"\xC3\x28\n");
    writeln!(
        body,
        "{{\"device\":\"b\",\"uri\":\"https://x.notify.windows.com/{}\"}}",
        "x".repeat(5000)
    )
    .unwrap();
    write!(body, "{{\"device\":\"c\",\"uri\":\"{}\"}}", uri("c")).unwrap();
    let answer = broker.post_lines(CHANNELS, body).await;
    insta::assert_json_snapshot!("bad_lines", answer.shape());
}

#[actix_web::test]
async fn the_first_thousand_errors_are_told_and_all_are_counted() {
    let broker = Broker::start().await;
    let lines: String = (0..5000)
        .map(|i| format!("{{\"device\":\"d{i}\"}}\n"))
        .collect();
    let answer = broker.post_lines(CHANNELS, lines).await;
    assert_eq!(answer.body["refused"], 5000);
    let errors = answer.body["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 1000);
    assert_eq!(errors[0]["line"], 1);
    assert_eq!(errors[999]["line"], 1000);
}

#[actix_web::test]
async fn the_lines_of_one_device_are_applied_in_their_order() {
    let broker = Broker::start().await;
    let uri =
        |round: usize, device: usize| format!("https://localhost:9443/channel/{device}-{round}");
    let lines: String = (0..3000)
        .flat_map(|round| (0..3).map(move |device| (round, device)))
        .map(|(round, device)| {
            format!(
                "{{\"device\":\"d{device}\",\"uri\":\"{}\"}}\n",
                uri(round, device)
            )
        })
        .collect();
    let answer = broker.post_lines(CHANNELS, lines).await;
    assert_eq!(answer.body["registered"], 9000, "{answer:?}");
    let last: String = (0..3)
        .map(|device| {
            format!(
                "{{\"device\":\"d{device}\",\"uri\":\"{}\"}}\n",
                uri(2999, device)
            )
        })
        .collect();
    let again = broker.post_lines(CHANNELS, last).await;
    assert_eq!(
        again.body["unchanged"], 3,
        "the last line of each device won"
    );
}

#[actix_web::test]
async fn every_line_counts_once_however_many_streams_run_beside_one_another() {
    let broker = Broker::start().await;
    let lines = |stream: usize| -> String {
        (0..2500)
            .map(|i| {
                // A tenth of the devices is in every stream.
                let device = if i % 10 == 0 {
                    format!("s{i}")
                } else {
                    format!("d{stream}-{i}")
                };
                format!("{{\"device\":\"{device}\"}}\n")
            })
            .collect()
    };
    let path = "/v1/tenants/contoso/pushes?register_unknown=true";
    let sent = (0..4).map(|stream| broker.post_lines(path, lines(stream)));
    let answers = futures_util::future::join_all(sent).await;
    let mut sums: HashMap<&str, u64> = HashMap::new();
    for answer in &answers {
        assert_eq!(answer.status, 202, "{answer:?}");
        for name in ["opened", "merged", "refused", "unknown"] {
            *sums.entry(name).or_default() += answer.body[name].as_u64().unwrap();
        }
    }
    assert_eq!(sums["opened"], 4 * 2250 + 250);
    assert_eq!(sums["merged"], 3 * 250);
    assert_eq!(sums["refused"] + sums["unknown"], 0);
    let tenant = broker.get("/v1/tenants/contoso").await;
    assert_eq!(tenant.body["pushes"]["normal"], 9250);
}

#[actix_web::test]
async fn a_body_is_not_read_ahead_of_what_the_store_takes() {
    let broker = Broker::start().await;
    let held = broker.store.gate.write().await;
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    // Lines padded with blanks, so that what sockets hold is soon full.
    let line = format!(
        "{{\"device\":\"d\",\"uri\":\"{}\"{}}}\n",
        uri("d"),
        " ".repeat(3000)
    );
    let piece = Bytes::from(line.repeat(20));
    let pieces = stream::iter(0..1000).map(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
        Ok::<_, std::io::Error>(piece.clone())
    });
    let request = broker.post_lines(CHANNELS, Body::wrap_stream(pieces));
    let mut request = std::pin::pin!(request);
    // Gives the stream every chance to run ahead: it has nothing else to wait for than the store.
    for _ in 0..200 {
        tokio::select! {
            answer = &mut request => panic!("answered while the store held back: {answer:?}"),
            () = tokio::time::sleep(std::time::Duration::from_millis(1)) => {}
        }
    }
    let ahead = sent.load(Ordering::Relaxed);
    assert!(
        ahead < 400,
        "{ahead} of 2000 pieces were read while nothing was committed"
    );
    drop(held);
    let answer = request.await;
    let taken =
        answer.body["registered"].as_u64().unwrap() + answer.body["unchanged"].as_u64().unwrap();
    assert_eq!(taken, 20_000);
}

#[actix_web::test]
async fn a_stream_that_breaks_off_keeps_its_whole_lines_and_not_the_broken_one() {
    let broker = Broker::start().await;
    let mut socket = TcpStream::connect(broker.address).await.unwrap();
    let head = format!(
        "POST {CHANNELS} HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-ndjson\r\ncontent-length: 100000\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let whole = format!("{{\"device\":\"whole\",\"uri\":\"{}\"}}\n", uri("whole"));
    let broken = format!("{{\"device\":\"broken\",\"uri\":\"{}\"}}", uri("broken"));
    socket.write_all(whole.as_bytes()).await.unwrap();
    socket.write_all(broken.as_bytes()).await.unwrap();
    socket.shutdown().await.unwrap();
    let mut rest = Vec::new();
    socket.read_to_end(&mut rest).await.ok();
    let mut devices = Vec::new();
    for _ in 0..100 {
        let page = broker.get("/v1/tenants/contoso/devices").await;
        devices = page.body["items"].as_array().unwrap().clone();
        if !devices.is_empty() {
            break;
        }
    }
    let names: Vec<_> = devices.iter().map(|d| d["device"].clone()).collect();
    assert_eq!(names, [json!("whole")]);
}

#[actix_web::test]
async fn a_full_store_refuses_new_work_and_still_lets_old_work_end() {
    let broker = Broker::start().await;
    broker.register(&["d1"]).await;
    broker
        .post(
            "/v1/tenants/contoso/pushes",
            &json!({ "devices": ["d1"], "goal": "check_in" }),
        )
        .await;
    broker.store.fall_into(Trouble::Full);
    let line = format!("{{\"device\":\"d2\",\"uri\":\"{}\"}}", uri("d2"));
    let answer = broker.post_lines(CHANNELS, line).await;
    assert_eq!((answer.status, answer.problem()), (507, "store-full"));
    insta::assert_json_snapshot!("store_full", answer.shape());
    let push = broker
        .post("/v1/tenants/contoso/pushes", &json!({ "devices": ["d1"] }))
        .await;
    assert_eq!(push.status, 507);
    let check_in = broker
        .post("/v1/tenants/contoso/check-ins", &json!({ "device": "d1" }))
        .await;
    assert_eq!(
        (check_in.status, &check_in.body["closed"]),
        (200, &json!(1))
    );
    assert_eq!(
        broker.delete("/v1/tenants/contoso/devices/d1").await.status,
        204
    );
}

#[actix_web::test]
async fn what_is_on_its_way_beside_a_refusal_is_told_as_done() {
    for (streamed, count) in [(true, 3_000), (false, 1_000)] {
        let broker = Broker::start().await;
        let names: Vec<String> = std::iter::once("late".to_owned())
            .chain((1..count).map(|n| format!("d{n}")))
            .collect();
        broker.store.fall_into(Trouble::FullForOne);
        let path = "/v1/tenants/contoso/pushes?register_unknown=true";
        let answer = match streamed {
            true => {
                let lines = names
                    .iter()
                    .map(|name| format!("{{\"device\":\"{name}\"}}\n"));
                broker.post_lines(path, lines.collect::<String>()).await
            }
            false => broker.post(path, &json!({ "devices": names })).await,
        };
        assert_eq!((answer.status, answer.problem()), (507, "store-full"));
        broker.store.fall_into(Trouble::None);
        let tenant = broker.get("/v1/tenants/contoso").await;
        let opened = tenant.body["pushes"]["normal"].as_u64().unwrap();
        assert!(opened > 0, "{tenant:?}");
        assert_eq!(
            answer.body["done"],
            json!({ "opened": opened, "merged": 0 })
        );
    }
}

#[actix_web::test]
async fn a_store_that_is_away_answers_503_with_its_own_word_on_when_to_come_back() {
    let broker = Broker::start().await;
    broker.register(&["d1"]).await;
    broker.store.fall_into(Trouble::Away);
    let line = format!("{{\"device\":\"d2\",\"uri\":\"{}\"}}", uri("d2"));
    for answer in [
        broker.post_lines(CHANNELS, line).await,
        broker.get("/v1/tenants/contoso/devices/d1").await,
        broker.get("/v1/tenants/contoso/events").await,
        broker.get("/v1/apps").await,
    ] {
        assert_eq!(
            (answer.status, answer.problem()),
            (503, "store-unavailable")
        );
        assert_eq!(answer.header("retry-after"), "7");
    }
}
