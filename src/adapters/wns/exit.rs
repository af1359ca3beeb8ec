//! How connections to WNS leave this machine: directly or through a proxy, with TLS to WNS in every case.

use std::{
    error::Error,
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Uri, uri::Scheme};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::{
    client::{
        legacy::connect::{
            HttpConnector,
            dns::{GaiAddrs, GaiResolver, Name},
            proxy::{SocksV5, Tunnel},
        },
        proxy::matcher::{Intercept, Matcher},
    },
    rt::TokioIo,
};
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tower_service::Service;

use super::{
    client::{ClientError, HttpConfig, Proxy},
    line::Line,
};

type BoxError = Box<dyn Error + Send + Sync>;
type Connecting<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;
/// The way to the host, before TLS with it: a socket, or a socket with TLS to a proxy.
type Way = MaybeHttpsStream<TokioIo<TcpStream>>;

const HTTPS_PORT: u16 = 443;
const SOCKS_PORT: u16 = 1080;

/// A name that has no address.
#[derive(Debug, thiserror::Error)]
#[error("the host's name cannot be resolved: {0}")]
pub(super) struct Unresolved(#[source] io::Error);

/// Opens connections for an HTTP client; cheap to clone.
#[derive(Clone)]
pub(super) struct Exit {
    https: HttpsConnector<Road>,
    limit: Duration,
}

/// Finds the way: the proxy's, where there is one for the host.
#[derive(Clone)]
struct Road {
    tcp: HttpConnector<Resolver>,
    proxy: Option<Arc<Detour>>,
}

struct Detour {
    matcher: Matcher,
    /// For a proxy that is itself reached by TLS; offers it no HTTP/2.
    tls: Arc<ClientConfig>,
}

/// The system's resolver; its failures can be told from others.
#[derive(Clone)]
struct Resolver(GaiResolver);

impl Exit {
    /// # Errors
    /// [`ClientError::Proxy`] when the proxy's URL is not understood: then nothing may go out past it.
    pub(super) fn new(config: &HttpConfig, tls: &ClientConfig) -> Result<Self, ClientError> {
        let mut tcp = HttpConnector::new_with_resolver(Resolver(GaiResolver::new()));
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(config.connect_timeout));
        let proxy = match &config.proxy {
            Some(proxy) => Some(Arc::new(Detour::new(proxy, tls)?)),
            None => None,
        };
        let mut https = HttpsConnector::from((Road { tcp, proxy }, tls.clone()));
        https.enforce_https();
        Ok(Self {
            https,
            limit: config.connect_timeout,
        })
    }
}

impl Service<Uri> for Exit {
    type Response = Line<MaybeHttpsStream<Way>>;
    type Error = BoxError;
    type Future = Connecting<Self::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.https.poll_ready(cx)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let connecting = tokio::time::timeout(self.limit, self.https.call(to));
        Box::pin(async move { Ok(Line::new(connecting.await??)) })
    }
}

impl Service<Uri> for Road {
    type Response = Way;
    type Error = BoxError;
    type Future = Connecting<Way>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let detour = self.proxy.clone();
        let hop = detour.as_ref().and_then(|d| d.matcher.intercept(&to));
        match (detour, hop) {
            (Some(detour), Some(hop)) => {
                let tcp = self.tcp.clone();
                Box::pin(async move { detour.connect(tcp, &hop, to).await })
            }
            (_, None) | (None, _) => {
                let connecting = self.tcp.call(to);
                Box::pin(async move { Ok(MaybeHttpsStream::Http(connecting.await?)) })
            }
        }
    }
}

impl Detour {
    fn new(proxy: &Proxy, tls: &ClientConfig) -> Result<Self, ClientError> {
        let mut url = proxy.url.clone();
        if url.scheme().starts_with("socks") && url.port().is_none() {
            url.set_port(Some(SOCKS_PORT))
                .map_err(|()| ClientError::Proxy)?;
        }
        let all = || Matcher::builder().all(url.as_str());
        // The library passes over a URL that it does not understand, which would mean no proxy at all.
        let probe = Uri::from_static("https://notify.windows.com/");
        if all().build().intercept(&probe).is_none() {
            return Err(ClientError::Proxy);
        }
        let except = proxy.except.clone().unwrap_or_default();
        let mut tls = tls.clone();
        tls.alpn_protocols.clear();
        Ok(Self {
            matcher: all().no(except).build(),
            tls: Arc::new(tls),
        })
    }

    async fn connect(
        &self,
        tcp: HttpConnector<Resolver>,
        hop: &Intercept,
        to: Uri,
    ) -> Result<Way, BoxError> {
        if hop
            .uri()
            .scheme_str()
            .is_some_and(|s| s.starts_with("socks"))
        {
            return socks(tcp, hop, to).await;
        }
        let mut tunnel = Tunnel::new(
            hop.uri().clone(),
            HttpsConnector::from((tcp, self.tls.clone())),
        );
        if let Some(auth) = hop.basic_auth() {
            tunnel = tunnel.with_auth(auth.clone());
        }
        Ok(tunnel.call(to).await?)
    }
}

/// `socks5` looks the host up here, `socks5h` leaves that to the proxy.
async fn socks(tcp: HttpConnector<Resolver>, hop: &Intercept, to: Uri) -> Result<Way, BoxError> {
    let to = match hop.uri().scheme_str() {
        Some("socks5") => resolved(&to).await?,
        Some(_) | None => to,
    };
    let mut socks = SocksV5::new(hop.uri().clone(), tcp);
    if let Some((user, password)) = hop.raw_auth() {
        socks = socks.with_auth(user.to_owned(), password.to_owned());
    }
    Ok(MaybeHttpsStream::Http(socks.call(to).await?))
}

async fn resolved(to: &Uri) -> Result<Uri, BoxError> {
    let host = to.host().unwrap_or_default();
    let port = to.port_u16().unwrap_or(HTTPS_PORT);
    let found = tokio::net::lookup_host((host.trim_matches(['[', ']']), port)).await;
    let found: Vec<SocketAddr> = found.map_err(Unresolved)?.collect();
    let none = || Unresolved(io::Error::from(io::ErrorKind::NotFound));
    // Few SOCKS proxies reach IPv6 addresses.
    let first = found.iter().find(|address| address.is_ipv4());
    let address = first.or(found.first()).ok_or_else(none)?;
    let uri = Uri::builder().scheme(Scheme::HTTPS).path_and_query("/");
    Ok(uri.authority(address.to_string()).build()?)
}

impl Service<Name> for Resolver {
    type Response = GaiAddrs;
    type Error = Unresolved;
    type Future = Pin<Box<dyn Future<Output = Result<GaiAddrs, Unresolved>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Unresolved>> {
        self.0.poll_ready(cx).map_err(Unresolved)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolving = self.0.call(name);
        Box::pin(async move { resolving.await.map_err(Unresolved) })
    }
}
