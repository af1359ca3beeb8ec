//! Why a request got no answer, read from the error and what lies behind it.

use std::{error::Error, io};

use hyper_util::client::legacy;

use super::{exit::Unresolved, line::Served};
use crate::domain::wns::reply::TransportFailure;

/// What the library says of an error beside what lies behind it.
struct Said {
    dns: bool,
    connect: bool,
    timeout: bool,
}

/// Classifies a failed request for a token; with `proxied`, what fails before a TLS handshake is blamed on the proxy.
pub(super) fn token_failure(error: &reqwest::Error, proxied: bool) -> TransportFailure {
    let said = Said {
        dns: error.is_dns(),
        connect: error.is_connect(),
        timeout: error.is_timeout(),
    };
    failure(error, &said, proxied)
}

/// Classifies a failed notification; with `proxied`, what fails before a TLS handshake is blamed on the proxy.
pub(super) fn push_failure(error: &legacy::Error, proxied: bool) -> TransportFailure {
    let said = Said {
        dns: causes(error).any(|cause| cause.is::<Unresolved>()),
        connect: error.is_connect(),
        timeout: false,
    };
    failure(error, &said, proxied)
}

/// Whether a connection broke that had served before, told to one of its requests; one stream of HTTP/2 that was reset is no
/// broken connection.
pub(super) fn is_stale(error: &legacy::Error) -> bool {
    let stream = |cause: &(dyn Error + 'static)| {
        let h2 = cause.downcast_ref::<h2::Error>();
        h2.is_some_and(|h2| h2.is_reset() && h2.reason() != Some(h2::Reason::REFUSED_STREAM))
    };
    !causes(error).any(stream) && Served::let_off(error.connect_info())
}

fn failure(error: &(dyn Error + 'static), said: &Said, proxied: bool) -> TransportFailure {
    if said.dns {
        return TransportFailure::Dns;
    }
    if causes(error).any(is_tls) {
        return TransportFailure::Tls;
    }
    if said.connect {
        return if proxied {
            TransportFailure::Proxy
        } else {
            TransportFailure::Connect
        };
    }
    if said.timeout {
        return TransportFailure::Timeout;
    }
    let mut hyper = causes(error).filter_map(|cause| cause.downcast_ref::<hyper::Error>());
    if hyper.any(hyper::Error::is_parse) {
        return TransportFailure::Protocol;
    }
    if causes(error).any(|cause| cause.is::<hyper::Error>() || cause.is::<io::Error>()) {
        return TransportFailure::Reset;
    }
    TransportFailure::Protocol
}

fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |cause: &&'e (dyn Error + 'static)| {
        (*cause).source()
    })
}

/// TLS errors travel inside an `io::Error` or two, whose `source` is that of the error within and not that error itself.
fn is_tls(cause: &(dyn Error + 'static)) -> bool {
    let within = cause
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref);
    cause.is::<rustls::Error>() || within.is_some_and(|within| is_tls(within))
}
