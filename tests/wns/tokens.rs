//! Asking a token endpoint.

use std::sync::Arc;

use reveille::{
    adapters::{
        clock::SystemClock,
        wns::{HttpClients, HttpConfig, token_source::HttpTokenSource},
    },
    domain::{
        identity::PackageSid,
        wns::{
            reply::UnavailableKind,
            token::{TokenFailure, TokenOutage, TokenRequest},
        },
    },
    ports::wns::TokenSource,
};
use secrecy::SecretString;

use crate::server::{Arrived, Reply, Server, answer};

const SID: &str = "ms-app://S-1-15-2-1-2-3-4-5-6-7";

fn source(server: &Server, secrets: &'static [&'static str]) -> HttpTokenSource {
    let url = format!("http://{}/accesstoken.srf", server.address);
    let request = move |secret: &&str| {
        let sid = PackageSid::parse(SID).unwrap();
        TokenRequest::classic(&sid, &SecretString::from(*secret)).at(&url)
    };
    let requests = move || secrets.iter().map(&request).collect();
    let clients = HttpClients::new(HttpConfig::default()).unwrap();
    HttpTokenSource::new(&clients, Arc::new(requests), Arc::new(SystemClock)).unwrap()
}

fn json(status: &str, body: &str) -> Reply {
    let length = body.len();
    Reply::Answer(format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    ))
}

/// Grants a token for the secret `good` only.
fn endpoint(arrived: &Arrived) -> Reply {
    if arrived.text.contains("client_secret=good") {
        return json(
            "200 OK",
            r#"{"access_token":"t0k3n","token_type":"bearer","expires_in":86400}"#,
        );
    }
    json(
        "400 Bad Request",
        r#"{"error":"invalid_client","error_description":"Invalid client id"}"#,
    )
}

#[tokio::test]
async fn a_token_is_asked_for_with_a_form() {
    let server = Server::start(None, endpoint).await;

    let reply = source(&server, &["good+/="]).fetch().await.unwrap();

    assert_eq!(reply.access_token.expose(), "t0k3n");
    assert_eq!(reply.expires_in.as_secs(), 86_400);
    let text = &server.arrived()[0].text;
    assert!(
        text.starts_with("POST /accesstoken.srf HTTP/1.1\r\n"),
        "{text}"
    );
    assert!(
        text.contains("content-type: application/x-www-form-urlencoded\r\n"),
        "{text}"
    );
    let body = "grant_type=client_credentials&client_id=ms-app%3A%2F%2FS-1-15-2-1-2-3-4-5-6-7&client_secret=good%2B%2F%3D&scope=notify.windows.com";
    assert!(text.ends_with(body), "{text}");
}

#[tokio::test]
async fn the_second_secret_is_tried_when_the_first_is_refused_and_first_from_then_on() {
    let server = Server::start(None, endpoint).await;
    let source = source(&server, &["old", "good"]);

    source.fetch().await.unwrap();
    source.fetch().await.unwrap();

    let secrets: Vec<bool> = server
        .arrived()
        .iter()
        .map(|a| a.text.contains("secret=good"))
        .collect();
    assert_eq!(secrets, [false, true, true]);
}

#[tokio::test]
async fn when_every_secret_is_refused_the_first_refusal_is_told() {
    let server = Server::start(None, endpoint).await;

    let failure = source(&server, &["old", "older"])
        .fetch()
        .await
        .unwrap_err();

    assert!(
        matches!(&failure, TokenFailure::Credential { error, .. } if error.as_str() == "invalid_client")
    );
    assert_eq!(server.arrived().len(), 2);
}

#[tokio::test]
async fn without_a_secret_that_can_be_read_nobody_is_asked() {
    let server = Server::start(None, endpoint).await;

    let failure = source(&server, &[]).fetch().await.unwrap_err();

    assert!(
        matches!(&failure, TokenFailure::Credential { error, .. } if error.as_str() == "no_secret")
    );
    assert_eq!(server.arrived().len(), 0);
}

#[tokio::test]
async fn an_outage_is_no_refusal_and_the_other_secret_is_not_tried() {
    let server = Server::start(None, |_| {
        answer("503 Service Unavailable", "Retry-After: 30\r\n")
    })
    .await;

    let failure = source(&server, &["good", "other"])
        .fetch()
        .await
        .unwrap_err();

    let kind = TokenOutage::Transport(UnavailableKind::Http { status: 503 });
    let retry_after = Some(std::time::Duration::from_secs(30));
    assert_eq!(failure, TokenFailure::Unavailable { kind, retry_after });
    assert_eq!(server.arrived().len(), 1);
}

#[tokio::test]
async fn an_answer_without_end_is_cut_and_is_no_token() {
    let flood = |_: &Arrived| {
        json(
            "200 OK",
            &format!("{{\"x\":\"{}\"}}", "y".repeat(10_000_000)),
        )
    };
    let server = Server::start(None, flood).await;

    let failure = source(&server, &["good"]).fetch().await.unwrap_err();

    let kind = TokenOutage::Unreadable;
    assert_eq!(
        failure,
        TokenFailure::Unavailable {
            kind,
            retry_after: None
        }
    );
}

#[tokio::test]
async fn a_redirect_does_not_carry_the_secret_away() {
    let server = Server::start(None, |_| answer("302 Found", "Location: /elsewhere\r\n")).await;

    let failure = source(&server, &["good"]).fetch().await.unwrap_err();

    let kind = TokenOutage::Transport(UnavailableKind::Http { status: 302 });
    assert_eq!(
        failure,
        TokenFailure::Unavailable {
            kind,
            retry_after: None
        }
    );
    assert_eq!(server.arrived().len(), 1);
}
