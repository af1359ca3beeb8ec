//! Campaigns as consoles see them; how they run is tested elsewhere.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Broker};

const ALL: &str = "/v1/tenants/contoso/campaigns";

async fn made(broker: &Broker, body: Value) -> String {
    let answer = broker.post(ALL, &body).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    answer.body["id"].as_str().unwrap().to_owned()
}

fn one(id: &str) -> String {
    format!("{ALL}/{id}")
}

#[actix_web::test]
async fn a_campaign_is_made_with_its_targets_and_shown_whole() {
    let broker = Broker::start().await;
    broker.register(&["d1", "d2"]).await;
    let body = json!({
        "name": "revoke CA 7", "reason": "revoked", "priority": "bulk", "goal": "check_in", "expires_in": "12h",
        "pace": {"per_second": 500, "open_sessions_max": 2000},
        "waves": ["1%", 1000, {"size": "100%", "hold": "1h"}],
        "gate": {"hold": "30m", "checked_in_min": "60%", "errors_max": "5%"},
        "targets": ["d1", "stranger", "d2"],
    });

    let answer = broker.post(ALL, &body).await;

    assert_eq!(answer.status, 201);
    let id = answer.body["id"].as_str().unwrap();
    assert_eq!(answer.header("location"), one(id));
    assert_eq!(answer.body["unknown"], 1);
    assert_eq!(answer.body["errors"][0]["pointer"], "/targets/1");
    let mut shown = broker.get(&one(id)).await.body;
    shown["id"] = "…".into();
    insta::assert_json_snapshot!(shown);
}

#[actix_web::test]
async fn what_is_wrong_with_a_campaign_is_told_by_its_place() {
    let broker = Broker::start().await;
    let cases = [
        (json!({}), 400, None),
        (json!({"name": "x", "colour": "red"}), 400, None),
        (json!({"name": ""}), 422, Some("/name")),
        (
            json!({"name": "x", "expires_in": "31d"}),
            422,
            Some("/expires_in"),
        ),
        (
            json!({"name": "x", "expires_in": "soon"}),
            422,
            Some("/expires_in"),
        ),
        (
            json!({"name": "x", "expires_in": "1h", "deadline": "2026-03-02T00:00:00Z"}),
            422,
            Some("/expires_in"),
        ),
        (
            json!({"name": "x", "deadline": "2026-02-01T00:00:00Z"}),
            422,
            Some("/deadline"),
        ),
        (
            json!({"name": "x", "targets": "some"}),
            422,
            Some("/targets"),
        ),
        (
            json!({"name": "x", "targets": ["d1", "d/2"]}),
            422,
            Some("/targets/1"),
        ),
        (
            json!({"name": "x", "targets": "all", "targets_from": {"campaign": "c", "state": "expired"}}),
            422,
            Some("/targets_from"),
        ),
        (
            json!({"name": "x", "targets_from": {"campaign": "nobody", "state": "expired"}}),
            422,
            Some("/targets_from/campaign"),
        ),
        (
            json!({"name": "x", "waves": ["5%", "5%"]}),
            422,
            Some("/waves"),
        ),
        (
            json!({"name": "x", "waves": [{"size": "5%", "hold": "x"}]}),
            422,
            Some("/waves/0/hold"),
        ),
        (
            json!({"name": "x", "gate": {"errors_max": "200%"}}),
            422,
            Some("/gate/errors_max"),
        ),
        (
            json!({"name": "x", "gate": {"hold": "1m"}}),
            422,
            Some("/gate"),
        ),
        (
            json!({"name": "x", "pace": {"per_second": 0}}),
            422,
            Some("/pace/per_second"),
        ),
        (json!({"name": "x\u{1b}[2J"}), 422, Some("/name")),
        (json!({"name": "x\ny"}), 422, Some("/name")),
        (
            json!({"name": "x", "reason": "\u{9b}31m"}),
            422,
            Some("/reason"),
        ),
        (
            json!({"name": "x", "pace": {"open_sessions_max": 5}}),
            422,
            Some("/pace/open_sessions_max"),
        ),
    ];
    for (body, status, pointer) in cases {
        let answer = broker.post(ALL, &body).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.body);
        if let Some(pointer) = pointer {
            assert_eq!(answer.body["errors"][0]["pointer"], pointer, "{body}");
        }
    }
    assert_eq!(broker.get(ALL).await.body["items"], json!([]));
}

#[actix_web::test]
async fn targets_stream_into_a_draft_and_bad_lines_do_not_stop_the_others() {
    let broker = Broker::start().await;
    broker.register(&["d1", "d2", "d3"]).await;
    let id = made(&broker, json!({"name": "x"})).await;
    let lines = "{\"device\":\"d1\"}\nnonsense\n{\"device\":\"d2\"}\n{\"device\":\"d1\"}\n{\"device\":\"stranger\"}\n";

    let answer = broker
        .post_lines(&format!("{}/targets", one(&id)), lines)
        .await;

    assert_eq!(answer.status, 200);
    let counts =
        ["added", "repeated", "unknown", "refused"].map(|n| answer.body[n].as_u64().unwrap());
    assert_eq!(counts, [2, 1, 1, 1]);
    let numbers: Vec<u64> = answer.body["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["line"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [2, 5]);
    let known = broker
        .post_lines(
            &format!("{}/targets?register_unknown=true", one(&id)),
            "{\"device\":\"stranger\"}\n",
        )
        .await;
    assert_eq!(known.body["added"], 1);
    assert_eq!(broker.get(&one(&id)).await.body["counts"]["waiting"], 3);
}

#[actix_web::test]
async fn a_campaign_goes_through_its_states_and_refuses_what_does_not_fit() {
    let broker = Broker::start().await;
    broker.register(&["d1"]).await;
    let id = made(&broker, json!({"name": "x", "targets": ["d1"]})).await;
    let act = async |verb: &str| {
        let answer = broker
            .post(&format!("{}/{verb}", one(&id)), &json!({}))
            .await;
        (
            answer.status,
            answer.body["state"].as_str().unwrap_or_default().to_owned(),
        )
    };
    let ok = |state: &str| (200, state.to_owned());

    assert_eq!(act("pause").await.0, 409);
    assert_eq!(act("start").await, ok("running"));
    assert_eq!(act("start").await, ok("running"));
    let late = broker
        .post_lines(&format!("{}/targets", one(&id)), "{\"device\":\"d1\"}\n")
        .await;
    assert_eq!((late.status, late.problem()), (409, "conflict"));
    assert_eq!(act("pause").await, ok("paused"));
    assert_eq!(act("start").await.0, 409);
    assert_eq!(act("resume").await, ok("running"));
    assert_eq!(broker.delete(&one(&id)).await.status, 409);
    assert_eq!(act("cancel").await, ok("cancelled"));
    assert_eq!(act("resume").await.0, 409);

    let kinds: Vec<Value> = broker
        .events()
        .await
        .into_iter()
        .map(|e| e["type"].clone())
        .collect();
    let told: Vec<&str> = kinds
        .iter()
        .filter_map(Value::as_str)
        .filter(|k| k.starts_with("campaign."))
        .collect();
    assert_eq!(
        told,
        [
            "campaign.started",
            "campaign.paused",
            "campaign.resumed",
            "campaign.cancelled"
        ]
    );
}

#[actix_web::test]
async fn the_pace_changes_at_once_and_a_wrong_one_is_refused() {
    let broker = Broker::start().await;
    let id = made(&broker, json!({"name": "x", "goal": "check_in"})).await;
    let path = format!("{}/pace", one(&id));

    let set = broker
        .put(&path, &json!({"per_second": 2.5, "open_sessions_max": 7}))
        .await;
    assert_eq!(
        set.body["pace"],
        json!({"per_second": 2.5, "open_sessions_max": 7})
    );
    let wrong = broker.put(&path, &json!({"per_second": -1})).await;
    assert_eq!(
        (wrong.status, wrong.body["errors"][0]["pointer"].as_str()),
        (422, Some("/pace/per_second"))
    );
}

#[actix_web::test]
async fn targets_are_listed_as_pages_as_lines_and_as_csv() {
    let broker = Broker::start().await;
    let devices: Vec<String> = (0..250).map(|n| format!("d{n:03}")).collect();
    let names: Vec<&str> = devices.iter().map(String::as_str).collect();
    broker.register(&names).await;
    let id = made(&broker, json!({"name": "x", "targets": devices})).await;
    let path = format!("{}/targets", one(&id));

    let first = broker
        .get(&format!("{path}?state=waiting&limit=100"))
        .await
        .body;
    let cursor = first["next_cursor"].as_str().unwrap();
    assert_eq!(first["items"].as_array().unwrap().len(), 100);
    assert_eq!(first["items"][0]["state"], "waiting");
    let second = broker
        .get(&format!("{path}?state=waiting&limit=100&cursor={cursor}"))
        .await
        .body;
    assert_ne!(first["items"][0], second["items"][0]);

    let lines = Answer::of(
        broker
            .request(Method::GET, &path)
            .header("accept", "application/x-ndjson"),
    )
    .await;
    assert_eq!(lines.lines().len(), 250);
    let csv = broker
        .request(Method::GET, &format!("{path}?format=csv"))
        .send()
        .await
        .unwrap();
    assert_eq!(csv.headers()["content-type"], "text/csv; charset=utf-8");
    let csv = csv.text().await.unwrap();
    assert_eq!(csv.lines().count(), 251);
    assert!(csv.starts_with("device,state,reason,attempts,"));
    assert!(csv.contains("\r\nd042,waiting,,0,"));

    let none = broker
        .request(Method::GET, &format!("{path}?state=expired&format=csv"))
        .send()
        .await
        .unwrap();
    assert_eq!(none.text().await.unwrap().lines().count(), 1);
    assert_eq!(
        broker.get(&format!("{path}?state=asleep")).await.status,
        400
    );
}

#[actix_web::test]
async fn a_dry_run_a_list_and_a_delete() {
    let broker = Broker::start().await;
    broker.register(&["d1", "d2"]).await;
    let id = made(
        &broker,
        json!({"name": "x", "targets": "all", "pace": {"per_second": 1}}),
    )
    .await;

    let run = broker
        .post(&format!("{}/dry-run", one(&id)), &json!({}))
        .await
        .body;
    assert_eq!(
        (&run["targets"], &run["reachable"], &run["takes"]),
        (&json!(2), &json!(2), &json!("2s"))
    );
    assert_eq!(run["channels"]["live"], 2);
    assert_eq!(
        (&run["released_in_time"], &run["too_late"], &run["notes"]),
        (&json!(2), &json!(0), &json!([]))
    );

    let held = made(
        &broker,
        json!({
            "name": "x", "targets": "all", "expires_in": "1h", "goal": "check_in",
            "pace": {"per_second": 1, "open_sessions_max": 5}, "waves": [1], "gate": {"hold": "2h"}
        }),
    )
    .await;
    let run = broker
        .post(&format!("{}/dry-run", one(&held)), &json!({}))
        .await
        .body;
    assert_eq!(
        (&run["takes"], &run["reachable_in_time"], &run["too_late"]),
        (&json!("2h2s"), &json!(1), &json!(1))
    );
    let notes: Vec<&str> = run["notes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|n| n.as_str().unwrap())
        .collect();
    assert!(
        notes[0].starts_with("1 of 2 targets would not be released"),
        "{notes:?}"
    );
    assert!(
        notes[1].starts_with("1 gate holds it up for 2h"),
        "{notes:?}"
    );
    assert!(
        notes[2].starts_with("at most 5 targets") && notes[2].ends_with("in 2h2s"),
        "{notes:?}"
    );
    assert_eq!(broker.delete(&one(&held)).await.status, 204);

    assert_eq!(broker.get(ALL).await.body["items"][0]["id"], id.as_str());
    assert_eq!(broker.delete(&one(&id)).await.status, 204);
    let gone = broker.get(&one(&id)).await;
    assert_eq!((gone.status, gone.problem()), (404, "unknown-campaign"));
}
