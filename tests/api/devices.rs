//! Channels and devices.

use jiff::SignedDuration;
use serde_json::json;

use crate::support::{Broker, uri};

#[actix_web::test]
async fn a_registered_channel_is_shown_by_host_and_hash_and_never_by_its_uri() {
    let broker = Broker::start().await;
    let path = "/v1/tenants/contoso/devices/d1/channel";
    let answer = broker.put(path, &json!({ "uri": uri("d1") })).await;
    insta::assert_json_snapshot!("put_channel", answer.shape());
    assert_eq!(
        broker.get("/v1/tenants/contoso/devices/d1").await.body,
        answer.body
    );
}

#[actix_web::test]
async fn a_device_with_everything_is_shown_whole() {
    let broker = Broker::start().await;
    broker.register(&["d1"]).await;
    let push = json!({ "devices": ["d1"], "reason": "renew", "priority": "urgent", "goal": "check_in", "expires_in": "2h" });
    broker.post("/v1/tenants/contoso/pushes", &push).await;
    broker
        .post(
            "/v1/tenants/contoso/check-ins",
            &json!({ "device": "d1", "at": "2026-03-01T11:00:00Z" }),
        )
        .await;
    let answer = broker.get("/v1/tenants/contoso/devices/d1").await;
    insta::assert_json_snapshot!("get_device", answer.shape());
}

#[actix_web::test]
async fn channels_of_many_devices_are_registered_and_bad_lines_are_told_by_their_number() {
    let broker = Broker::start().await;
    broker.register(&["known"]).await;
    let lines = [
        format!("{{\"device\":\"a\",\"uri\":\"{}\"}}", uri("a")),
        String::new(),
        "{\"device\":\"b\",\"uri\":\"https://notify.windows.com.evil.example/?t=secret-of-b\"}"
            .to_owned(),
        "{\"device\":\"b/c\",\"uri\":\"https://x.notify.windows.com/\"}".to_owned(),
        "not json".to_owned(),
        "{\"device\":\"b\"}".to_owned(),
        format!("{{\"device\":\"b\",\"uri\":\"{}\",\"colour\":1}}", uri("b")),
        format!("{{\"uri\":\"{}\",\"device\":\"known\"}}", uri("known")),
        "{\"device\":\"sandboxed\",\"uri\":\"https://localhost:9443/channel/1\"}".to_owned(),
    ];
    let answer = broker
        .post_lines("/v1/tenants/contoso/channels", lines.join("\r\n"))
        .await;
    insta::assert_json_snapshot!("post_channels", answer.shape());
}

#[actix_web::test]
async fn devices_are_paged_by_the_state_of_their_channel() {
    let broker = Broker::start().await;
    let names: Vec<String> = (0..25).map(|i| format!("d{i:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    broker.register(&names).await;
    let push = json!({ "devices": ["mute"], "register_unknown": true });
    broker.post("/v1/tenants/contoso/pushes", &push).await;
    for (channel, wanted) in [
        ("live", 25),
        ("none", 1),
        ("dead", 0),
        ("suspect", 0),
        ("silent", 0),
    ] {
        let mut found = Vec::new();
        let mut cursor = String::new();
        loop {
            let path = format!("/v1/tenants/contoso/devices?channel={channel}&limit=10{cursor}");
            let page = broker.get(&path).await;
            assert_eq!(page.status, 200, "{page:?}");
            let items = page.body["items"].as_array().unwrap();
            assert!(items.len() <= 10);
            found.extend(
                items
                    .iter()
                    .map(|d| d["device"].as_str().unwrap().to_owned()),
            );
            let Some(next) = page.body["next_cursor"].as_str() else {
                break;
            };
            cursor = format!("&cursor={next}");
        }
        found.dedup();
        assert_eq!(found.len(), wanted, "{channel}");
    }
    let expiring = "/v1/tenants/contoso/devices?channel=expiring&within=2d";
    assert_eq!(broker.get(expiring).await.body["items"], json!([]));
    broker.clock.advance(SignedDuration::from_hours(29 * 24));
    let soon = broker.get(expiring).await;
    assert_eq!(soon.body["items"].as_array().unwrap().len(), 25);
}

#[actix_web::test]
async fn a_cursor_of_another_list_or_of_nobody_is_refused() {
    let broker = Broker::start().await;
    broker.register(&["a", "b"]).await;
    let page = broker.get("/v1/tenants/contoso/devices?limit=1").await;
    let cursor = page.body["next_cursor"].as_str().unwrap().to_owned();
    for path in [
        format!("/v1/tenants/contoso/devices?channel=live&cursor={cursor}"),
        "/v1/tenants/contoso/devices?cursor=%FF".to_owned(),
        "/v1/tenants/contoso/devices?cursor=ZGV2aWNlcy9hbGwKeA".to_owned(),
        "/v1/tenants/contoso/devices?limit=0".to_owned(),
        "/v1/tenants/contoso/devices?limit=1001".to_owned(),
        "/v1/tenants/contoso/devices?channel=happy".to_owned(),
        "/v1/tenants/contoso/devices?within=3d".to_owned(),
        "/v1/tenants/contoso/devices?colour=red".to_owned(),
    ] {
        let answer = broker.get(&path).await;
        assert_eq!(
            (answer.status, answer.problem()),
            (400, "malformed"),
            "{path}: {answer:?}"
        );
    }
}

#[actix_web::test]
async fn a_forgotten_device_is_gone_and_its_push_closes_as_cancelled() {
    let broker = Broker::start().await;
    broker.register(&["d1"]).await;
    broker
        .post("/v1/tenants/contoso/pushes", &json!({ "devices": ["d1"] }))
        .await;
    let path = "/v1/tenants/contoso/devices/d1";
    assert_eq!(broker.delete(path).await.status, 204);
    assert_eq!(broker.get(path).await.problem(), "unknown-device");
    assert_eq!(broker.delete(path).await.problem(), "unknown-device");
    let events = broker.events().await;
    let closed = events.iter().find(|e| e["type"] == "push.closed").unwrap();
    assert_eq!(closed["data"]["reason"], "cancelled");
    assert_eq!(closed["data"]["cause"], "device_deleted");
    assert_eq!(events.last().unwrap()["type"], "device.deleted");
}

#[actix_web::test]
async fn many_devices_are_forgotten_at_once_and_one_may_be_called_delete() {
    let broker = Broker::start().await;
    broker.register(&["a", "b", "delete"]).await;
    let lines = "{\"device\":\"a\"}\n{\"device\":\"a\"}\n{\"device\":\"x\"}\n{\"device\":\"\"}\n";
    let answer = broker
        .post_lines("/v1/tenants/contoso/devices/delete", lines)
        .await;
    insta::assert_json_snapshot!("delete_devices", answer.shape());
    assert_eq!(
        broker.get("/v1/tenants/contoso/devices/delete").await.body["device"],
        "delete"
    );
    assert_eq!(
        broker
            .delete("/v1/tenants/contoso/devices/delete")
            .await
            .status,
        204
    );
    assert_eq!(
        broker.get("/v1/tenants/contoso/devices/b").await.status,
        200
    );
}

#[actix_web::test]
async fn an_id_with_every_allowed_character_survives_the_path() {
    let broker = Broker::start().await;
    let path = "/v1/tenants/contoso/devices/A-z.0_~:%40x";
    let put = broker
        .put(&format!("{path}/channel"), &json!({ "uri": uri("d") }))
        .await;
    assert_eq!(put.body["device"], "A-z.0_~:@x", "{put:?}");
    assert_eq!(broker.get(path).await.status, 200);
}

#[actix_web::test]
async fn a_forecast_has_each_channel_on_the_day_it_expires_up_to_the_thirtieth() {
    let broker = Broker::start().await;
    let forecast = async |days: u8| {
        let path = format!("/v1/tenants/contoso/channels/forecast?days={days}");
        broker.get(&path).await.body
    };
    broker.register(&["old"]).await;
    broker.clock.advance(SignedDuration::from_hours(10 * 24));
    broker.register(&["a", "b"]).await;

    let day = |day: &str, channels: u32| json!({ "day": day, "channels": channels });
    let (old, new) = (day("2026-03-31", 1), day("2026-04-10", 2));
    let view = |overdue: u32, renewal: u32, days: &[&serde_json::Value]| {
        let expiring: u64 = days.iter().filter_map(|d| d["channels"].as_u64()).sum();
        json!({ "overdue": overdue, "renewal_overdue": renewal, "expiring": expiring, "days": days })
    };
    assert_eq!(forecast(19).await, view(0, 0, &[]));
    assert_eq!(forecast(20).await, view(0, 0, &[&old]));
    assert_eq!(forecast(29).await, view(0, 0, &[&old]));
    assert_eq!(forecast(30).await, view(0, 0, &[&old, &new]));

    // The day on which a renewal is due is not over before the next.
    broker.clock.advance(SignedDuration::from_hours(5 * 24));
    assert_eq!(forecast(9).await, view(0, 0, &[]));
    broker.clock.advance(SignedDuration::from_hours(24));
    assert_eq!(forecast(9).await, view(0, 1, &[]));
    let device = broker.get("/v1/tenants/contoso/devices/old").await.body;
    assert_eq!(device["channel"]["renewal_due_at"], "2026-03-16T12:00:00Z");

    broker.clock.advance(SignedDuration::from_hours(15 * 24));
    assert_eq!(forecast(9).await, view(1, 3, &[&new]));
}
