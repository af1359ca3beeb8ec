//! Every reply on demand: for one device, for everybody, for a share.

use std::time::Duration;

use reveille::sandbox::{Behaviour, SandboxConfig};
use serde_json::{Value, json};

use crate::bench::{Bench, behaving, config, header, status_header};

#[tokio::test]
async fn a_device_plays_its_script_and_then_behaves_again() {
    let bench = Bench::start(config(2));
    let token = bench.token().await;
    let cases = [
        ("received", 200, "received"),
        ("dropped", 200, "dropped"),
        ("channelthrottled", 200, "channelthrottled"),
        ("200-no-status", 200, ""),
        ("unknown-status", 200, "teleported"),
        ("400", 400, ""),
        ("401", 401, ""),
        ("403", 403, "dropped"),
        ("404", 404, ""),
        ("405", 405, ""),
        ("406", 406, "appthrottled"),
        ("410", 410, ""),
        ("revoked", 410, "revoked"),
        ("413", 413, ""),
        ("418", 418, ""),
        ("429", 429, "appthrottled"),
        ("500", 500, ""),
        ("html", 503, ""),
        ("redirect", 307, ""),
        ("slow:1ms", 200, "received"),
    ];
    let steps: Vec<_> = cases.iter().map(|case| case.0).collect();
    let set = bench
        .control("PUT", "devices/device-0000001/script", json!(steps))
        .await;
    assert_eq!(set["steps"].as_array().unwrap().len(), cases.len());

    assert_eq!(bench.push(2, &token).await, (200, "received".to_owned()));
    for (step, code, status) in cases {
        assert_eq!(
            bench.push(1, &token).await,
            (code, status.to_owned()),
            "{step}"
        );
    }
    assert_eq!(bench.push(1, &token).await, (200, "received".to_owned()));

    let device = bench.device(1);
    assert_eq!(device.arrived, cases.len() as u32 + 1);
    assert_eq!(
        device.accepted, 5,
        "received, no status, unknown status, slow, and the last one"
    );
}

#[tokio::test]
async fn a_step_carries_the_headers_that_it_names() {
    let bench = Bench::start(config(1));
    let (token, uri) = (bench.token().await, bench.uri(1));
    let steps = json!({"steps": [
        "503:retry-after=2", "503:retry-after-date=30s", "channelthrottled:continue-after=60",
        "410:description=Domain Blocked;status=revoked", "redirect", "blocked",
    ]});
    bench
        .control("PUT", "devices/device-0000001/script", steps)
        .await;
    let mut replies = Vec::new();
    for _ in 0..6 {
        replies.push(bench.notification(&uri, &token).send().await.unwrap());
    }

    assert_eq!(header(&replies[0], "Retry-After"), "2");
    let date = header(&replies[1], "Retry-After");
    assert!(
        date.ends_with(" GMT") && date.len() == "Sun, 06 Nov 1994 08:49:37 GMT".len(),
        "{date}"
    );
    assert_eq!(header(&replies[2], "X-WNS-CONTINUE-AFTER"), "60");
    assert_eq!(
        header(&replies[3], "X-WNS-Error-Description"),
        "Domain Blocked"
    );
    assert_eq!(status_header(&replies[3]), "revoked");
    let target = header(&replies[4], "Location");
    assert!(header(&replies[5], "X-WNS-Error-Description").contains("Blocked"));
    bench.client.get(target).send().await.unwrap();
    assert_eq!(bench.sandbox.ledger().violations["followed_redirect"], 1);
}

#[tokio::test]
async fn a_reset_cuts_the_connection_and_a_timeout_never_answers_over_both_versions_of_http() {
    for http1 in [true, false] {
        let bench = Bench::start_with(config(1), |client| {
            let client = client.timeout(Duration::from_millis(1500));
            if http1 { client.http1_only() } else { client }
        });
        let (token, uri) = (bench.token().await, bench.uri(1));
        bench
            .control(
                "PUT",
                "devices/device-0000001/script",
                json!(["reset", "timeout"]),
            )
            .await;

        let reset = bench.notification(&uri, &token).send().await.unwrap_err();
        let timeout = bench.notification(&uri, &token).send().await.unwrap_err();

        assert!(!reset.is_timeout(), "{reset:?}");
        assert!(timeout.is_timeout(), "{timeout:?}");
        assert_eq!(bench.push(1, &token).await.0, 200);
        let replies = bench.sandbox.ledger().replies;
        assert_eq!(
            (replies["reset"], replies["timeout"], replies["received"]),
            (1, 1, 1)
        );
    }
}

#[tokio::test]
async fn a_script_for_everybody_lasts_as_many_requests_as_it_says() {
    let apps = ["contoso", "fabrikam"].map(|text| text.parse().unwrap());
    let bench = Bench::start(SandboxConfig {
        apps: apps.to_vec(),
        ..config(3)
    });
    let token = bench.token().await;
    bench
        .control("POST", "script", json!({"reply": "500", "requests": 2}))
        .await;
    bench
        .control(
            "POST",
            "script",
            json!({"reply": "410", "requests": 9, "app": "fabrikam"}),
        )
        .await;
    bench
        .control(
            "POST",
            "script",
            json!({"reply": "503:retry-after=1", "for": "1h"}),
        )
        .await;

    let codes = [
        bench.push(1, &token).await.0,
        bench.push(2, &token).await.0,
        bench.push(3, &token).await.0,
    ];
    let cleared = bench.control("DELETE", "script", Value::Null).await;

    assert_eq!(codes, [500, 500, 503]);
    assert_eq!(cleared, json!({"entries": 0}));
    assert_eq!(bench.push(1, &token).await.0, 200);
}

#[tokio::test]
async fn shares_of_replies_are_the_same_for_the_same_seed() {
    let behaviour = || Behaviour {
        replies: vec![
            "503=30%".parse().unwrap(),
            "channelthrottled=30%".parse().unwrap(),
        ],
        ..Behaviour::default()
    };
    let mut runs = Vec::new();
    for _ in 0..2 {
        let bench = Bench::start(behaving(60, behaviour()));
        let token = bench.token().await;
        let mut replies = Vec::new();
        for number in 1..=60 {
            replies.push(bench.push(number, &token).await);
        }
        runs.push(replies);
    }

    assert_eq!(runs[0], runs[1]);
    for (code, status, range) in [
        (503, "", 8..30),
        (200, "channelthrottled", 8..30),
        (200, "received", 12..36),
    ] {
        let count = runs[0]
            .iter()
            .filter(|reply| **reply == (code, status.to_owned()))
            .count();
        assert!(range.contains(&count), "{code} {status}: {count}");
    }
}
