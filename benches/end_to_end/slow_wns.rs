//! A WNS in this process that answers after a while and notes when each notification came.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use tokio::{net::TcpListener, time::Instant};
use tokio_rustls::TlsAcceptor;

use crate::sink::token;

/// When the notification for each channel came, by the channel's path.
type Arrivals = Arc<Mutex<HashMap<String, Instant>>>;

/// A running WNS; it ends with the process.
pub(crate) struct SlowWns {
    port: u16,
    ca: PathBuf,
    arrivals: Arrivals,
}

impl SlowWns {
    /// Answers every notification `delay` after it came.
    pub(crate) async fn start(dir: &Path, delay: Duration) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])
            .expect("a certificate");
        let ca = dir.join(format!("wns-{}ms.pem", delay.as_millis()));
        fs::write(&ca, made.cert.pem()).expect("the certificate is written");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let arrivals = Arrivals::default();
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let acceptor = acceptor(made.cert.der().clone(), key);
        tokio::spawn(listen(listener, acceptor, (delay, arrivals.clone())));
        Self { port, ca, arrivals }
    }

    /// Its port and its certificate.
    pub(crate) fn address(&self) -> (u16, &Path) {
        (self.port, &self.ca)
    }

    /// The channel called `name`, with the length of real ones.
    pub(crate) fn channel(&self, name: &str) -> String {
        let filler = "AwYAAAB%2bk3Jx".repeat(12);
        format!("https://localhost:{}/{name}?token={filler}", self.port)
    }

    /// When the notification for a channel came, if it did.
    pub(crate) fn arrival(&self, name: &str) -> Option<Instant> {
        let arrivals = self.arrivals.lock().expect("nobody panics with it");
        arrivals.get(&format!("/{name}")).copied()
    }

    /// How many channels were notified.
    pub(crate) fn count(&self) -> usize {
        self.arrivals.lock().expect("nobody panics with it").len()
    }
}

fn acceptor(certificate: CertificateDer<'static>, key: PrivateKeyDer<'static>) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a certificate and its key");
    TlsAcceptor::from(Arc::new(config))
}

async fn listen(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    (delay, arrivals): (Duration, Arrivals),
) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, arrivals) = (acceptor.clone(), arrivals.clone());
        tokio::spawn(async move {
            stream.set_nodelay(true).ok();
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let service = service_fn(|request| answer(request, delay, &arrivals));
            // The broker closes its connections as it likes.
            drop(
                http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await,
            );
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    delay: Duration,
    arrivals: &Arrivals,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let came = Instant::now();
    let path = request.uri().path().to_owned();
    request.into_body().collect().await?;
    let mut response = Response::new(Full::default());
    if path == "/accesstoken.srf" {
        let reply = serde_json::json!({ "access_token": token(), "token_type": "bearer", "expires_in": 86400 });
        *response.body_mut() = Full::from(reply.to_string());
        return Ok(response);
    }
    arrivals
        .lock()
        .expect("nobody panics with it")
        .entry(path)
        .or_insert(came);
    tokio::time::sleep(delay).await;
    let received = http::HeaderValue::from_static("received");
    response.headers_mut().insert("x-wns-status", received);
    Ok(response)
}
