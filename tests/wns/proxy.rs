//! Notifications through proxies: which ask what of whom, and what none of them sees.

use std::net::SocketAddr;

use reveille::{
    adapters::wns::{HttpClients, HttpConfig, Proxy},
    domain::wns::reply::{Outcome, UnavailableKind},
    ports::wns::Wns,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use crate::{
    sender::{ACCEPTED, RECEIVED, config, http1, notification, now, sender, unavailable},
    server::{Server, Trust, answer},
};

/// Configures `url` as the proxy.
fn through(url: &str, except: Option<&str>, trust: &Trust) -> HttpConfig {
    HttpConfig {
        proxy: Some(Proxy {
            url: url.parse().unwrap(),
            except: except.map(str::to_owned),
        }),
        ..config(trust)
    }
}

async fn outcome(config: HttpConfig, server: &Server) -> Outcome {
    let answer = sender(config, server)
        .send(notification(server.address.port()), now())
        .await;
    answer.outcome
}

/// A proxy that refuses everything is asked for a tunnel, and WNS hears nothing.
async fn is_asked_for_a_tunnel(proxy: &Server, url: &str, trust: &Trust) {
    let server = Server::start(Some(trust), |_| answer("200 OK", RECEIVED)).await;
    let config = through(url, None, trust);
    assert!(!format!("{config:?}").contains("secret"));

    let outcome = outcome(config, &server).await;

    assert_eq!(outcome, unavailable(UnavailableKind::Proxy));
    let asked = &proxy.arrived()[0].text;
    let connect = format!("CONNECT localhost:{} HTTP/1.1\r\n", server.address.port());
    assert!(asked.starts_with(&connect), "{asked}");
    let lower = asked.to_lowercase();
    assert!(lower.contains("proxy-authorization: basic "), "{asked}");
    assert!(!asked.contains("Bearer"), "{asked}");
    assert_eq!(server.arrived().len(), 0);
}

#[tokio::test]
async fn a_proxy_is_asked_for_a_tunnel_and_never_sees_the_token() {
    let proxy = Server::start(None, |_| answer("407 Proxy Authentication Required", "")).await;
    let url = format!("http://user:secret@127.0.0.1:{}", proxy.address.port());
    is_asked_for_a_tunnel(&proxy, &url, &http1()).await;
}

#[tokio::test]
async fn a_proxy_may_itself_be_reached_by_tls() {
    let trust = http1();
    let refusal = |_: &_| answer("407 Proxy Authentication Required", "");
    let proxy = Server::start(Some(&trust), refusal).await;
    let url = format!("https://user:secret@localhost:{}", proxy.address.port());
    is_asked_for_a_tunnel(&proxy, &url, &trust).await;
}

#[tokio::test]
async fn hosts_excepted_from_the_proxy_are_reached_directly() {
    let trust = http1();
    let server = Server::start(Some(&trust), |_| answer("200 OK", RECEIVED)).await;
    let config = through("http://127.0.0.1:1", Some("localhost"), &trust);

    assert_eq!(outcome(config, &server).await, ACCEPTED);
}

#[tokio::test]
async fn a_proxy_that_is_away_is_not_gone_around() {
    let trust = http1();
    let server = Server::start(Some(&trust), |_| answer("200 OK", RECEIVED)).await;

    for url in ["http://127.0.0.1:1", "socks5h://127.0.0.1:1"] {
        let outcome = outcome(through(url, None, &trust), &server).await;
        assert_eq!(outcome, unavailable(UnavailableKind::Proxy), "{url}");
    }

    assert_eq!(server.arrived().len(), 0);
}

#[test]
fn a_proxy_of_an_unknown_kind_is_refused() {
    let config = through("ftp://127.0.0.1:1", None, &http1());
    assert!(HttpClients::new(config).is_err());
}

#[tokio::test]
async fn a_socks_proxy_is_told_the_name_or_the_address() {
    let trust = http1();
    let server = Server::start(Some(&trust), |_| answer("200 OK", RECEIVED)).await;
    let (proxy, mut asked) = socks_proxy().await;

    let by_name = through(&format!("socks5h://{proxy}"), None, &trust);
    assert_eq!(outcome(by_name, &server).await, ACCEPTED);
    let by_address = through(&format!("socks5://{proxy}"), None, &trust);
    assert_eq!(outcome(by_address, &server).await, ACCEPTED);

    let port = server.address.port();
    assert_eq!(asked.recv().await.unwrap(), format!("localhost:{port}"));
    assert_eq!(asked.recv().await.unwrap(), format!("127.0.0.1:{port}"));
}

/// A SOCKS 5 proxy without authentication (RFC 1928) that leads to this machine whatever it is asked for.
async fn socks_proxy() -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, asked) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(pass(stream, tell.clone()));
        }
    });
    (address, asked)
}

async fn pass(mut stream: TcpStream, tell: mpsc::UnboundedSender<String>) {
    let mut greeting = [0; 2];
    stream.read_exact(&mut greeting).await.unwrap();
    let mut methods = vec![0; greeting[1].into()];
    stream.read_exact(&mut methods).await.unwrap();
    stream.write_all(&[5, 0]).await.unwrap();
    let mut request = [0; 4];
    stream.read_exact(&mut request).await.unwrap();
    assert_eq!(request[..3], [5, 1, 0], "a request to connect");
    let host = match request[3] {
        1 => {
            let mut address = [0; 4];
            stream.read_exact(&mut address).await.unwrap();
            std::net::Ipv4Addr::from(address).to_string()
        }
        3 => {
            let length = stream.read_u8().await.unwrap();
            let mut name = vec![0; length.into()];
            stream.read_exact(&mut name).await.unwrap();
            String::from_utf8(name).unwrap()
        }
        kind => panic!("an address of kind {kind}"),
    };
    let port = stream.read_u16().await.unwrap();
    tell.send(format!("{host}:{port}")).unwrap();
    let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream
        .write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])
        .await
        .unwrap();
    // Either side may cut the connection at the end.
    drop(copy_bidirectional(&mut stream, &mut server).await);
}
