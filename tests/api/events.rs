//! The event feed: read in pieces, and followed live.

use std::{collections::BTreeSet, pin::Pin, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use reqwest::Method;
use reveille::{api::Settings, domain::api_key::KeyRing, ports::feed::Feed};
use serde_json::Value;
use tokio::time::timeout;

use crate::support::Broker;

const EVENTS: &str = "/v1/tenants/contoso/events";

#[actix_web::test]
async fn events_are_read_in_pieces_and_each_says_where_to_go_on() {
    let broker = Broker::start().await;
    broker.register(&["a", "b", "c", "d", "e"]).await;
    let all = broker.get(EVENTS).await;
    assert_eq!(all.header("content-type"), "application/x-ndjson");
    let mut first = all.lines().swap_remove(0);
    assert!(first["id"].as_str().is_some_and(|id| !id.is_empty()));
    first["id"] = "…".into();
    insta::assert_json_snapshot!("event", first);
    let mut found = Vec::new();
    let mut after = "oldest".to_owned();
    loop {
        let page = broker.get(&format!("{EVENTS}?after={after}&limit=2")).await;
        let lines = page.lines();
        assert!(lines.len() <= 2);
        let Some(last) = lines.last() else {
            assert_eq!(
                page.header("next-cursor"),
                after,
                "nothing new: the same place"
            );
            break;
        };
        after = last["id"].as_str().unwrap().to_owned();
        assert_eq!(page.header("next-cursor"), after);
        found.extend(lines);
    }
    assert_eq!(found, all.lines());
    let newest = broker.get(&format!("{EVENTS}?after=newest")).await;
    assert_eq!(
        (newest.text.as_str(), newest.header("next-cursor")),
        ("", after.as_str())
    );
}

#[actix_web::test]
async fn a_long_answer_is_streamed_whole() {
    let broker = Broker::start().await;
    let names: Vec<String> = (0..7000).map(|i| format!("d{i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    broker.register(&names).await;
    let answer = broker.get(&format!("{EVENTS}?limit=6500")).await;
    let lines = answer.lines();
    let devices = lines.iter().filter_map(|e| e["data"]["device"].as_str());
    let devices: BTreeSet<&str> = devices.collect();
    assert_eq!((lines.len(), devices.len()), (6500, 6500));
    let last = lines[6499]["id"].as_str().unwrap();
    let rest = broker.get(&format!("{EVENTS}?after={last}")).await;
    assert_eq!(
        rest.lines().len(),
        500,
        "nothing is lost after a long answer"
    );
}

#[actix_web::test]
async fn a_cursor_beyond_what_is_kept_is_gone_and_says_where_to_begin_again() {
    let broker = Broker::keeping(1, KeyRing::default(), Settings::default()).await;
    broker.register(&["a"]).await;
    let cursor = broker.events().await[0]["id"].as_str().unwrap().to_owned();
    for device in ["b", "c", "d"] {
        broker.register(&[device]).await;
    }
    broker.store.trim().await.unwrap();
    let gone = broker.get(&format!("{EVENTS}?after={cursor}")).await;
    assert_eq!(
        gone.header("link"),
        "</v1/tenants/contoso/devices>; rel=\"alternate\""
    );
    insta::assert_json_snapshot!("cursor_expired", gone.shape());
    let live = broker
        .request(Method::GET, EVENTS)
        .header("accept", "text/event-stream");
    let live = live.header("last-event-id", &cursor).send().await.unwrap();
    assert_eq!(live.status(), 410);
    assert_eq!(broker.get(EVENTS).await.lines().len(), 1);
    for wrong in ["after=nonsense", "limit=0", "limit=100001", "from=1"] {
        let answer = broker.get(&format!("{EVENTS}?{wrong}")).await;
        assert_eq!(
            (answer.status, answer.problem()),
            (400, "malformed"),
            "{wrong}"
        );
    }
}

/// A live stream, read event by event.
struct Live {
    pieces: Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>>>>,
    text: String,
}

impl Live {
    async fn open(broker: &Broker, path: &str, last_event_id: Option<&str>) -> Self {
        let mut request = broker
            .request(Method::GET, path)
            .header("accept", "text/event-stream");
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            pieces: Box::pin(response.bytes_stream()),
            text: String::new(),
        }
    }

    /// The next block, or `None` when the stream has ended.
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                return Some(block);
            }
            let piece = timeout(Duration::from_secs(10), self.pieces.next());
            let piece = piece.await.expect("the stream says something")?;
            self.text
                .push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
        }
    }
}

fn id_of(block: &str) -> &str {
    block.lines().find_map(|l| l.strip_prefix("id: ")).unwrap()
}

fn device_of(block: &str) -> String {
    let data = block
        .lines()
        .find_map(|l| l.strip_prefix("data: "))
        .unwrap();
    let event: Value = serde_json::from_str(data).unwrap();
    assert_eq!(event["id"], id_of(block));
    event["data"]["device"].as_str().unwrap().to_owned()
}

#[actix_web::test]
async fn a_live_stream_never_names_a_place_beyond_what_it_has_told() {
    let broker = Broker::start().await;
    broker.register(&["a"]).await;
    let mut live = Live::open(&broker, EVENTS, None).await;
    live.next().await.unwrap();
    let begin = id_of(&live.next().await.unwrap()).to_owned();
    broker.register(&["b", "c", "d"]).await;

    let mut live = Live::open(&broker, EVENTS, Some(&begin)).await;

    let first = live.next().await.unwrap();
    assert_eq!(first, "retry: 2000");
    for device in ["b", "c", "d"] {
        assert_eq!(device_of(&live.next().await.unwrap()), device);
    }
}

#[actix_web::test]
async fn a_live_stream_tells_what_happens_and_goes_on_where_it_was_left() {
    let broker = Broker::start().await;
    broker.register(&["a"]).await;
    let mut live = Live::open(&broker, EVENTS, None).await;
    let hello = live.next().await.unwrap();
    assert_eq!(hello, "retry: 2000");
    let first = live.next().await.unwrap();
    let id = id_of(&first);
    let wanted = format!("id: {id}\nevent: channel.registered\ndata: {{\"id\":\"{id}\",");
    assert!(first.starts_with(&wanted), "{first}");
    assert_eq!(device_of(&first), "a");
    broker.register(&["b"]).await;
    let second = live.next().await.unwrap();
    assert_eq!(device_of(&second), "b");
    drop(live);
    broker.register(&["c"]).await;
    let mut live = Live::open(&broker, EVENTS, Some(id_of(&second))).await;
    live.next().await.unwrap();
    assert_eq!(device_of(&live.next().await.unwrap()), "c");
    let mut newest = Live::open(&broker, &format!("{EVENTS}?after=newest"), None).await;
    let hello = newest.next().await.unwrap();
    assert!(hello.starts_with("retry: 2000\nid: "), "{hello}");
    broker.register(&["d"]).await;
    assert_eq!(device_of(&newest.next().await.unwrap()), "d");
}

#[actix_web::test]
async fn live_streams_end_when_the_broker_closes() {
    let broker = Broker::start().await;
    let mut live = Live::open(&broker, EVENTS, None).await;
    live.next().await.unwrap();
    broker.state.close();
    assert_eq!(live.next().await, None);
    assert_eq!(broker.get("/readyz").await.status, 503);
}
