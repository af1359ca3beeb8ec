//! What is answered without a script: ceilings, the one cached notification, dead channels.

use reveille::sandbox::{AppCeiling, Behaviour, SandboxConfig, Share};
use serde_json::{Value, json};

use crate::bench::{APP, Bench, behaving, config, header, status_header};

#[tokio::test]
async fn an_app_above_its_ceiling_is_punished_as_a_whole_and_others_are_not() {
    let apps = ["contoso", "id=fabrikam,secret=sandbox-secret"].map(|text| text.parse().unwrap());
    let ceiling = AppCeiling {
        per_second: 0.001,
        burst: Some(5),
        ..AppCeiling::default()
    };
    let behaviour = Behaviour {
        app_ceiling: Some(ceiling),
        ..Behaviour::default()
    };
    let bench = Bench::start(SandboxConfig {
        apps: apps.to_vec(),
        ..behaving(9, behaviour)
    });
    let token = bench.token().await;

    let mut codes = Vec::new();
    for number in 1..=7 {
        codes.push(bench.push(number, &token).await.0);
    }
    let refused = bench
        .notification(&bench.uri(8), &token)
        .send()
        .await
        .unwrap();

    assert_eq!(codes, [200, 200, 200, 200, 200, 406, 406]);
    let retry_after: u32 = header(&refused, "Retry-After").parse().unwrap();
    assert!((800..=900).contains(&retry_after), "{retry_after}");
    assert_eq!(status_header(&refused), "appthrottled");
    let ledger = bench.sandbox.ledger();
    let apps: Vec<_> = ledger
        .apps
        .iter()
        .map(|app| (app.requests, app.penalties, app.during_penalty))
        .collect();
    assert_eq!(apps, [(8, 1, 2), (0, 0, 0)]);
    assert!(ledger.apps[0].throttled_until.is_some() && ledger.apps[1].throttled_until.is_none());
    bench
        .control("DELETE", "apps/contoso/penalty", Value::Null)
        .await;
    assert_eq!(bench.push(9, &token).await.0, 200);
}

#[tokio::test]
async fn a_penalty_can_be_imposed_and_answered_with_429_and_a_date() {
    let bench = Bench::start(config(1));
    let token = bench.token().await;
    let ceiling =
        json!({"app_ceiling": {"per_second": 1000, "status": 429, "retry_after": "date"}});
    bench.control("PATCH", "behaviour", ceiling).await;
    bench
        .control("PUT", &format!("apps/{APP}/penalty"), json!({"for": "10m"}))
        .await;

    let reply = bench
        .notification(&bench.uri(1), &token)
        .send()
        .await
        .unwrap();

    assert_eq!(reply.status(), 429);
    assert!(header(&reply, "Retry-After").ends_with("GMT"));
    assert!(header(&reply, "X-WNS-Error-Description").starts_with("App is throttled."));
}

#[tokio::test]
async fn a_channel_above_its_ceiling_is_throttled_alone() {
    let behaviour = Behaviour {
        channel_ceiling: Some("2/1h".parse().unwrap()),
        continue_after: Some("10m".parse().unwrap()),
        ..Behaviour::default()
    };
    let bench = Bench::start(behaving(2, behaviour));
    let token = bench.token().await;
    for _ in 0..2 {
        assert_eq!(bench.push(1, &token).await.1, "received");
    }

    let third = bench
        .notification(&bench.uri(1), &token)
        .send()
        .await
        .unwrap();

    assert_eq!(
        (third.status().as_u16(), status_header(&third).as_str()),
        (200, "channelthrottled")
    );
    assert_eq!(header(&third, "X-WNS-CONTINUE-AFTER"), "600");
    assert_eq!(bench.push(2, &token).await.1, "received");
    assert_eq!(bench.device(1).accepted, 2);
}

#[tokio::test]
async fn one_notification_waits_for_a_device_that_is_offline() {
    let bench = Bench::start(behaving(
        1,
        Behaviour {
            offline: Share::ALL,
            ..Behaviour::default()
        },
    ));
    let token = bench.token().await;
    for _ in 0..3 {
        let reply = bench
            .notification(&bench.uri(1), &token)
            .send()
            .await
            .unwrap();
        assert_eq!(
            (reply.status().as_u16(), status_header(&reply).as_str()),
            (200, "received")
        );
        assert_eq!(
            header(&reply, "X-WNS-DeviceConnectionStatus"),
            "disconnected"
        );
    }
    assert_eq!(
        (bench.device(1).cached, bench.device(1).online),
        (true, false)
    );

    let online = bench
        .control("PATCH", "devices/device-0000001", json!({"online": true}))
        .await;

    assert_eq!(
        (&online["online"], &online["cached"]),
        (&json!(true), &json!(false))
    );
    let ledger = bench.sandbox.ledger();
    assert_eq!((ledger.replies["cached"], ledger.delivered_late), (3, 1));
    let reply = bench
        .notification(&bench.uri(1), &token)
        .send()
        .await
        .unwrap();
    assert_eq!(header(&reply, "X-WNS-DeviceConnectionStatus"), "connected");
}

#[tokio::test]
async fn without_the_cache_a_notification_for_an_offline_device_is_dropped() {
    let bench = Bench::start(config(1));
    let token = bench.token().await;
    bench
        .control("PATCH", "devices/device-0000001", json!({"online": false}))
        .await;
    let mut request = bench.notification(&bench.uri(1), &token).build().unwrap();
    request
        .headers_mut()
        .insert("x-wns-cache-policy", "no-cache".parse().unwrap());

    let reply = bench.client.execute(request).await.unwrap();

    assert_eq!(
        (reply.status().as_u16(), status_header(&reply).as_str()),
        (200, "dropped")
    );
    assert_eq!(
        header(&reply, "X-WNS-Error-Description"),
        "Device is offline and X-WNS-Cache-Policy is no-cache"
    );
    assert_eq!(bench.device(1).accepted, 0);
    bench
        .control("PATCH", "devices/device-0000001", json!({"online": true}))
        .await;
    assert_eq!(bench.sandbox.ledger().delivered_late, 0);
}

#[tokio::test]
async fn dead_channels_answer_404_or_410_and_a_new_one_is_alive() {
    let bench = Bench::start(behaving(
        40,
        Behaviour {
            dead: Share::ALL,
            ..Behaviour::default()
        },
    ));
    let token = bench.token().await;
    let mut codes = Vec::new();
    for number in 1..=40 {
        codes.push(bench.push(number, &token).await.0);
    }
    assert!(codes.iter().all(|code| [404, 410].contains(code)));
    assert!(codes.contains(&404) && codes.contains(&410));

    let old = bench.uri(1);
    let renewed = bench
        .control(
            "PATCH",
            "devices/device-0000001",
            json!({"channel": "renewed"}),
        )
        .await;

    let new = renewed["uri"].as_str().unwrap();
    assert_ne!(new, old);
    assert_eq!(
        bench
            .notification(new, &token)
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    assert_eq!(
        bench
            .notification(&old, &token)
            .send()
            .await
            .unwrap()
            .status(),
        codes[0]
    );
}

#[tokio::test]
async fn a_channel_can_be_killed_and_one_that_was_never_issued_is_unknown() {
    let (bench, twin) = (Bench::start(config(2)), Bench::start(config(2)));
    let token = bench.token().await;
    bench
        .control(
            "PATCH",
            "devices/device-0000001",
            json!({"channel": "gone"}),
        )
        .await;
    bench
        .control(
            "PATCH",
            "devices/device-0000002",
            json!({"channel": "not-found"}),
        )
        .await;
    let future = twin
        .control(
            "PATCH",
            "devices/device-0000001",
            json!({"channel": "renewed"}),
        )
        .await;
    let future = future["uri"]
        .as_str()
        .unwrap()
        .replace(&twin.sandbox.host(), &bench.sandbox.host());

    assert_eq!(bench.push(1, &token).await.0, 410);
    assert_eq!(bench.push(2, &token).await.0, 404);
    assert_eq!(
        bench
            .notification(&future, &token)
            .send()
            .await
            .unwrap()
            .status(),
        404
    );
    bench.control("POST", "devices/reset", Value::Null).await;
    assert_eq!(bench.push(1, &token).await.0, 200);
}
