//! Pushes and check-ins.

use jiff::SignedDuration;
use serde_json::json;

use crate::support::Broker;

const PUSHES: &str = "/v1/tenants/contoso/pushes";
const CHECK_INS: &str = "/v1/tenants/contoso/check-ins";

#[actix_web::test]
async fn a_list_of_devices_is_pushed_and_each_is_counted() {
    let broker = Broker::start().await;
    broker.register(&["d1", "d2"]).await;
    broker.post(PUSHES, &json!({ "devices": ["d2"] })).await;
    let body = json!({ "devices": ["d1", "d2", "nobody"], "reason": "renew certificate" });
    let answer = broker.post(PUSHES, &body).await;
    insta::assert_json_snapshot!("post_pushes", answer.shape());
}

#[actix_web::test]
async fn an_unknown_device_is_made_on_request_and_waits_for_a_channel() {
    let broker = Broker::start().await;
    let body = json!({ "devices": ["new"], "register_unknown": true });
    let answer = broker.post(PUSHES, &body).await;
    assert_eq!(answer.body["opened"], 1);
    assert_eq!(answer.body["without_channel"], 1);
    assert_eq!(
        broker.get(&format!("{PUSHES}/new")).await.body["state"],
        "blocked"
    );
    broker.register(&["new"]).await;
    assert_eq!(
        broker.get(&format!("{PUSHES}/new")).await.body["state"],
        "due"
    );
}

#[actix_web::test]
async fn devices_are_pushed_line_by_line_with_the_rest_in_the_query() {
    let broker = Broker::start().await;
    broker.register(&["d1", "d2"]).await;
    let query =
        "reason=renew%20it&priority=bulk&goal=check_in&expires_in=1h30m&register_unknown=true";
    let lines =
        "{\"device\":\"d1\"}\n{\"device\":\"d2\"}\n{\"device\":\"d3\"}\n{\"device\":\"d1\"}\n";
    let answer = broker.post_lines(&format!("{PUSHES}?{query}"), lines).await;
    insta::assert_json_snapshot!("post_pushes_lines", answer.shape());
    let push = broker.get(&format!("{PUSHES}/d1")).await;
    insta::assert_json_snapshot!("get_push_open", push.shape());
}

#[actix_web::test]
async fn wishes_that_break_a_rule_are_refused_with_a_pointer_and_open_nothing() {
    let broker = Broker::start().await;
    broker.register(&["d1"]).await;
    let cases = [
        (json!({ "devices": [] }), "/devices"),
        (json!({ "devices": ["d1", "a/b"] }), "/devices/1"),
        (
            json!({ "devices": ["d1"], "expires_in": "31d" }),
            "/expires_in",
        ),
        (
            json!({ "devices": ["d1"], "expires_in": "0s" }),
            "/expires_in",
        ),
        (
            json!({ "devices": ["d1"], "expires_in": "15" }),
            "/expires_in",
        ),
        (
            json!({ "devices": ["d1"], "deadline": "2026-03-01T11:59:59Z" }),
            "/deadline",
        ),
        (
            json!({ "devices": ["d1"], "deadline": "2026-04-01T12:00:00Z" }),
            "/deadline",
        ),
        (
            json!({ "devices": ["d1"], "deadline": "2026-03-02T12:00:00Z", "expires_in": "1h" }),
            "/expires_in",
        ),
        (
            json!({ "devices": ["d1"], "reason": "x".repeat(129) }),
            "/reason",
        ),
        (
            json!({ "devices": ["d1"], "reason": "renew\u{1b}[2J" }),
            "/reason",
        ),
    ];
    for (body, pointer) in cases {
        let answer = broker.post(PUSHES, &body).await;
        assert_eq!(
            (answer.status, answer.problem()),
            (422, "invalid"),
            "{body}"
        );
        assert_eq!(answer.body["errors"][0]["pointer"], pointer, "{body}");
    }
    for (body, pointer) in [
        (json!({ "devices": "d1" }), "/devices"),
        (json!({ "devices": ["d1", 2] }), "/devices/1"),
        (
            json!({ "devices": ["d1"], "priority": "soon" }),
            "/priority",
        ),
        (
            json!({ "devices": ["d1"], "deadline": "tomorrow" }),
            "/deadline",
        ),
        (json!({ "devices": ["d1"], "dedline": "x" }), "/dedline"),
    ] {
        let answer = broker.post(PUSHES, &body).await;
        assert_eq!(
            (answer.status, answer.problem()),
            (400, "malformed"),
            "{body}"
        );
        assert_eq!(answer.body["errors"][0]["pointer"], pointer, "{body}");
    }
    let never = broker.get(&format!("{PUSHES}/d1")).await;
    assert_eq!((never.status, never.problem()), (404, "not-found"));
}

#[actix_web::test]
async fn the_farthest_deadline_is_taken_and_one_that_is_not_given_is_a_day_ahead() {
    let broker = Broker::start().await;
    broker.register(&["d1", "d2", "d3"]).await;
    for (device, field, value, wanted) in [
        ("d1", "expires_in", "30d", "2026-03-31T12:00:00Z"),
        (
            "d2",
            "deadline",
            "2026-03-31T14:00:00+02:00",
            "2026-03-31T12:00:00Z",
        ),
        ("d3", "reason", "", "2026-03-02T12:00:00Z"),
    ] {
        let answer = broker
            .post(PUSHES, &json!({ "devices": [device], field: value }))
            .await;
        assert_eq!(answer.status, 202, "{answer:?}");
        let push = broker.get(&format!("{PUSHES}/{device}")).await;
        assert_eq!(push.body["asks"][0]["deadline"], wanted);
    }
}

#[actix_web::test]
async fn a_direct_wish_is_taken_back_and_the_closed_push_is_still_shown() {
    let broker = Broker::start().await;
    broker.register(&["d1"]).await;
    broker.post(PUSHES, &json!({ "devices": ["d1"] })).await;
    broker.clock.advance(SignedDuration::from_secs(10));
    let answer = broker.delete(&format!("{PUSHES}/d1?all=true")).await;
    insta::assert_json_snapshot!("delete_push", answer.shape());
    let again = broker.delete(&format!("{PUSHES}/d1")).await;
    assert_eq!((again.status, &again.body["cancelled"]), (200, &json!(0)));
    assert_eq!(
        broker.delete(&format!("{PUSHES}/nobody")).await.problem(),
        "unknown-device"
    );
    assert_eq!(
        broker.get(&format!("{PUSHES}/nobody")).await.problem(),
        "unknown-device"
    );
}

#[actix_web::test]
async fn a_check_in_closes_what_waited_and_brings_a_channel() {
    let broker = Broker::start().await;
    broker.register(&["d1"]).await;
    broker
        .post(PUSHES, &json!({ "devices": ["d1"], "goal": "check_in" }))
        .await;
    broker.clock.advance(SignedDuration::from_secs(60));
    let uri = "https://localhost:9443/channel/secret-of-d1";
    let body = json!({ "device": "d1", "at": "2026-03-01T12:00:30Z", "channel_uri": uri });
    let answer = broker.post(CHECK_INS, &body).await;
    insta::assert_json_snapshot!("post_check_in", answer.shape());
    let device = broker.get("/v1/tenants/contoso/devices/d1").await;
    assert_eq!(device.body["channel"]["host"], "localhost:9443");
    assert_eq!(device.body["last_check_in"], "2026-03-01T12:00:30Z");
    let push = broker.get(&format!("{PUSHES}/d1")).await;
    assert_eq!(push.body["asks"][0]["state"], "checked_in");
}

#[actix_web::test]
async fn check_ins_come_line_by_line_and_may_be_of_devices_that_nobody_named() {
    let broker = Broker::start().await;
    broker.register(&["d1"]).await;
    let lines = [
        "{\"device\":\"d1\"}",
        "{\"device\":\"nobody\"}",
        "{\"device\":\"new\",\"channel_uri\":\"https://localhost:9443/channel/2\"}",
        "{\"device\":\"d1\",\"at\":\"2026-03-01T12:00:40Z\"}",
        "{\"device\":\"d1\",\"channel_uri\":\"http://localhost:9443/\"}",
        "{\"device\":\"d1\",\"at\":\"noon\"}",
    ];
    let answer = broker.post_lines(CHECK_INS, lines.join("\n")).await;
    insta::assert_json_snapshot!("post_check_ins_lines", answer.shape());
    assert_eq!(
        broker
            .get("/v1/tenants/contoso/devices/nobody")
            .await
            .status,
        404
    );
    assert_eq!(
        broker.get("/v1/tenants/contoso/devices/new").await.status,
        200
    );
}

#[actix_web::test]
async fn a_console_that_is_overrun_asks_to_slow_down() {
    let broker = Broker::start().await;
    broker.register(&["d1"]).await;
    let body = json!({ "device": "d1", "slow_down": "60s" });
    let answer = broker.post(CHECK_INS, &body).await;
    assert_eq!(answer.body["slow_down_until"], "2026-03-01T12:01:00Z");
    let tenant = broker.get("/v1/tenants/contoso").await;
    assert_eq!(tenant.body["slow_down_until"], "2026-03-01T12:01:00Z");
    broker.clock.advance(SignedDuration::from_secs(60));
    let tenant = broker.get("/v1/tenants/contoso").await;
    assert_eq!(tenant.body["slow_down_until"], json!(null));
    for (wrong, why) in [("60", "60s"), ("2h", "from 0s to 1h"), ("3601s", "1h")] {
        let body = json!({ "device": "d1", "slow_down": wrong });
        let answer = broker.post(CHECK_INS, &body).await;
        assert_eq!(answer.status, 422, "{wrong}");
        assert_eq!(answer.body["errors"][0]["pointer"], "/slow_down");
        let detail = answer.body["errors"][0]["detail"].as_str().unwrap();
        assert!(detail.contains(why), "{detail}");
    }
}

#[actix_web::test]
async fn of_several_that_ask_to_slow_down_the_longest_counts_until_it_is_taken_back() {
    let broker = Broker::start().await;
    broker.register(&["d1"]).await;
    for (word, until) in [
        ("60s", json!("2026-03-01T12:01:00Z")),
        ("1s", json!("2026-03-01T12:01:00Z")),
        ("90s", json!("2026-03-01T12:01:30Z")),
        ("0s", json!(null)),
        ("1s", json!("2026-03-01T12:00:01Z")),
    ] {
        let body = json!({ "device": "d1", "slow_down": word });
        let answer = broker.post(CHECK_INS, &body).await;
        assert_eq!(answer.body["slow_down_until"], until, "{word}");
        let tenant = broker.get("/v1/tenants/contoso").await;
        assert_eq!(tenant.body["slow_down_until"], until, "{word}");
    }
}
