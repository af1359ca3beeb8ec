//! The token endpoints of both kinds, and what their tokens are good for.

use std::time::Duration;

use reveille::sandbox::{Period, SandboxConfig, TokenSettings};
use serde_json::{Value, json};

use crate::bench::{Bench, config, header};

#[tokio::test]
async fn tokens_are_issued_by_both_endpoints_and_last_until_revoked() {
    let bench = Bench::start(config(1));
    let credentials = bench.credentials();
    let classic = bench.token().await;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", &credentials.entra_client),
        ("client_secret", &credentials.secrets[0]),
        ("scope", "https://wns.windows.com/.default"),
    ];
    let reply = bench
        .client
        .post(&credentials.entra_token_url)
        .form(&form)
        .send()
        .await
        .unwrap();
    let reply: Value = reply.json().await.unwrap();
    assert_eq!(reply["token_type"], "Bearer");
    assert_eq!(reply["expires_in"], "86399");
    let entra = reply["access_token"].as_str().unwrap();

    assert_eq!(bench.push(1, &classic).await.0, 200);
    assert_eq!(bench.push(1, entra).await.0, 200);
    assert_eq!(bench.sandbox.revoke_tokens(), 2);
    let refused = bench
        .notification(&bench.uri(1), &classic)
        .send()
        .await
        .unwrap();

    assert_eq!(refused.status(), 401);
    assert_eq!(header(&refused, "WWW-Authenticate"), "Bearer");
    let fresh = bench.token().await;
    assert_eq!(bench.push(1, &fresh).await.0, 200);
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

/// Asks a token endpoint and returns the status code, the body, and `x-wlid-error`.
async fn ask(
    bench: &Bench,
    url: &str,
    [grant, id, secret, scope]: [&str; 4],
) -> (u16, Value, String) {
    let form = [
        ("grant_type", grant),
        ("client_id", id),
        ("client_secret", secret),
        ("scope", scope),
    ];
    let reply = bench.client.post(url).form(&form).send().await.unwrap();
    let (status, wlid) = (reply.status().as_u16(), header(&reply, "x-wlid-error"));
    (status, reply.json().await.unwrap_or(Value::Null), wlid)
}

/// Asks the classic endpoint with one of the fields replaced.
async fn ask_classic(bench: &Bench, field: usize, value: &str) -> (u16, Value, String) {
    let known = bench.credentials();
    let mut form = [
        "client_credentials",
        &known.package_sid,
        "sandbox-secret",
        "notify.windows.com",
    ];
    form[field] = value;
    ask(bench, &known.token_url, form).await
}

/// Asks the Entra endpoint with one of the fields replaced.
async fn ask_entra(bench: &Bench, field: usize, value: &str) -> (u16, Value, String) {
    let known = bench.credentials();
    let scope = "https://wns.windows.com/.default/";
    let mut form = [
        "client_credentials",
        &known.entra_client,
        "sandbox-secret",
        scope,
    ];
    form[field] = value;
    ask(bench, &known.entra_token_url, form).await
}

const GRANT: usize = 0;
const CLIENT: usize = 1;
const SECRET: usize = 2;
const SCOPE: usize = 3;

#[tokio::test]
async fn a_refused_classic_login_says_why_as_the_real_endpoint_does() {
    let bench = Bench::start(config(1));
    let sid = bench.credentials().package_sid;
    let bare = sid.trim_start_matches("ms-app://");
    for (field, value, error, wlid) in [
        (GRANT, "password", "unsupported_grant_type", ""),
        (CLIENT, bare, "invalid_client", "0x80045A78"),
        (
            CLIENT,
            "ms-app://S-1-15-2-1",
            "invalid_client",
            "0x80045A78",
        ),
        (SECRET, "guess", "invalid_client", "0x80045A78"),
        (SCOPE, "notify.windows.org", "invalid_scope", ""),
    ] {
        let (status, body, found) = ask_classic(&bench, field, value).await;
        assert_eq!(
            (status, &body["error"], found.as_str()),
            (400, &json!(error), wlid),
            "{value}"
        );
    }
    assert_eq!(bench.sandbox.ledger().tokens.refused, 5);
}

#[tokio::test]
async fn a_refused_entra_login_says_why_as_the_real_endpoint_does() {
    let bench = Bench::start(config(1));
    let nobody = "00000000-0000-0000-0000-000000000000";
    for (field, value, code, error, number) in [
        (CLIENT, nobody, 400, "unauthorized_client", 700_016),
        (SECRET, "guess", 401, "invalid_client", 7_000_215),
        (SCOPE, "notify.windows.com", 400, "invalid_scope", 70_011),
    ] {
        let (status, body, _) = ask_entra(&bench, field, value).await;
        assert_eq!((status, &body["error"]), (code, &json!(error)), "{value}");
        assert_eq!(body["error_codes"], json!([number]));
    }
    let elsewhere = format!(
        "https://{}/{nobody}/oauth2/v2.0/token",
        bench.sandbox.host()
    );
    let known = bench.credentials();
    let form = [
        "client_credentials",
        &known.entra_client,
        "sandbox-secret",
        "https://wns.windows.com/.default",
    ];
    let (status, body, _) = ask(&bench, &elsewhere, form).await;
    assert_eq!((status, &body["error_codes"]), (400, &json!([90_002])));
}

#[tokio::test]
async fn two_secrets_coexist_while_one_is_rotated() {
    let bench = Bench::start(config(1));
    let both = json!({"secrets": ["sandbox-secret", "n+w/="]});
    bench.control("PUT", "apps/contoso/secrets", both).await;
    assert_eq!(ask_classic(&bench, SECRET, "sandbox-secret").await.0, 200);
    assert_eq!(ask_classic(&bench, SECRET, "n+w/=").await.0, 200);

    let new = json!({"secrets": ["n+w/="]});
    bench.control("PUT", "apps/contoso/secrets", new).await;

    assert_eq!(ask_classic(&bench, SECRET, "sandbox-secret").await.0, 400);
    assert_eq!(ask_classic(&bench, SECRET, "n+w/=").await.0, 200);
}

#[tokio::test]
async fn the_token_endpoint_can_fail_in_every_known_way() {
    let bench = Bench::start(config(1));
    for (mode, code, error) in [
        ("no-longer-supported", 400, json!("invalid_request")),
        ("unauthorized-client", 400, json!("unauthorized_client")),
        ("unavailable", 503, Value::Null),
        ("html", 503, Value::Null),
        ("too-many-requests", 429, Value::Null),
    ] {
        bench
            .control("PATCH", "token-endpoint", json!({"mode": mode}))
            .await;
        let (status, body, _) = ask_classic(&bench, SECRET, "sandbox-secret").await;
        assert_eq!((status, &body["error"]), (code, &error), "{mode}");
    }
    let (status, ..) = ask_entra(&bench, SECRET, "sandbox-secret").await;
    assert_eq!(status, 429);
    bench
        .control("PATCH", "token-endpoint", json!({"mode": "reset"}))
        .await;
    let cut = bench
        .client
        .post(bench.credentials().token_url)
        .send()
        .await;
    assert!(cut.is_err());
    assert_eq!(bench.sandbox.ledger().tokens.unavailable, 5);
}

#[tokio::test]
async fn only_the_classic_endpoint_refuses_new_clients() {
    let bench = Bench::start(config(1));
    let mode = json!({"mode": "no-longer-supported"});
    bench.control("PATCH", "token-endpoint", mode).await;

    let (classic, body, _) = ask_classic(&bench, SECRET, "sandbox-secret").await;
    let (entra, ..) = ask_entra(&bench, SECRET, "sandbox-secret").await;

    assert_eq!((classic, entra), (400, 200));
    let description = body["error_description"].as_str().unwrap();
    assert!(description.contains("no longer supported"), "{description}");
}

#[tokio::test]
async fn expires_in_is_sent_in_every_form_that_clients_meet() {
    let bench = Bench::start(config(1));
    let documented = ask_classic(&bench, SECRET, "sandbox-secret").await.1;
    assert_eq!(documented["expires_in"], json!(86_400));
    for (form, classic, entra) in [
        ("absent", Value::Null, Value::Null),
        ("string", json!("86400"), json!("86399")),
        ("number", json!(86_400), json!(86_399)),
    ] {
        bench
            .control("PATCH", "token-endpoint", json!({"expires_in": form}))
            .await;
        let bodies = (
            ask_classic(&bench, SECRET, "sandbox-secret").await.1,
            ask_entra(&bench, SECRET, "sandbox-secret").await.1,
        );
        assert_eq!(
            (&bodies.0["expires_in"], &bodies.1["expires_in"]),
            (&classic, &entra),
            "{form}"
        );
    }
}
