//! Tenants, and what people decide about apps.

use jiff::SignedDuration;
use reqwest::Method;
use reveille::{
    domain::id::AppId,
    ports::queues::Queues,
    service::status::{AppStatus, TokenState},
};
use serde_json::json;

use crate::support::{Answer, Broker, sending, uri};

#[actix_web::test]
async fn tenants_of_the_configuration_and_made_ones_are_listed_once_each() {
    let broker = Broker::start().await;
    let made = broker
        .put("/v1/tenants/emea", &json!({ "app": "contoso", "share": 3 }))
        .await;
    insta::assert_json_snapshot!("put_tenant", made.shape());
    let changed = broker
        .put("/v1/tenants/contoso", &json!({ "share": 5 }))
        .await;
    assert_eq!((changed.status, &changed.body["share"]), (200, &json!(5)));
    insta::assert_json_snapshot!("list_tenants", broker.get("/v1/tenants").await.shape());
    let line = format!("{{\"device\":\"d\",\"uri\":\"{}\"}}", uri("d"));
    let answer = broker.post_lines("/v1/tenants/emea/channels", line).await;
    assert_eq!(
        answer.body["registered"], 1,
        "a new tenant is served at once"
    );
    assert_eq!(
        broker.get("/v1/tenants/emea").await.body["devices"]["live"],
        1
    );
}

#[actix_web::test]
async fn tenants_that_break_a_rule_are_refused() {
    let broker = Broker::start().await;
    broker.register(&["d1"]).await;
    for (path, body, status, pointer) in [
        (
            "/v1/tenants/x",
            json!({ "app": "nobody" }),
            422,
            json!("/app"),
        ),
        ("/v1/tenants/x", json!({}), 422, json!("/app")),
        (
            "/v1/tenants/x",
            json!({ "app": "contoso", "share": 0 }),
            422,
            json!("/share"),
        ),
        (
            "/v1/tenants/x",
            json!({ "app": "contoso", "share": 1001 }),
            422,
            json!("/share"),
        ),
        (
            "/v1/tenants/x",
            json!({ "app": "contoso", "weight": 1 }),
            400,
            json!("/weight"),
        ),
        (
            "/v1/tenants/a%20b",
            json!({ "app": "contoso" }),
            400,
            json!(null),
        ),
        (
            "/v1/tenants/contoso",
            json!({ "app": "fabrikam" }),
            409,
            json!(null),
        ),
    ] {
        let answer = broker.put(path, &body).await;
        assert!(!answer.problem().is_empty());
        assert_eq!(answer.status, status, "{path} {body}: {answer:?}");
        assert_eq!(
            answer.body["errors"][0]["pointer"], pointer,
            "{path} {body}"
        );
    }
    let moved = broker
        .put("/v1/tenants/fabrikam", &json!({ "app": "contoso" }))
        .await;
    assert_eq!(
        moved.body["app"], "contoso",
        "a tenant without devices may move"
    );
}

#[actix_web::test]
async fn an_app_is_shown_with_its_token_its_pace_and_what_holds_it() {
    let broker = Broker::start().await;
    insta::assert_json_snapshot!("list_apps", broker.get("/v1/apps").await.shape());
    let mut app = sending();
    app.throttled_until = Some("2026-03-01T12:15:00Z".parse().unwrap());
    let contoso = AppId::new("contoso").unwrap();
    broker
        .running
        .apps
        .lock()
        .unwrap()
        .insert(contoso.clone(), app.clone());
    assert_eq!(
        broker.get("/v1/apps/contoso").await.body["state"],
        "throttled"
    );
    app.throttled_until = None;
    app.token.state = TokenState::Refused;
    let tell = |app: &AppStatus| {
        let mut apps = broker.running.apps.lock().unwrap();
        apps.insert(contoso.clone(), app.clone());
    };
    tell(&app);
    let sending = broker.get("/v1/apps/contoso").await;
    assert_eq!(sending.body["state"], "sending", "its token still lives");
    assert_ne!(sending.body["token"]["expires_at"], serde_json::Value::Null);
    app.token.expires_at = None;
    tell(&app);
    assert_eq!(
        broker.get("/v1/apps/contoso").await.body["state"],
        "stopped"
    );
    assert_eq!(broker.get("/v1/apps/nobody").await.problem(), "unknown-app");
}

#[actix_web::test]
async fn a_paused_app_takes_its_tenants_out_of_service_later_ones_too() {
    let broker = Broker::start().await;
    broker
        .put("/v1/tenants/emea", &json!({ "app": "contoso" }))
        .await;
    let steering = "/v1/apps/contoso/pause?reason=change%1B%5B2J";
    let refused = Answer::of(broker.request(Method::POST, steering)).await;
    assert_eq!(refused.problem(), "malformed");
    assert_eq!(refused.body["errors"][0]["parameter"], "reason");
    let pause = "/v1/apps/contoso/pause?reason=change%20freeze";
    let paused = Answer::of(broker.request(Method::POST, pause)).await;
    insta::assert_json_snapshot!("pause_app", paused.shape());
    broker
        .put("/v1/tenants/late", &json!({ "app": "contoso" }))
        .await;
    let push = json!({ "devices": ["d"], "priority": "urgent" });
    for tenant in ["contoso", "emea", "late", "fabrikam"] {
        let line = format!("{{\"device\":\"d\",\"uri\":\"{}\"}}", uri("d"));
        broker
            .post_lines(&format!("/v1/tenants/{tenant}/channels"), line)
            .await;
        broker
            .post(&format!("/v1/tenants/{tenant}/pushes"), &push)
            .await;
    }
    let ready = async || {
        let ready = broker.store.ready().await.unwrap();
        let mut names: Vec<String> = ready.iter().map(|r| r.queue.to_string()).collect();
        names.sort();
        names
    };
    assert_eq!(ready().await, ["fabrikam:urgent:direct"]);
    let resumed = Answer::of(broker.request(Method::POST, "/v1/apps/contoso/resume")).await;
    assert_eq!(
        (resumed.status, &resumed.body["state"]),
        (200, &json!("sending"))
    );
    assert_eq!(ready().await.len(), 4);
    let kinds: Vec<_> = broker
        .events()
        .await
        .iter()
        .map(|e| e["type"].clone())
        .collect();
    assert_eq!(kinds, ["app.held", "channel.registered", "app.resumed"]);
}

#[actix_web::test]
async fn a_pace_is_set_by_hand_and_taken_back() {
    let broker = Broker::start().await;
    let path = "/v1/apps/contoso/pace";
    let set = broker
        .put(
            path,
            &json!({ "ceiling_per_second": 400, "start_per_second": 50 }),
        )
        .await;
    assert_eq!(
        set.body["pace"]["set"],
        json!({ "ceiling_per_second": 400, "start_per_second": 50 })
    );
    let short = broker.put(path, &json!({ "per_second": 300 })).await;
    assert_eq!(
        short.body["pace"]["set"],
        json!({ "ceiling_per_second": 300, "start_per_second": null })
    );
    let back = broker.put(path, &json!({})).await;
    assert_eq!(
        back.body["pace"]["set"],
        json!({ "ceiling_per_second": null, "start_per_second": null })
    );
    for body in [
        json!({ "ceiling_per_second": 0 }),
        json!({ "ceiling_per_second": 10, "start_per_second": 11 }),
    ] {
        assert_eq!(broker.put(path, &body).await.status, 422, "{body}");
    }
}

#[actix_web::test]
async fn a_resume_revives_channels_that_were_marked_since() {
    let broker = Broker::start().await;
    broker.register(&["early", "late", "fine"]).await;
    broker.mark_dead("early").await;
    broker.clock.advance(SignedDuration::from_hours(1));
    broker.mark_dead("late").await;
    let dead = broker.get("/v1/tenants/contoso/devices?channel=dead").await;
    insta::assert_json_snapshot!("list_dead", dead.shape());
    let path = "/v1/apps/contoso/resume?revive_since=2026-03-01T12:30:00Z";
    let resumed = Answer::of(broker.request(Method::POST, path)).await;
    assert_eq!(resumed.body["revived"], 1, "{resumed:?}");
    let late = broker.get("/v1/tenants/contoso/devices/late").await;
    assert_eq!(late.body["channel"]["state"], "live");
    let early = broker.get("/v1/tenants/contoso/devices/early").await;
    assert_eq!(early.body["channel"]["state"], "dead");
    let wrong = broker.request(Method::POST, "/v1/apps/contoso/resume?revive_since=noon");
    assert_eq!(Answer::of(wrong).await.problem(), "malformed");
}
