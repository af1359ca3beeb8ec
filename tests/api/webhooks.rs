//! Webhooks as consoles set them; how they are delivered is tested elsewhere.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Broker};

const ALL: &str = "/v1/tenants/contoso/webhooks";

async fn made(broker: &Broker) -> Value {
    let body = json!({"url": "https://hooks.example.com/x?key=hush", "types": ["push.closed"]});
    let answer = broker.post(ALL, &body).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    answer.body
}

#[actix_web::test]
async fn a_webhook_shows_its_secret_once_and_its_address_never() {
    let broker = Broker::start().await;
    let made = made(&broker).await;
    assert!(made["secret"].as_str().unwrap().starts_with("whsec_"));
    let one = format!("{ALL}/{}", made["id"].as_str().unwrap());

    let shown = broker.get(&one).await.body;

    assert_eq!(shown["host"], "hooks.example.com");
    assert_eq!(
        (&shown["state"], &shown["batch_max"]),
        (&json!("active"), &json!(1))
    );
    let list = broker.get(ALL).await.body;
    for answer in [&shown, &list] {
        let text = answer.to_string();
        assert!(!text.contains("hush") && !text.contains("whsec_"), "{text}");
    }
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
}

#[actix_web::test]
async fn addresses_inside_are_refused() {
    let broker = Broker::start().await;
    for url in [
        "http://hooks.example.com/",
        "https://127.0.0.1/",
        "https://169.254.169.254/latest",
        "https://[::1]/",
        "nonsense",
        "https://hooks.example.com/\u{1b}[2J",
    ] {
        let answer = broker.post(ALL, &json!({ "url": url })).await;
        assert_eq!(answer.status, 422, "{url}");
        assert_eq!(answer.body["errors"][0]["pointer"], "/url");
    }
    let unknown = broker
        .post(
            ALL,
            &json!({"url": "https://a.example/", "types": ["push.opend"]}),
        )
        .await;
    assert_eq!(unknown.body["errors"][0]["pointer"], "/types");
    let wanted = json!({"url": "https://a.example/", "types": ["push.closed", "push.accepted"]});
    let missing = broker.post(ALL, &wanted).await;
    assert_eq!(missing.status, 422);
    assert_eq!(missing.body["errors"][0]["pointer"], "/types");
    let detail = missing.body["errors"][0]["detail"].as_str().unwrap();
    assert!(detail.contains("store.events_verbose = true"), "{detail}");
}

#[actix_web::test]
async fn a_webhook_is_changed_rotated_replayed_and_forgotten() {
    let broker = Broker::start().await;
    broker.register(&["d1"]).await;
    let made = made(&broker).await;
    let one = format!("{ALL}/{}", made["id"].as_str().unwrap());

    let set = broker
        .put(
            &one,
            &json!({"url": "https://other.example/", "batch_max": 100}),
        )
        .await;
    assert_eq!(
        (&set.body["host"], &set.body["types"]),
        (&json!("other.example"), &json!([]))
    );
    let rotated = broker
        .post(&format!("{one}/rotate-secret"), &json!({}))
        .await;
    assert_ne!(rotated.body["secret"], made["secret"]);
    let replay = format!("{one}/replay");
    let oldest = broker.post(&replay, &json!({"after": "oldest"})).await;
    assert_eq!((oldest.status, &oldest.body["cursor"]), (200, &Value::Null));
    let event = broker.events().await[0]["id"].clone();
    let from = broker.post(&replay, &json!({ "after": event })).await;
    assert_eq!(from.body["cursor"], event);
    assert_eq!(
        broker.post(&replay, &json!({"after": "?"})).await.status,
        422
    );

    assert_eq!(broker.delete(&one).await.status, 204);
    assert_eq!(broker.get(&one).await.status, 404);
}

#[actix_web::test]
async fn a_tenant_has_a_bounded_number_of_webhooks() {
    let broker = Broker::start().await;
    for _ in 0..16 {
        made(&broker).await;
    }
    let more = broker
        .post(ALL, &json!({"url": "https://a.example/"}))
        .await;
    assert_eq!((more.status, more.problem()), (409, "conflict"));
}

#[actix_web::test]
async fn a_webhook_that_is_made_twice_with_one_key_is_made_once() {
    let broker = Broker::start().await;
    let make = async || {
        let request = broker
            .request(Method::POST, ALL)
            .header("idempotency-key", "w1");
        Answer::of(request.json(&json!({"url": "https://hooks.example.com/x"}))).await
    };

    let (first, again) = (make().await, make().await);

    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!(first.body, again.body);
    let list = broker.get(ALL).await.body;
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
}

#[actix_web::test]
async fn the_list_comes_whole_or_in_pages() {
    let broker = Broker::start().await;
    for _ in 0..3 {
        made(&broker).await;
    }

    let whole = broker.get(ALL).await.body;
    let first = broker.get(&format!("{ALL}?limit=2")).await.body;
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = format!("{ALL}?limit=2&cursor={cursor}");
    let second = broker.get(&second).await.body;

    let items = |page: &Value| page["items"].as_array().unwrap().clone();
    assert_eq!(
        (items(&whole).len(), &whole["next_cursor"]),
        (3, &json!(null))
    );
    assert_eq!([items(&first), items(&second)].concat(), items(&whole));
    assert_eq!(second["next_cursor"], json!(null));
    assert_eq!(broker.get(&format!("{ALL}?bogus=1")).await.status, 400);
    assert_eq!(broker.get("/v1/apps?limit=0").await.status, 400);
}
