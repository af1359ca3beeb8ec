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
    domain::wns::{channel_uri::HostPolicy, reply::Outcome},
    ports::wns::Wns,
};
use tokio::{net::TcpListener, sync::Barrier};

use crate::{
    sender::{notification, now},
    server::Trust,
};

/// More than one connection's streams.
const IN_FLIGHT: usize = 250;

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
    let config = HttpConfig {
        extra_ca: Some(trust.ca_pem.clone()),
        request_timeout: Duration::from_secs(20),
        ..HttpConfig::default()
    };
    let hosts = HostPolicy::new([format!("localhost:{port}")]).unwrap();
    let sender = WnsSender::new(HttpClients::new(config).unwrap(), hosts).unwrap();

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
