//! HTTP/2, when the server offers it.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::{Request, Response, Version, body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use reveille::{
    adapters::wns::{HttpClients, HttpConfig, sender::WnsSender},
    domain::wns::{
        channel_uri::HostPolicy,
        reply::{Outcome, UnavailableKind},
    },
    ports::wns::Wns,
};
use tokio::{net::TcpListener, sync::Barrier};

use crate::{
    sender::{notification, now},
    server::Trust,
};

/// More than one connection's streams.
const IN_FLIGHT: usize = 250;

/// Sends to a server on this machine.
fn sender(trust: &Trust, port: u16) -> WnsSender {
    let config = HttpConfig {
        extra_ca: Some(trust.ca_pem.clone()),
        request_timeout: Duration::from_secs(20),
        ..HttpConfig::default()
    };
    let hosts = HostPolicy::new([format!("localhost:{port}")]).unwrap();
    WnsSender::new(HttpClients::new(config).unwrap(), hosts).unwrap()
}

#[tokio::test]
async fn more_is_in_flight_than_one_connection_allows() {
    let trust = Trust::new(&["h2", "http/1.1"]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(AtomicUsize::new(0));
    // No request is answered before all have arrived.
    let all = Arc::new(Barrier::new(IN_FLIGHT));
    let server = tokio::spawn(serve(
        listener,
        trust.acceptor(),
        (all, connections.clone()),
    ));
    let sender = sender(&trust, port);

    let sends = (0..IN_FLIGHT).map(|_| sender.send(notification(port), now()));
    let answers = futures_util::future::join_all(sends).await;

    let accepted = Outcome::Accepted {
        cached: false,
        stated: true,
    };
    assert!(answers.iter().all(|answer| answer.outcome == accepted));
    server.abort();
}

async fn serve(
    listener: TcpListener,
    acceptor: tokio_rustls::TlsAcceptor,
    (all, connections): (Arc<Barrier>, Arc<AtomicUsize>),
) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (acceptor, all, connections) = (acceptor.clone(), all.clone(), connections.clone());
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            connections.fetch_add(1, Ordering::Relaxed);
            let service = service_fn(move |request: Request<Incoming>| {
                let all = all.clone();
                async move {
                    assert_eq!(request.version(), Version::HTTP_2);
                    assert_eq!(
                        request.uri().path_and_query().unwrap(),
                        "/?token=AwYAAAA%2bx%2fy%3d%3d"
                    );
                    all.wait().await;
                    let reply = Response::builder().header("X-WNS-Status", "received");
                    Ok::<_, Infallible>(reply.body(Empty::<Bytes>::new()).unwrap())
                }
            });
            let mut http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            http.max_concurrent_streams(100);
            // Connections that lost the race to be the one are closed by the client.
            let _closed = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// Requests on a connection that breaks.
const BROKEN: usize = 50;

#[tokio::test]
async fn of_the_streams_of_a_connection_that_breaks_one_is_repeated_at_once() {
    // given a server whose first connection serves one request and breaks when fifty more have come
    let trust = Trust::new(&["h2"]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let repeated = Arc::new(AtomicUsize::new(0));
    let server = tokio::spawn(serve_until_it_breaks(
        listener,
        trust.acceptor(),
        repeated.clone(),
    ));
    let sender = sender(&trust, port);
    sender.send(notification(port), now()).await;

    let sends = (0..BROKEN).map(|_| sender.send(notification(port), now()));
    let answers = futures_util::future::join_all(sends).await;

    let reset = Outcome::Unavailable {
        kind: UnavailableKind::Reset,
        retry_after: None,
    };
    let resets = answers.iter().filter(|answer| answer.outcome == reset);
    assert_eq!(resets.count(), BROKEN - 1);
    assert_eq!(repeated.load(Ordering::Relaxed), 1);
    server.abort();
}

async fn serve_until_it_breaks(
    listener: TcpListener,
    acceptor: tokio_rustls::TlsAcceptor,
    repeated: Arc<AtomicUsize>,
) {
    let arrived = Arc::new(AtomicUsize::new(0));
    let broken = Arc::new(tokio::sync::Notify::new());
    for connection in 0.. {
        let (stream, _) = listener.accept().await.unwrap();
        let (acceptor, arrived, broken) = (acceptor.clone(), arrived.clone(), broken.clone());
        let (repeated, told) = (repeated.clone(), broken.clone());
        tokio::spawn(async move {
            let stream = acceptor.accept(stream).await.unwrap();
            let service = service_fn(move |_: Request<Incoming>| {
                let n = arrived.fetch_add(1, Ordering::Relaxed);
                let first = connection == 0;
                if first && n == BROKEN {
                    told.notify_one();
                } else if !first {
                    repeated.fetch_add(1, Ordering::Relaxed);
                }
                async move {
                    if first && n > 0 {
                        std::future::pending::<()>().await;
                    }
                    let reply = Response::builder().header("X-WNS-Status", "received");
                    Ok::<_, Infallible>(reply.body(Empty::<Bytes>::new()).unwrap())
                }
            });
            let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let serving = http.serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                _ended = serving => {}
                () = broken.notified(), if connection == 0 => {}
            }
        });
    }
}
