//! Probes and metrics.

use reqwest::Method;
use reveille::{
    domain::id::AppId,
    service::status::{Hold, TokenState},
};

use crate::{
    store::Trouble,
    support::{Answer, Broker, sending},
};

#[actix_web::test]
async fn a_broker_that_can_do_its_job_is_ready_and_says_how_its_parts_are() {
    let broker = Broker::start().await;
    insta::assert_json_snapshot!("healthz", broker.get("/healthz").await.shape());
    let mut ready = broker.get("/readyz").await.shape();
    // What the store says of itself is its own.
    let store = ready["body"]["components"][0]["detail"].take();
    assert!(
        store.as_array().is_some_and(|lines| lines.len() >= 2),
        "{store}"
    );
    insta::assert_json_snapshot!("readyz", ready);
    let metrics = broker.get("/metrics").await;
    assert_eq!(
        metrics.header("content-type"),
        "text/plain; version=0.0.4; charset=utf-8"
    );
    assert!(metrics.text.contains("reveille_build_info"));
}

#[actix_web::test]
async fn an_app_that_is_stopped_is_told_and_does_not_make_the_broker_unready() {
    let broker = Broker::start().await;
    let mut app = sending();
    app.token.state = TokenState::Refused;
    app.token.expires_at = None;
    app.token.detail = Some("invalid_client".to_owned());
    app.holds.push(Hold {
        reason: "token_refused".to_owned(),
        since: "2026-03-01T11:00:00Z".parse().unwrap(),
        until: None,
    });
    broker
        .running
        .apps
        .lock()
        .unwrap()
        .insert(AppId::new("contoso").unwrap(), app);
    let ready = broker.get("/readyz").await;
    assert_eq!(ready.status, 200);
    insta::assert_json_snapshot!("readyz_app_stopped", ready.body["components"][1]);
}

#[actix_web::test]
async fn a_tenant_that_nobody_serves_is_told_with_what_waits() {
    let broker = Broker::start().await;
    let gone = reveille::domain::id::TenantId::new("gone").unwrap();
    broker.running.unserved.lock().unwrap().insert(gone, 12);
    let ready = broker.get("/readyz").await;
    assert_eq!(ready.status, 200);
    let parts = ready.body["components"].as_array().unwrap();
    let part = parts.iter().find(|part| part["name"] == "tenant/gone");
    let detail = ["12 pushes open, but this broker's configuration has no app for it"];
    assert_eq!(part.unwrap()["detail"], serde_json::json!(detail));
    assert_eq!(part.unwrap()["status"], "degraded");
}

#[actix_web::test]
async fn a_broker_without_its_store_or_with_a_dead_actor_is_not_ready() {
    let broker = Broker::start().await;
    broker.store.fall_into(Trouble::Away);
    let ready = broker.get("/readyz").await;
    assert_eq!(ready.status, 503);
    assert_eq!(ready.body["components"][0]["status"], "failed");
    assert_eq!(broker.get("/healthz").await.status, 200);
    broker.store.fall_into(Trouble::ReadOnly);
    let ready = broker.get("/readyz").await;
    assert_eq!(ready.status, 503);
    assert_eq!(ready.body["components"][0]["detail"][0], "it is a replica");
    broker.store.fall_into(Trouble::None);
    assert_eq!(broker.get("/readyz").await.status, 200);
    broker.running.actors.lock().unwrap()[0].running = false;
    let ready = broker.get("/readyz").await;
    assert_eq!(
        (ready.status, &ready.body["status"]),
        (503, &"not_ready".into())
    );
}

#[actix_web::test]
async fn an_actor_in_a_restart_loop_is_told_and_does_not_make_the_broker_unready() {
    let broker = Broker::start().await;
    {
        let mut actors = broker.running.actors.lock().unwrap();
        (actors[0].looping, actors[0].restarts) = (true, 7);
    }
    let ready = broker.get("/readyz").await;
    let parts = ready.body["components"].as_array().unwrap();
    let actor = parts
        .iter()
        .find(|part| part["name"].as_str().unwrap().starts_with("actor/"));
    let actor = actor.unwrap();
    assert_eq!((ready.status, &actor["status"]), (200, &"degraded".into()));
    let detail = serde_json::json!(["it dies again and again", "restarted 7 times"]);
    assert_eq!(actor["detail"], detail);
}

#[actix_web::test]
async fn a_path_or_method_that_there_is_not_is_counted_under_one_name() {
    let broker = Broker::start().await;
    for path in ["/v1/nothing", "/wp-login.php", "/v1/tenants/x/y/z"] {
        assert_eq!(broker.get(path).await.status, 404);
    }
    let patch = broker.request(Method::PATCH, "/v1/apps");
    assert_eq!(Answer::of(patch).await.status, 405);

    let metrics = broker.telemetry.render(tokio::time::Instant::now());

    let counted = |labels: &str| {
        let name = format!("reveille_http_requests_total{{{labels}}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
        line.unwrap_or("none").to_owned()
    };
    assert_eq!(counted(r#"method="GET",route="other",code="404""#), "3");
    assert_eq!(
        counted(r#"method="other",route="/v1/apps",code="405""#),
        "1"
    );
}

#[actix_web::test]
async fn a_scrape_asks_nothing_of_the_store() {
    let broker = Broker::start().await;
    broker.get("/readyz").await;
    let before = broker.store.calls();
    assert!(before > 0, "the calls are counted");

    let metrics = broker.get("/metrics").await;

    assert_eq!(metrics.status, 200);
    assert_eq!(broker.store.calls(), before);
}
