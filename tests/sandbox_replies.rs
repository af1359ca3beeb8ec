//! Every reply of the sandbox on demand: by script, by share, by ceiling, by the state of a device.

mod sandbox_support;

use std::time::Duration;

use reveille::sandbox::{
    AppCeiling, Behaviour, Period, SandboxConfig, Share, StatusHeaders, TokenSettings,
};
use sandbox_support::{APP, Bench, config, header, status_header};
use serde_json::{Value, json};

fn behaving(devices: u32, behaviour: Behaviour) -> SandboxConfig {
    SandboxConfig {
        behaviour,
        ..config(devices)
    }
}

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

#[tokio::test]
async fn the_status_header_has_the_spelling_that_was_asked_for() {
    for (spelling, new, old) in [
        (StatusHeaders::Status, "received", ""),
        (StatusHeaders::NotificationStatus, "", "received"),
        (StatusHeaders::None, "", ""),
    ] {
        let bench = Bench::start(behaving(
            1,
            Behaviour {
                status_headers: spelling,
                ..Behaviour::default()
            },
        ));
        let token = bench.token().await;
        let reply = bench
            .notification(&bench.uri(1), &token)
            .send()
            .await
            .unwrap();
        assert_eq!(header(&reply, "X-WNS-Status"), new);
        assert_eq!(header(&reply, "X-WNS-NotificationStatus"), old);
    }
}

/// Asks a token endpoint and returns the status code, the body, and `x-wlid-error`.
async fn ask(bench: &Bench, url: &str, form: &[(&str, &str); 4]) -> (u16, Value, String) {
    let reply = bench.client.post(url).form(form).send().await.unwrap();
    let (status, wlid) = (reply.status().as_u16(), header(&reply, "x-wlid-error"));
    (status, reply.json().await.unwrap_or(Value::Null), wlid)
}

#[tokio::test]
async fn a_refused_login_says_why_as_the_real_endpoints_do() {
    let bench = Bench::start(config(1));
    let known = bench.credentials();
    let good = [
        "client_credentials",
        &known.package_sid,
        "sandbox-secret",
        "notify.windows.com",
    ];
    let cases = [
        (0, "password", 400, "unsupported_grant_type", ""),
        (
            1,
            known.package_sid.trim_start_matches("ms-app://"),
            400,
            "invalid_client",
            "0x80045A78",
        ),
        (
            1,
            "ms-app://S-1-15-2-1",
            400,
            "invalid_client",
            "0x80045A78",
        ),
        (2, "guess", 400, "invalid_client", "0x80045A78"),
        (3, "notify.windows.org", 400, "invalid_scope", ""),
    ];
    for (field, value, code, error, wlid) in cases {
        let mut given = good;
        given[field] = value;
        let form = [
            ("grant_type", given[0]),
            ("client_id", given[1]),
            ("client_secret", given[2]),
            ("scope", given[3]),
        ];
        let (status, body, found) = ask(&bench, &known.token_url, &form).await;
        assert_eq!(
            (status, body["error"].as_str().unwrap(), found.as_str()),
            (code, error, wlid),
            "{value}"
        );
    }
    let entra = [
        "client_credentials",
        &known.entra_client,
        "sandbox-secret",
        "https://wns.windows.com/.default/",
    ];
    for (field, value, code, error, number) in [
        (
            1,
            "00000000-0000-0000-0000-000000000000",
            400,
            "unauthorized_client",
            700_016,
        ),
        (2, "guess", 401, "invalid_client", 7_000_215),
        (3, "notify.windows.com", 400, "invalid_scope", 70_011),
    ] {
        let mut given = entra;
        given[field] = value;
        let form = [
            ("grant_type", given[0]),
            ("client_id", given[1]),
            ("client_secret", given[2]),
            ("scope", given[3]),
        ];
        let (status, body, _) = ask(&bench, &known.entra_token_url, &form).await;
        assert_eq!(
            (status, body["error"].as_str().unwrap()),
            (code, error),
            "{value}"
        );
        assert_eq!(body["error_codes"], json!([number]));
    }
    assert_eq!(bench.sandbox.ledger().tokens.refused, 8);
}

#[tokio::test]
async fn two_secrets_coexist_while_one_is_rotated() {
    let bench = Bench::start(config(1));
    let known = bench.credentials();
    let form = |secret| {
        [
            ("grant_type", "client_credentials"),
            ("client_id", known.package_sid.as_str()),
            ("client_secret", secret),
            ("scope", "notify.windows.com"),
        ]
    };
    bench
        .control(
            "PUT",
            "apps/contoso/secrets",
            json!({"secrets": ["sandbox-secret", "n+w/="]}),
        )
        .await;
    assert_eq!(
        ask(&bench, &known.token_url, &form("sandbox-secret"))
            .await
            .0,
        200
    );
    assert_eq!(ask(&bench, &known.token_url, &form("n+w/=")).await.0, 200);

    bench
        .control("PUT", "apps/contoso/secrets", json!({"secrets": ["n+w/="]}))
        .await;

    assert_eq!(
        ask(&bench, &known.token_url, &form("sandbox-secret"))
            .await
            .0,
        400
    );
    assert_eq!(ask(&bench, &known.token_url, &form("n+w/=")).await.0, 200);
}

#[tokio::test]
async fn the_token_endpoint_can_fail_in_every_known_way() {
    let bench = Bench::start(config(1));
    let known = bench.credentials();
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", known.package_sid.as_str()),
        ("client_secret", "sandbox-secret"),
        ("scope", "notify.windows.com"),
    ];
    for (mode, code, error) in [
        ("no-longer-supported", 400, "invalid_request"),
        ("unauthorized-client", 400, "unauthorized_client"),
        ("unavailable", 503, ""),
        ("html", 503, ""),
        ("too-many-requests", 429, ""),
    ] {
        bench
            .control("PATCH", "token-endpoint", json!({"mode": mode}))
            .await;
        let (status, body, _) = ask(&bench, &known.token_url, &form).await;
        assert_eq!(
            (status, body["error"].as_str().unwrap_or_default()),
            (code, error),
            "{mode}"
        );
    }
    bench
        .control("PATCH", "token-endpoint", json!({"mode": "reset"}))
        .await;
    assert!(
        bench
            .client
            .post(&known.token_url)
            .form(&form)
            .send()
            .await
            .is_err()
    );
    for (expires_in, expected) in [
        ("absent", Value::Null),
        ("string", json!("86400")),
        ("number", json!(86_400)),
    ] {
        bench
            .control(
                "PATCH",
                "token-endpoint",
                json!({"mode": "normal", "expires_in": expires_in}),
            )
            .await;
        let (status, body, _) = ask(&bench, &known.token_url, &form).await;
        assert_eq!((status, &body["expires_in"]), (200, &expected));
    }
}

#[tokio::test]
async fn a_token_that_has_expired_is_401() {
    let tokens = TokenSettings {
        lifetime: Period(Duration::ZERO),
        ..TokenSettings::default()
    };
    let bench = Bench::start(SandboxConfig {
        tokens,
        ..config(1)
    });
    let token = bench.token().await;

    assert_eq!(bench.push(1, &token).await.0, 401);
    assert_eq!(bench.device(1).arrived, 0);
}

#[tokio::test]
async fn connections_can_be_closed_gently_and_abruptly() {
    let bench = Bench::start_with(config(1), reqwest::ClientBuilder::http1_only);
    let token = bench.token().await;
    for abrupt in [false, true] {
        bench.push(1, &token).await;
        let before = bench.sandbox.ledger().connections.http1;
        // The call itself travels on a connection that is closed: abruptly, it may go unanswered.
        let url = format!(
            "https://{}/sandbox/v1/connections/close",
            bench.sandbox.host()
        );
        let body = json!({"abrupt": abrupt});
        drop(bench.client.post(url).json(&body).send().await);
        assert_eq!(bench.push(1, &token).await.0, 200);
        assert!(bench.sandbox.ledger().connections.http1 > before);
    }
}

#[tokio::test]
async fn mistaken_control_calls_say_what_is_wrong() {
    let bench = Bench::start(config(1));
    for (method, path, body, code, detail) in [
        (
            "GET",
            "nothing",
            Value::Null,
            404,
            "there is no call GET /sandbox/v1/nothing",
        ),
        (
            "PUT",
            "devices/device-0000002/script",
            json!([]),
            404,
            "no device \"device-0000002\"",
        ),
        (
            "PUT",
            "devices/device-1/script",
            json!([]),
            404,
            "no device",
        ),
        (
            "PUT",
            "devices/device-0000001/script",
            json!(["recieved"]),
            400,
            "unknown kind \"recieved\"",
        ),
        (
            "PATCH",
            "behaviour",
            json!({"latensy": "1s"}),
            400,
            "latensy",
        ),
        (
            "PATCH",
            "behaviour",
            json!({"replies": [{"share": "90%", "reply": "500"}, {"share": "20%", "reply": "410"}]}),
            400,
            "at most 100%",
        ),
        (
            "POST",
            "script",
            json!({"reply": "500", "requests": 1, "for": "1s"}),
            400,
            "not both",
        ),
        (
            "GET",
            "channels?app=nobody",
            Value::Null,
            404,
            "no app \"nobody\"",
        ),
        ("GET", "channels?from=0", Value::Null, 400, "from 1"),
    ] {
        let reply = bench.control_raw(method, path, body).await;
        assert_eq!(reply.status(), code, "{method} {path}");
        assert_eq!(header(&reply, "content-type"), "application/problem+json");
        let problem: Value = reply.json().await.unwrap();
        assert!(
            problem["detail"].as_str().unwrap().contains(detail),
            "{problem}"
        );
    }
}

#[tokio::test]
async fn the_authority_and_the_apps_are_told() {
    let bench = Bench::start(config(4));
    let pem = bench
        .control_raw("GET", "ca.pem", Value::Null)
        .await
        .text()
        .await
        .unwrap();
    let apps = bench.control("GET", "apps", Value::Null).await;

    assert_eq!(pem, bench.sandbox.ca_pem());
    assert_eq!(apps[0]["app"], APP);
    assert_eq!(apps[0]["devices"], 4);
    assert_eq!(apps[0]["token_url"], bench.credentials().token_url);
}
