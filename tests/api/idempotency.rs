//! Requests with an `Idempotency-Key` are done once.

use jiff::SignedDuration;
use reqwest::Method;
use reveille::ports::documents::Documents;
use serde_json::json;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::{
    store::Trouble,
    support::{Answer, Broker, uri},
};

const PUSHES: &str = "/v1/tenants/contoso/pushes";
const CHANNELS: &str = "/v1/tenants/contoso/channels";

async fn push(broker: &Broker, key: &str, path: &str, body: &serde_json::Value) -> Answer {
    let request = broker
        .request(Method::POST, path)
        .header("idempotency-key", key);
    Answer::of(request.json(body)).await
}

async fn stream(broker: &Broker, key: &str, lines: String) -> Answer {
    let request = broker
        .request(Method::POST, CHANNELS)
        .header("idempotency-key", key);
    let request = request.header("content-type", "application/x-ndjson");
    Answer::of(request.body(lines)).await
}

#[actix_web::test]
async fn a_repeat_gets_the_first_answer_and_nothing_is_done_twice() {
    let broker = Broker::start().await;
    broker.register(&["d1"]).await;
    let body = json!({ "devices": ["d1"] });
    let first = push(&broker, "k1", PUSHES, &body).await;
    let again = push(&broker, "k1", PUSHES, &body).await;
    assert_eq!((again.status, &again.body), (202, &first.body));
    assert_eq!(first.body["opened"], 1);
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.header("content-type"), "application/json");
    let other_key = push(&broker, "k2", PUSHES, &body).await;
    assert_eq!(other_key.body["merged"], 1);
}

#[actix_web::test]
async fn in_a_full_store_old_work_ends_whether_or_not_it_has_a_key() {
    let broker = Broker::start().await;
    broker.register(&["d1"]).await;
    let body = json!({ "devices": ["d1"], "goal": "check_in" });
    push(&broker, "k1", PUSHES, &body).await;
    broker.store.fall_into(Trouble::Full);

    let new = push(&broker, "k2", PUSHES, &body).await;
    let (path, body) = ("/v1/tenants/contoso/check-ins", json!({ "device": "d1" }));
    let first = push(&broker, "k3", path, &body).await;
    let again = push(&broker, "k3", path, &body).await;

    assert_eq!((new.status, new.problem()), (507, "store-full"));
    assert_eq!((first.status, &first.body["closed"]), (200, &json!(1)));
    assert_eq!((again.status, &again.body["closed"]), (200, &json!(0)));
    broker.store.fall_into(Trouble::None);
    let kept = push(&broker, "k3", path, &body).await;
    assert_eq!(
        (kept.status, kept.header("idempotency-replayed")),
        (200, "")
    );
}

#[actix_web::test]
async fn two_keys_are_refused_as_none_of_them_is_meant_more() {
    let broker = Broker::start().await;
    let request = broker
        .request(Method::POST, PUSHES)
        .header("idempotency-key", "k1")
        .header("idempotency-key", "k2");
    let answer = Answer::of(request.json(&json!({ "devices": ["d1"] }))).await;
    assert_eq!((answer.status, answer.problem()), (400, "malformed"));
}

#[actix_web::test]
async fn a_key_that_was_used_with_another_body_or_query_is_refused() {
    let broker = Broker::start().await;
    broker.register(&["d1"]).await;
    let body = json!({ "devices": ["d1"] });
    push(&broker, "k1", PUSHES, &body).await;
    let other = push(
        &broker,
        "k1",
        PUSHES,
        &json!({ "devices": ["d1"], "reason": "x" }),
    )
    .await;
    assert_eq!(
        (other.status, other.problem()),
        (422, "idempotency-key-reused")
    );
    let query = format!("{PUSHES}?register_unknown=true");
    let other = push(&broker, "k1", &query, &body).await;
    assert_eq!(other.problem(), "idempotency-key-reused");
    let elsewhere = push(&broker, "k1", "/v1/tenants/fabrikam/pushes", &body).await;
    assert_eq!(elsewhere.status, 202, "another path is another request");
}

#[actix_web::test]
async fn streams_are_repeated_too_even_when_their_answer_is_long() {
    let broker = Broker::start().await;
    let lines: String = (0..3000)
        .map(|i| match i % 2 {
            0 => format!(
                "{{\"device\":\"{}\",\"uri\":\"\\\"\"}}\n",
                "\u{e9}".repeat(90)
            ),
            _ => format!("{{\"device\":\"d{i}\",\"uri\":\"{}\"}}\n", uri("x")),
        })
        .collect();
    let first = stream(&broker, "k", lines.clone()).await;
    assert_eq!(
        (first.status, &first.body["registered"]),
        (200, &json!(1500))
    );
    assert!(
        first.text.len() > 256 * 1024,
        "the answer takes several documents"
    );
    let again = stream(&broker, "k", lines.clone()).await;
    assert_eq!((again.status, again.text), (200, first.text));
    let other = stream(&broker, "k", lines + "\n").await;
    assert_eq!(other.problem(), "idempotency-key-reused");
}

#[actix_web::test]
async fn the_same_request_in_progress_is_told_to_wait_and_is_done_once() {
    let broker = Broker::start().await;
    broker.register(&["d1"]).await;
    let body = json!({ "devices": ["d1"] });
    let held = broker.store.gate.write().await;
    let one = Box::pin(push(&broker, "k", PUSHES, &body));
    let other = Box::pin(push(&broker, "k", PUSHES, &body));
    // The store holds the one that came first back; the repeat is answered at once.
    let (repeat, first) = futures_util::future::select(one, other)
        .await
        .factor_first();
    assert_eq!((repeat.status, repeat.problem()), (409, "in-progress"));
    assert_eq!(repeat.header("retry-after"), "2");
    drop(held);
    let first = first.await;
    assert_eq!((first.status, &first.body["opened"]), (202, &json!(1)));
    let again = push(&broker, "k", PUSHES, &body).await;
    assert_eq!(again.body, first.body);
}

#[actix_web::test]
async fn of_many_races_with_one_key_each_is_done_once() {
    let broker = Broker::start().await;
    for round in 0..20 {
        let device = format!("d{round}");
        broker.register(&[&device]).await;
        let body = json!({ "devices": [device] });
        let key = format!("k{round}");
        let calls = (0..8).map(|_| push(&broker, &key, PUSHES, &body));
        let answers = futures_util::future::join_all(calls).await;
        for answer in answers.iter().filter(|a| a.status != 409) {
            assert_eq!(
                (answer.status, &answer.body["opened"]),
                (202, &json!(1)),
                "{answer:?}"
            );
        }
        let opened = broker
            .get(&format!(
                "{PUSHES}/{}",
                body["devices"][0].as_str().unwrap()
            ))
            .await;
        assert_eq!(opened.body["asks"].as_array().unwrap().len(), 1);
    }
}

#[actix_web::test]
async fn a_request_that_failed_may_be_repeated_with_its_key() {
    let broker = Broker::start().await;
    let wrong = push(&broker, "k", PUSHES, &json!({ "devices": [] })).await;
    assert_eq!(wrong.status, 422);
    broker.register(&["d1"]).await;
    // The mark is given up right after the answer; until then the repeat is told to wait.
    let mut right = push(&broker, "k", PUSHES, &json!({ "devices": ["d1"] })).await;
    while right.status == 409 {
        right = push(&broker, "k", PUSHES, &json!({ "devices": ["d1"] })).await;
    }
    assert_eq!(right.status, 202, "{right:?}");
}

#[actix_web::test]
async fn a_caller_that_hung_up_blocks_its_key_no_longer_than_a_minute() {
    let broker = Broker::start().await;
    let line = format!("{{\"device\":\"d1\",\"uri\":\"{}\"}}\n", uri("d1"));
    let mut socket = TcpStream::connect(broker.address).await.unwrap();
    let head = format!(
        "POST {CHANNELS} HTTP/1.1\r\nhost: x\r\nidempotency-key: k\r\ncontent-type: application/x-ndjson\r\ncontent-length: 1000\r\n\r\n{line}"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    while broker
        .store
        .list("answer/", None, 1)
        .await
        .unwrap()
        .items
        .is_empty()
    {
        tokio::task::yield_now().await;
    }
    assert_eq!(stream(&broker, "k", line.clone()).await.status, 409);
    drop(socket);
    broker.clock.advance(SignedDuration::from_secs(61));
    let mut again = stream(&broker, "k", line.clone()).await;
    while again.status == 409 {
        again = stream(&broker, "k", line.clone()).await;
    }
    assert_eq!(again.status, 200);
}

#[actix_web::test]
async fn an_answer_is_forgotten_after_a_day() {
    let broker = Broker::start().await;
    broker.register(&["d1"]).await;
    let body = json!({ "devices": ["d1"], "expires_in": "7d" });
    push(&broker, "k", PUSHES, &body).await;
    broker.clock.advance(SignedDuration::from_hours(23));
    assert_eq!(push(&broker, "k", PUSHES, &body).await.body["opened"], 1);
    broker.clock.advance(SignedDuration::from_hours(2));
    assert_eq!(push(&broker, "k", PUSHES, &body).await.body["merged"], 1);
}

#[actix_web::test]
async fn an_answer_without_a_body_is_repeated_as_it_was() {
    let broker = Broker::start().await;
    broker.register(&["d1"]).await;
    let delete = || {
        let request = broker.request(Method::DELETE, "/v1/tenants/contoso/devices/d1");
        Answer::of(request.header("idempotency-key", "k"))
    };
    assert_eq!(delete().await.status, 204);
    let again = delete().await;
    assert_eq!(
        (again.status, again.header("idempotency-replayed")),
        (204, "true")
    );
    let long = broker.request(Method::DELETE, "/v1/tenants/contoso/devices/d1");
    let long = Answer::of(long.header("idempotency-key", "x".repeat(256))).await;
    assert_eq!(long.problem(), "malformed");
}
