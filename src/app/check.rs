//! Tries what a broker needs, without becoming one: certificates, the proxy, the store, each app's token.
//!
//! Nothing is made: a store folder that does not exist is left to the broker, and one that belongs to another user is not
//! opened, because what this user writes there the broker could not change.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use futures_util::StreamExt;
use jiff::tz::TimeZone;
use serde::Serialize;
use tokio::{net::TcpStream, time::timeout};

use super::{
    StartError,
    outbound::Outbound,
    stores::{self, Make, OpenStoreError},
};
use crate::{
    adapters::{clock::SystemClock, embedded::OpenError, otlp, redis::ConnectError},
    config::{App, Backend, Config},
    domain::wns::token::TokenFailure,
    ports::{
        clock::Clock,
        error::{StoreError, StoreHealth},
        wns::TokenSource,
    },
    telemetry::Telemetry,
};

/// Token endpoints asked at once.
const TOKENS_AT_ONCE: usize = 8;
/// Longest wait for a broker on this machine to say that it lives.
const NEIGHBOUR_TIMEOUT: Duration = Duration::from_secs(2);

/// How a finding weighs, lightest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// As it should be.
    Ok,
    /// Works, and somebody should look.
    Warning,
    /// Does not answer; it may later.
    Unreachable,
    /// Does not work, and will not until it is mended.
    Failed,
    /// The configuration cannot be used.
    Invalid,
}

/// One thing that was tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How it weighs.
    pub weight: Weight,
    /// What was tried: `configuration`, `certificates`, `proxy`, `listen`, `store`, `traces` or `app <id>`.
    pub subject: String,
    /// What was seen, without secrets.
    pub detail: String,
    /// How to mend it, if there is something to mend.
    pub cure: Option<String>,
}

impl Finding {
    /// A finding with nothing to mend, or whose detail says how.
    pub fn new(weight: Weight, subject: impl Into<String>, detail: impl ToString) -> Self {
        Self {
            weight,
            subject: subject.into(),
            detail: detail.to_string(),
            cure: None,
        }
    }

    fn mend(self, cure: impl Into<String>) -> Self {
        Self {
            cure: Some(cure.into()),
            ..self
        }
    }
}

/// Tries everything that `config` names and says what came of it, in the order in which a broker needs it.
pub async fn check(config: &Config) -> Vec<Finding> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let today = clock.now().to_zoned(TimeZone::UTC).date();
    let mut findings: Vec<_> = config
        .advice(today)
        .into_iter()
        .map(|advice| Finding::new(Weight::Warning, "configuration", advice))
        .collect();
    let neighbour = broker_answers(config.server.listen).await;
    findings.push(listen(config.server.listen, neighbour));
    findings.extend(store(config, &clock, neighbour).await);
    findings.extend(proxy(config).await);
    findings.extend(traces(config).await);
    match Outbound::new(config, &clock) {
        Ok(outbound) => {
            findings.extend(certificates(config));
            findings.extend(tokens(config, &outbound).await);
        }
        Err(error) => findings.push(
            Finding::new(Weight::Invalid, "certificates", error)
                .mend("let wns.ca_file name a readable PEM file, or take it out"),
        ),
    }
    findings
}

/// Whether a broker answers where this configuration would listen.
async fn broker_answers(listen: SocketAddr) -> bool {
    let mut reached = listen;
    if listen.ip().is_unspecified() {
        reached.set_ip(match listen {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(NEIGHBOUR_TIMEOUT)
        .build();
    let Ok(client) = client else {
        return false;
    };
    let answer = client.get(format!("http://{reached}/healthz")).send().await;
    answer.is_ok_and(|answer| answer.status().is_success())
}

fn listen(address: SocketAddr, neighbour: bool) -> Finding {
    let subject = "listen";
    match std::net::TcpListener::bind(address) {
        Ok(_) => Finding::new(Weight::Ok, subject, format!("{address} is free")),
        Err(_) if neighbour => Finding::new(
            Weight::Ok,
            subject,
            format!("a broker answers at {address}"),
        ),
        Err(error) => Finding::new(
            Weight::Failed,
            subject,
            format!("cannot listen on {address}: {error}"),
        )
        .mend("stop what uses the address, or set another server.listen"),
    }
}

async fn store(config: &Config, clock: &Arc<dyn Clock>, neighbour: bool) -> Vec<Finding> {
    if let Backend::Embedded { path } = &config.store.backend
        && let Some(found) = unopened(path)
    {
        return vec![found];
    }
    let opened = match stores::open(
        &config.store,
        Make::Nothing,
        &config.streams.tenants,
        clock,
        &Telemetry::new(config.log.failure_interval),
    )
    .await
    {
        Ok(opened) => opened.store,
        Err(OpenStoreError::Redis(ConnectError::Missing { health })) => {
            let told = "there is no store yet; the broker makes it when it starts";
            let missing = Finding::new(Weight::Ok, "store", told);
            return std::iter::once(missing).chain(healthy(*health)).collect();
        }
        Err(error) => return vec![not_opened(&error, neighbour)],
    };
    let found: Vec<_> = match opened.probe().await {
        Ok(health) => healthy(health).collect(),
        Err(error) => vec![unwell(&error)],
    };
    let closed = opened.close().await.err();
    found
        .into_iter()
        .chain(closed.as_ref().map(unwell))
        .collect()
}

fn healthy(health: StoreHealth) -> impl Iterator<Item = Finding> {
    let well = [health.description, health.durability].into_iter();
    let warnings = health.warnings.into_iter();
    let failing = health.failing.into_iter();
    well.map(|told| Finding::new(Weight::Ok, "store", told))
        .chain(failing.map(|why| Finding::new(Weight::Unreachable, "store", why)))
        .chain(warnings.map(|told| Finding::new(Weight::Warning, "store", told)))
}

/// Why the folder of an embedded store must not be opened by a check.
fn unopened(path: &Path) -> Option<Finding> {
    let shown = path.display();
    if !path.exists() {
        let told = format!("{shown} does not exist yet; the broker makes it when it starts");
        return Some(Finding::new(Weight::Ok, "store", told));
    }
    let probe = match tempfile::tempfile_in(path) {
        Ok(probe) => probe,
        Err(error) => {
            let told = format!("cannot write in {shown}: {error}");
            let found = Finding::new(Weight::Failed, "store", told);
            return Some(found.mend("run the check as the user of the broker, or give that user the folder (store.path)"));
        }
    };
    let foreign = foreign(path, &probe).unwrap_or(false);
    foreign.then(|| {
        let told = format!("{shown} belongs to another user, so it was not opened");
        Finding::new(Weight::Warning, "store", told).mend("run the check as the user of the broker")
    })
}

/// Whether the folder belongs to somebody else than a file that was just made.
#[cfg(unix)]
fn foreign(folder: &Path, made: &std::fs::File) -> std::io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    Ok(folder.metadata()?.uid() != made.metadata()?.uid())
}

#[cfg(not(unix))]
fn foreign(_folder: &Path, _made: &std::fs::File) -> std::io::Result<bool> {
    Ok(false)
}

fn not_opened(error: &OpenStoreError, neighbour: bool) -> Finding {
    match error {
        OpenStoreError::Embedded(OpenError::InUse { path }) if neighbour => Finding::new(
            Weight::Warning,
            "store",
            format!(
                "{} is in use by a running broker, so it was not opened; /readyz says how it is",
                path.display()
            ),
        ),
        OpenStoreError::Embedded(_) | OpenStoreError::Redis(_) | OpenStoreError::CaFile { .. } => {
            Finding::new(Weight::Failed, "store", error)
        }
    }
}

fn unwell(error: &StoreError) -> Finding {
    let weight = match error {
        StoreError::Unavailable { .. } => Weight::Unreachable,
        StoreError::Full { .. } | StoreError::Damaged { .. } | StoreError::Fenced => Weight::Failed,
    };
    Finding::new(weight, "store", error)
}

async fn proxy(config: &Config) -> Option<Finding> {
    let url = &config.wns.proxy.as_ref()?.url;
    let host = url.expose().host_str()?;
    let port = url.expose().port_or_known_default().unwrap_or(1080);
    let connected = timeout(config.wns.connect_timeout, TcpStream::connect((host, port))).await;
    let trouble = match connected {
        Ok(Ok(_)) => {
            return Some(Finding::new(
                Weight::Ok,
                "proxy",
                format!("{url} takes connections"),
            ));
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer in time".to_owned(),
    };
    let found = Finding::new(Weight::Unreachable, "proxy", format!("{url}: {trouble}"));
    Some(
        found
            .mend("compare wns.proxy, or HTTPS_PROXY in the environment, with the proxy's address"),
    )
}

/// Whether the collector of traces takes what the broker would send. It is never worse than a warning: pushes do not need it.
async fn traces(config: &Config) -> Option<Finding> {
    let subject = "traces";
    let endpoint = config.traces.endpoint.as_ref()?;
    let trouble =
        match otlp::probe(endpoint.expose(), config.traces.timeout).await {
            Ok(Ok(())) => {
                let told = format!("the collector at {endpoint} takes traces");
                return Some(Finding::new(Weight::Ok, subject, told));
            }
            Ok(Err(trouble)) => trouble,
            Err(error) => {
                let found = Finding::new(Weight::Invalid, subject, error);
                return Some(found.mend(
                    "correct traces.endpoint, or what the OTEL_EXPORTER_OTLP_… variables say",
                ));
            }
        };
    let told = format!("the collector at {endpoint} does not take traces: {trouble}");
    let cure = "compare traces.endpoint (its path is usually /v1/traces) and OTEL_EXPORTER_OTLP_HEADERS with the collector; \
                pushes go out without it";
    Some(Finding::new(Weight::Warning, subject, told).mend(cure))
}

fn certificates(config: &Config) -> Option<Finding> {
    let path = config.wns.ca_file.as_ref()?;
    let told = format!(
        "{} is trusted beside the system's authorities",
        path.display()
    );
    Some(Finding::new(Weight::Ok, "certificates", told))
}

/// Asks for a token with each secret of each app.
async fn tokens(config: &Config, outbound: &Outbound) -> Vec<Finding> {
    let asked = config.apps.iter().map(|app| token(app, outbound));
    let found: Vec<Vec<Finding>> = futures_util::stream::iter(asked)
        .buffered(TOKENS_AT_ONCE)
        .collect()
        .await;
    found.into_iter().flatten().collect()
}

async fn token(app: &App, outbound: &Outbound) -> Vec<Finding> {
    let mut only = app.clone();
    let next = only.secrets.next.take();
    let subject = format!("app {}", app.id);
    let current = ask(&only, outbound, &subject).await;
    let Some(next) = next else {
        return vec![current];
    };
    only.secrets.current = next;
    let next = ask(&only, outbound, &format!("{subject}, next secret")).await;
    if current.weight == Weight::Failed && next.weight == Weight::Ok {
        // The broker sends all the same; what is left is to finish the rotation.
        let cure = "the next secret is granted: make it the current one";
        return vec![
            Finding {
                weight: Weight::Warning,
                ..current
            }
            .mend(cure),
            next,
        ];
    }
    if current.weight == Weight::Ok && next.weight == Weight::Failed {
        return vec![
            current,
            Finding {
                weight: Weight::Warning,
                ..next
            },
        ];
    }
    vec![current, next]
}

async fn ask(app: &App, outbound: &Outbound, subject: &str) -> Finding {
    let source = match outbound.token_source(app) {
        Ok(source) => source,
        Err(error) => return unusable(subject, &error),
    };
    match source.fetch().await {
        Ok(reply) => {
            let hours = jiff::SignedDuration::try_from(reply.expires_in).unwrap_or_default();
            Finding::new(
                Weight::Ok,
                subject,
                format!("got an access token, valid for {hours:#}"),
            )
        }
        Err(failure @ TokenFailure::Credential { .. }) => {
            Finding::new(Weight::Failed, subject, &failure).mend(failure.cure())
        }
        Err(failure @ TokenFailure::Unavailable { .. }) => {
            let told = format!(
                "{failure}, at {}",
                app.token_url.host_str().unwrap_or_default()
            );
            Finding::new(Weight::Unreachable, subject, told)
                .mend("look at the name server, the firewall, wns.proxy and, for a sandbox, wns.ca_file; a running broker asks again by itself")
        }
    }
}

fn unusable(subject: &str, error: &StartError) -> Finding {
    Finding::new(Weight::Invalid, subject, error)
}
