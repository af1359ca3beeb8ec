//! How WNS is reached and what every notification carries.

use std::{path::PathBuf, time::Duration};

use crate::domain::wns::{channel_uri::HostPolicy, payload::Payload, request::WnsPriority};

use super::{
    env::Environment,
    kind::{Kind, duration, file_path, flag, list, one_of, parsed, url},
    private_url::PrivateUrl,
    reader::{Place, Problems},
    schema::{Section, settings},
};

/// Most sandbox hosts or hosts reached without a proxy.
const HOSTS_MAX: usize = 100;
const PROXY_SCHEMES: [&str; 4] = ["http", "https", "socks5", "socks5h"];

/// How WNS is reached and what every notification carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wns {
    /// Which hosts may be given a token: those of WNS, and sandboxes.
    pub hosts: HostPolicy,
    /// PEM file with an extra certificate authority.
    pub ca_file: Option<PathBuf>,
    /// Longest time for one request to WNS or a token endpoint, from connecting to the last byte.
    pub request_timeout: Duration,
    /// Longest time to open a connection, TLS included.
    pub connect_timeout: Duration,
    /// Time after which an idle connection is closed.
    pub idle_timeout: Duration,
    /// Whether HTTP/2 is offered.
    pub http2: bool,
    /// The way out to WNS and the token endpoints.
    pub proxy: Option<Proxy>,
    /// Value of `X-WNS-PRIORITY`; without it the header is not sent, and WNS takes low for raw notifications.
    pub priority: Option<WnsPriority>,
    /// Longest time that WNS keeps a notification for a device that is offline; a nearer deadline shortens it.
    pub ttl: Duration,
    /// Body of every notification; devices ignore it, WNS refuses an empty one.
    pub payload: Payload,
}

/// A proxy and the hosts that are reached without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Address of the proxy, with user and password if it asks for them.
    pub url: PrivateUrl,
    /// Hosts reached without it, in the form of the `NO_PROXY` variable.
    pub except: Option<String>,
}

const PRIORITIES: &[(&str, WnsPriority)] = &[
    ("high", WnsPriority::High),
    ("medium", WnsPriority::Medium),
    ("low", WnsPriority::Low),
    ("very_low", WnsPriority::VeryLow),
];

settings! {
    /// How WNS is reached and what every notification carries.
    pub(super) struct WnsKeys at "wns" {
        /// Channel hosts allowed beside `*.notify.windows.com`. Only for a sandbox; production needs none.
        sandbox_hosts: Vec<String> = list(host(), HOSTS_MAX).default("");
        /// PEM file with an extra certificate authority, for a sandbox or a proxy that opens TLS.
        ca_file: Option<PathBuf> = file_path().optional();
        /// Longest time for one request to WNS or to a token endpoint, from connecting to the last byte.
        request_timeout: Duration = duration("1s", "20s").default("15s");
        /// Longest time to open a connection, TLS included.
        connect_timeout: Duration = duration("100ms", "20s").default("5s");
        /// Time after which an idle connection is closed, so that WNS does not close it under a request.
        idle_timeout: Duration = duration("1s", "10m").default("55s");
        /// Whether HTTP/2 is offered to WNS; it takes it or not.
        http2: bool = flag().default("true");
        /// Proxy to WNS and the token endpoints. Without it `HTTPS_PROXY` and `NO_PROXY` of the environment hold.
        proxy: Option<PrivateUrl> = url("a URL such as `http://proxy.example:3128`", &PROXY_SCHEMES).optional();
        /// Value of `X-WNS-PRIORITY`. Without it the header is not sent, and WNS takes `low`.
        priority: Option<WnsPriority> = one_of(PRIORITIES).optional();
        /// Longest time that WNS keeps a notification for a device that is offline. A nearer deadline shortens it.
        ttl: Duration = duration("1m", "24h").default("24h");
        /// Body of every notification. Devices ignore it, WNS refuses an empty one.
        body: Payload = payload().default("wake");
    }
}

/// Reads `[wns]`; the proxy may come from the environment in the usual way.
pub(super) fn read(root: &Place<'_>, env: &Environment, problems: &mut Problems) -> Option<Wns> {
    let keys = WnsKeys::read(&root.sub("wns", problems), problems)?;
    let proxy = match keys.proxy {
        Some(url) => Some(url),
        None => proxy_of_environment(env, problems)?,
    };
    let except = first_of(env, &["NO_PROXY", "no_proxy"]).map(|(_, hosts)| hosts.to_owned());
    Some(Wns {
        hosts: HostPolicy::new(keys.sandbox_hosts).expect("each host was proven when it was read"),
        ca_file: keys.ca_file,
        request_timeout: keys.request_timeout,
        connect_timeout: keys.connect_timeout,
        idle_timeout: keys.idle_timeout,
        http2: keys.http2,
        proxy: proxy.map(|url| Proxy { url, except }),
        priority: keys.priority,
        ttl: keys.ttl,
        payload: keys.body,
    })
}

/// The usual variable, in either spelling; a proxy without scheme is an HTTP proxy, as curl has it.
fn proxy_of_environment(env: &Environment, problems: &mut Problems) -> Option<Option<PrivateUrl>> {
    let Some((name, text)) = first_of(env, &["HTTPS_PROXY", "https_proxy"]) else {
        return Some(None);
    };
    let full = if text.contains("://") {
        text.to_owned()
    } else {
        format!("http://{text}")
    };
    match full.parse::<PrivateUrl>() {
        Ok(url) if PROXY_SCHEMES.contains(&url.expose().scheme()) => Some(Some(url)),
        _ => {
            let origin = super::error::Origin::Env(name.to_owned());
            problems.add(
                origin,
                "",
                "is not a proxy URL such as http://proxy.example:3128",
            );
            None
        }
    }
}

fn first_of<'e, 'n>(env: &'e Environment, names: &[&'n str]) -> Option<(&'n str, &'e str)> {
    names.iter().find_map(|name| Some((*name, env.get(name)?)))
}

fn host() -> Kind<String> {
    let about = "a host and its port, such as `localhost:9443`";
    parsed(about, |text| {
        HostPolicy::new([text]).map(|_| text.to_owned())
    })
}

fn payload() -> Kind<Payload> {
    parsed("1 to 5000 bytes", |text| {
        Payload::new(text.as_bytes().to_vec())
    })
}
