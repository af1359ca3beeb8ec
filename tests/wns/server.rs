//! A raw HTTP/1.1 server on loopback, with or without TLS: it shows the bytes that arrived and does what it is told.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

/// What to do with a request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// Answer, and keep the connection.
    Answer(String),
    /// Close the connection without a word.
    Close,
    /// Never answer.
    Hang,
}

/// A request that arrived.
#[derive(Clone, Debug)]
pub(crate) struct Arrived {
    /// On which connection, counted from one.
    pub(crate) connection: usize,
    /// Head and body as they came.
    pub(crate) text: String,
}

/// A certificate authority with a certificate for this machine.
pub(crate) struct Trust {
    pub(crate) ca_pem: Vec<u8>,
    config: Arc<ServerConfig>,
}

impl Trust {
    /// Offers these protocols.
    pub(crate) fn new(protocols: &[&str]) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let leaf = CertificateParams::new(names)
            .unwrap()
            .signed_by(&key, &issuer)
            .unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![leaf.der().clone()],
                PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            )
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        Self {
            ca_pem: issuer.pem().into_bytes(),
            config: Arc::new(config),
        }
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.clone())
    }
}

/// The server; it ends when dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    arrived: Arc<Mutex<Vec<Arrived>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Script = Arc<dyn Fn(&Arrived) -> Reply + Send + Sync>;

impl Server {
    /// Answers as `script` says; in clear text without `trust`.
    pub(crate) async fn start(
        trust: Option<&Trust>,
        script: impl Fn(&Arrived) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let arrived = Arc::new(Mutex::new(Vec::new()));
        let seen = arrived.clone();
        let acceptor = trust.map(Trust::acceptor);
        let script: Script = Arc::new(script);
        let task = tokio::spawn(async move {
            for connection in 1.. {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, script, seen) = (acceptor.clone(), script.clone(), seen.clone());
                tokio::spawn(async move {
                    match acceptor {
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                serve(stream, connection, (script, seen)).await;
                            }
                        }
                        None => serve(stream, connection, (script, seen)).await,
                    }
                });
            }
        });
        Self {
            address,
            arrived,
            task,
        }
    }

    pub(crate) fn arrived(&self) -> Vec<Arrived> {
        self.arrived.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    connection: usize,
    (script, seen): (Script, Arc<Mutex<Vec<Arrived>>>),
) {
    while let Some(text) = read_request(&mut stream).await {
        let arrived = Arrived { connection, text };
        let reply = script(&arrived);
        seen.lock().unwrap().push(arrived);
        match reply {
            Reply::Answer(text) => {
                if stream.write_all(text.as_bytes()).await.is_err() {
                    return;
                }
            }
            Reply::Close => return,
            Reply::Hang => tokio::time::sleep(Duration::from_secs(600)).await,
        }
    }
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
            let length: usize = length.map_or(0, |(_, value)| value.trim().parse().unwrap());
            if body.len() >= length {
                return Some(text);
            }
        }
        let mut chunk = [0; 4096];
        let n = stream.read(&mut chunk).await.ok().filter(|n| *n > 0)?;
        bytes.extend_from_slice(&chunk[..n]);
    }
}

/// An answer with these header lines and no body.
pub(crate) fn answer(status: &str, headers: &str) -> Reply {
    Reply::Answer(format!(
        "HTTP/1.1 {status}\r\nContent-Length: 0\r\n{headers}\r\n"
    ))
}
