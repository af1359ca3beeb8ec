//! One notification, byte by byte.

use std::time::Duration;

use jiff::Timestamp;
use reveille::{
    adapters::wns::{HttpClients, HttpConfig, sender::WnsSender},
    domain::wns::{
        channel_uri::{ChannelUri, HostPolicy},
        ms_cv::MsCv,
        payload::Payload,
        reply::{Outcome, UnavailableKind},
        request::{RawPush, Ttl, WnsPriority},
        token::AccessToken,
    },
    ports::wns::{Bearer, Notification, Wns},
};

use crate::server::{Reply, Server, Trust, answer};

pub(crate) const RECEIVED: &str = "X-WNS-Status: received\r\nX-WNS-Msg-ID: 331FA2FC1F350267\r\n";

pub(crate) fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

pub(crate) fn http1() -> Trust {
    Trust::new(&["http/1.1"])
}

pub(crate) fn config(trust: &Trust) -> HttpConfig {
    HttpConfig {
        extra_ca: Some(trust.ca_pem.clone()),
        request_timeout: Duration::from_secs(5),
        ..HttpConfig::default()
    }
}

pub(crate) fn sender(config: HttpConfig, server: &Server) -> WnsSender {
    let hosts = HostPolicy::new([format!("localhost:{}", server.address.port())]).unwrap();
    WnsSender::new(HttpClients::new(config).unwrap(), hosts).unwrap()
}

pub(crate) fn notification(port: u16) -> Notification {
    let uri = format!("https://localhost:{port}/?token=AwYAAAA%2bx%2fy%3d%3d");
    Notification {
        uri: ChannelUri::from_stored(&uri),
        bearer: Bearer::new(&AccessToken::new("EgAcAQMAAAAEgAAA+x/y=").unwrap()),
        push: RawPush {
            payload: Payload::default(),
            ttl: Ttl::until("2026-11-22T13:00:00Z".parse().unwrap(), now()),
            priority: Some(WnsPriority::High),
            ms_cv: MsCv::from_random([0; 16]),
        },
    }
}

pub(crate) fn unavailable(kind: UnavailableKind) -> Outcome {
    Outcome::Unavailable {
        kind,
        retry_after: None,
    }
}

pub(crate) const ACCEPTED: Outcome = Outcome::Accepted {
    cached: false,
    stated: true,
};

#[tokio::test]
async fn a_notification_is_exactly_these_bytes() {
    let trust = http1();
    let server = Server::start(Some(&trust), |_| answer("200 OK", RECEIVED)).await;

    let answer = sender(config(&trust), &server)
        .send(notification(server.address.port()), now())
        .await;

    assert_eq!(answer.outcome, ACCEPTED);
    assert_eq!(answer.trace.msg_id.unwrap().as_str(), "331FA2FC1F350267");
    let arrived = server.arrived();
    let (head, body) = arrived[0].text.split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<&str> = head.lines().collect();
    assert_eq!(
        lines.remove(0),
        "POST /?token=AwYAAAA%2bx%2fy%3d%3d HTTP/1.1"
    );
    lines.sort_unstable();
    let host = format!("host: localhost:{}", server.address.port());
    let expected = [
        "authorization: Bearer EgAcAQMAAAAEgAAA+x/y=",
        "content-length: 4",
        "content-type: application/octet-stream",
        &host,
        "ms-cv: AAAAAAAAAAAAAAAAAAAAAA.0",
        "x-wns-cache-policy: cache",
        "x-wns-priority: 1",
        "x-wns-requestforstatus: true",
        "x-wns-ttl: 3600",
        "x-wns-type: wns/raw",
    ];
    assert_eq!(lines, expected);
    assert_eq!(body, "wake");
}

#[tokio::test]
async fn connections_are_kept_and_used_again() {
    let trust = http1();
    let server = Server::start(Some(&trust), |_| answer("200 OK", RECEIVED)).await;
    let sender = sender(config(&trust), &server);

    for _ in 0..5 {
        sender
            .send(notification(server.address.port()), now())
            .await;
    }

    let connections: Vec<usize> = server.arrived().iter().map(|a| a.connection).collect();
    assert_eq!(connections, [1; 5]);
}

#[tokio::test]
async fn a_connection_that_lay_idle_too_long_is_not_used_again() {
    let trust = http1();
    let server = Server::start(Some(&trust), |_| answer("200 OK", RECEIVED)).await;
    let config = HttpConfig {
        idle_timeout: Duration::from_millis(50),
        ..config(&trust)
    };
    let sender = sender(config, &server);

    for _ in 0..2 {
        sender
            .send(notification(server.address.port()), now())
            .await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    let connections: Vec<usize> = server.arrived().iter().map(|a| a.connection).collect();
    assert_eq!(connections, [1, 2]);
}

#[tokio::test]
async fn a_reused_connection_that_breaks_is_replaced_at_once() {
    let trust = http1();
    let script = |arrived: &crate::server::Arrived| match arrived.connection {
        1 if arrived.text.contains("x-wns-ttl: 60\r\n") => Reply::Close,
        _ => answer("200 OK", RECEIVED),
    };
    let server = Server::start(Some(&trust), script).await;
    let sender = sender(config(&trust), &server);
    sender
        .send(notification(server.address.port()), now())
        .await;
    let mut second = notification(server.address.port());
    second.push.ttl = Ttl::until(now(), now());

    let answer = sender.send(second, now()).await;

    assert_eq!(answer.outcome, ACCEPTED);
    let connections: Vec<usize> = server.arrived().iter().map(|a| a.connection).collect();
    assert_eq!(connections, [1, 1, 2]);
}

#[tokio::test]
async fn a_host_that_breaks_a_connection_of_its_own_is_not_asked_again() {
    let trust = http1();
    let server = Server::start(Some(&trust), |_| Reply::Close).await;

    let answer = sender(config(&trust), &server)
        .send(notification(server.address.port()), now())
        .await;

    assert_eq!(answer.outcome, unavailable(UnavailableKind::Reset));
    assert_eq!(server.arrived().len(), 1);
}

#[tokio::test]
async fn an_answer_whose_body_does_not_come_counts_all_the_same() {
    let trust = http1();
    let head = "HTTP/1.1 200 OK\r\nx-wns-status: received\r\ncontent-length: 5\r\n\r\n";
    let server = Server::start(Some(&trust), |_| Reply::Answer(head.to_owned())).await;

    let answer = sender(config(&trust), &server)
        .send(notification(server.address.port()), now())
        .await;

    assert_eq!(answer.outcome, ACCEPTED);
}

#[tokio::test]
async fn silence_is_a_timeout_and_not_repeated() {
    let trust = http1();
    let server = Server::start(Some(&trust), |_| Reply::Hang).await;
    let config = HttpConfig {
        request_timeout: Duration::from_millis(300),
        ..config(&trust)
    };

    let answer = sender(config, &server)
        .send(notification(server.address.port()), now())
        .await;

    assert_eq!(answer.outcome, unavailable(UnavailableKind::Timeout));
    assert_eq!(server.arrived().len(), 1);
}

#[tokio::test]
async fn a_redirect_is_never_followed() {
    let trust = http1();
    let script = |arrived: &crate::server::Arrived| {
        let host = arrived
            .text
            .lines()
            .find_map(|l| l.strip_prefix("host: "))
            .unwrap()
            .to_owned();
        answer(
            "307 Temporary Redirect",
            &format!("Location: https://{host}/elsewhere\r\n"),
        )
    };
    let server = Server::start(Some(&trust), script).await;

    let answer = sender(config(&trust), &server)
        .send(notification(server.address.port()), now())
        .await;

    assert_eq!(answer.outcome, Outcome::Redirected { status: 307 });
    assert_eq!(server.arrived().len(), 1);
}

#[tokio::test]
async fn a_host_that_is_not_allowed_gets_nothing() {
    let trust = http1();
    let server = Server::start(Some(&trust), |_| answer("200 OK", RECEIVED)).await;
    let clients = HttpClients::new(config(&trust)).unwrap();
    let sender = WnsSender::new(clients, HostPolicy::default()).unwrap();

    let answer = sender
        .send(notification(server.address.port()), now())
        .await;

    assert!(
        matches!(answer.outcome, Outcome::OurFault { status: 0, .. }),
        "{:?}",
        answer.outcome
    );
    assert_eq!(server.arrived().len(), 0);
}

#[tokio::test]
async fn a_server_that_is_not_trusted_gets_nothing() {
    let trust = http1();
    let server = Server::start(Some(&trust), |_| answer("200 OK", RECEIVED)).await;
    let config = HttpConfig {
        extra_ca: Some(http1().ca_pem),
        ..config(&trust)
    };

    let answer = sender(config, &server)
        .send(notification(server.address.port()), now())
        .await;

    assert_eq!(answer.outcome, unavailable(UnavailableKind::Tls));
    assert_eq!(server.arrived().len(), 0);
}

#[tokio::test]
async fn nobody_listening_is_a_failed_connection() {
    let trust = http1();
    let server = Server::start(Some(&trust), |_| Reply::Close).await;
    let port = server.address.port();
    let sender = sender(config(&trust), &server);
    drop(server);
    tokio::task::yield_now().await;

    let answer = sender.send(notification(port), now()).await;

    assert_eq!(answer.outcome, unavailable(UnavailableKind::Connect));
}

#[tokio::test]
async fn what_is_not_http_is_a_protocol_failure() {
    let trust = http1();
    let garbage =
        |_: &crate::server::Arrived| Reply::Answer("SSH-2.0-OpenSSH_9.6\r\n\r\n".to_owned());
    let server = Server::start(Some(&trust), garbage).await;

    let answer = sender(config(&trust), &server)
        .send(notification(server.address.port()), now())
        .await;

    assert_eq!(answer.outcome, unavailable(UnavailableKind::Protocol));
    assert_eq!(server.arrived().len(), 1);
}

#[tokio::test]
async fn an_endless_body_is_not_read_to_its_end() {
    let trust = http1();
    let flood = |_: &crate::server::Arrived| {
        let head =
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\nX-WNS-Status: received\r\n\r\n";
        Reply::Answer(format!("{head}{}", "x".repeat(1_000_000)))
    };
    let server = Server::start(Some(&trust), flood).await;

    let answer = sender(config(&trust), &server)
        .send(notification(server.address.port()), now())
        .await;

    assert_eq!(answer.outcome, ACCEPTED);
}

#[test]
fn an_extra_authority_that_is_none_is_refused() {
    for pem in [
        "",
        "no certificate",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        let config = HttpConfig {
            extra_ca: Some(pem.as_bytes().to_vec()),
            ..HttpConfig::default()
        };
        assert!(HttpClients::new(config).is_err(), "{pem:?}");
    }
}
