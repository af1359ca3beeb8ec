//! The HTTP clients: one TLS configuration, many clients, no surprises.
//!
//! A client's connections live on the runtime that opened them, so each dispatch arbiter builds its own from here. Redirects
//! are never followed (the token would go with them), bodies are not decompressed, cookies are not kept, and no proxy is
//! taken from the environment behind the configuration's back.
//!
//! Tokens are fetched through reqwest. Notifications go through hyper's own client, which reqwest is built on: a fleet is a
//! million equal requests, and parsing each URI twice more and passing through redirect, retry and decoder layers that are
//! all off costs about a third of a request (`benches/README.md`).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioTimer},
};
use reqwest::{NoProxy, redirect};
use rustls::{
    ClientConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
};
use rustls_platform_verifier::Verifier;

use super::exit::Exit;

/// Pings that tell a dead HTTP/2 connection from a slow one.
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(10);
const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(5);

/// How requests leave this machine.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// Longest time to open a connection, TLS included.
    pub connect_timeout: Duration,
    /// Longest time for one request, from connecting to the last byte.
    pub request_timeout: Duration,
    /// Time after which an idle connection is closed: WNS cuts them after about a minute (field observation).
    pub idle_timeout: Duration,
    /// Whether HTTP/2 is offered.
    pub http2: bool,
    /// The way out, if it is not direct.
    pub proxy: Option<Proxy>,
    /// PEM text with certificate authorities to trust beside the system's.
    pub extra_ca: Option<Vec<u8>>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(50),
            http2: true,
            proxy: None,
            extra_ca: None,
        }
    }
}

/// A proxy for everything but some hosts.
#[derive(Clone)]
pub struct Proxy {
    /// `http`, `https`, `socks5` or `socks5h`, with user and password if it asks for them.
    pub url: url::Url,
    /// Hosts reached directly, in the form of the `NO_PROXY` variable.
    pub except: Option<String>,
}

/// The clients cannot be built; the configuration has to be mended.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The extra certificate authorities are not readable PEM, or there are none in it.
    #[error("the extra certificate authority is not a PEM certificate: {0}")]
    ExtraCa(String),
    /// There is nothing to trust: no system store and no extra authority, or the library refuses them.
    #[error("no certificate authorities to trust: {0}")]
    Trust(rustls::Error),
    /// The library refuses the configuration.
    #[error("the HTTP client cannot be built: {0}")]
    Build(reqwest::Error),
    /// The proxy's URL is not understood.
    #[error("the proxy's URL is not one of an http, https, socks5 or socks5h proxy")]
    Proxy,
}

/// Builds clients that share trust and TLS sessions. Cheap to clone.
#[derive(Clone, Debug)]
pub struct HttpClients {
    config: Arc<HttpConfig>,
    tls: ClientConfig,
}

/// Sends notifications.
pub(super) type PushClient = legacy::Client<Exit, Full<Bytes>>;

impl HttpClients {
    /// Loads what there is to trust.
    ///
    /// # Errors
    /// [`ClientError`] says what has to be mended.
    pub fn new(config: HttpConfig) -> Result<Self, ClientError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let extra = extra_authorities(&config)?;
        let verifier =
            Verifier::new_with_extra_roots(extra, provider.clone()).map_err(ClientError::Trust)?;
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(ClientError::Trust)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        let protocols: &[&[u8]] = if config.http2 {
            &[b"h2", b"http/1.1"]
        } else {
            &[b"http/1.1"]
        };
        tls.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let clients = Self {
            config: Arc::new(config),
            tls,
        };
        // What the libraries think of the proxy is better known now than at the first push.
        clients.for_tokens()?;
        clients.for_pushes(0)?;
        Ok(clients)
    }

    pub(super) fn proxied(&self) -> bool {
        self.config.proxy.is_some()
    }

    pub(super) fn request_timeout(&self) -> Duration {
        self.config.request_timeout
    }

    /// A client whose idle connections are kept for [`HttpConfig::idle_timeout`], at most `idle_max` for each host; with 0
    /// each request has a connection of its own.
    pub(super) fn for_pushes(&self, idle_max: usize) -> Result<PushClient, ClientError> {
        let exit = Exit::new(&self.config, &self.tls)?;
        Ok(legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(self.config.idle_timeout)
            .pool_max_idle_per_host(idle_max)
            .http2_adaptive_window(true)
            .http2_keep_alive_interval(HTTP2_PING_INTERVAL)
            .http2_keep_alive_timeout(HTTP2_PING_TIMEOUT)
            .build(exit))
    }

    /// A client for token endpoints; it keeps no connections, since a token lasts a day.
    pub(super) fn for_tokens(&self) -> Result<reqwest::Client, ClientError> {
        let config = &self.config;
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(self.tls.clone())
            .redirect(redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .tcp_nodelay(true)
            .connect_timeout(config.connect_timeout)
            .timeout(config.request_timeout)
            .pool_max_idle_per_host(0);
        if !config.http2 {
            builder = builder.http1_only();
        }
        if let Some(proxy) = &config.proxy {
            let except = proxy.except.as_deref().and_then(NoProxy::from_string);
            let proxy = reqwest::Proxy::all(proxy.url.clone()).map_err(ClientError::Build)?;
            builder = builder.proxy(proxy.no_proxy(except));
        }
        builder.build().map_err(ClientError::Build)
    }
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URL may hold a password.
        write!(
            f,
            "Proxy({}://{})",
            self.url.scheme(),
            self.url.host_str().unwrap_or("")
        )
    }
}

fn extra_authorities(config: &HttpConfig) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let Some(pem) = &config.extra_ca else {
        return Ok(Vec::new());
    };
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|e| ClientError::ExtraCa(e.to_string()))?;
    if found.is_empty() {
        return Err(ClientError::ExtraCa("it holds no certificate".to_owned()));
    }
    Ok(found)
}
