//! Why a request got no answer, read from the error and what lies behind it.

use std::{error::Error, io};

use crate::domain::wns::reply::TransportFailure;

/// Classifies `error`; with `proxied`, what fails before a TLS handshake is blamed on the proxy.
pub(super) fn transport_failure(error: &reqwest::Error, proxied: bool) -> TransportFailure {
    if error.is_dns() {
        return TransportFailure::Dns;
    }
    if causes(error).any(is_tls) {
        return TransportFailure::Tls;
    }
    if error.is_connect() {
        return if proxied {
            TransportFailure::Proxy
        } else {
            TransportFailure::Connect
        };
    }
    if error.is_timeout() {
        return TransportFailure::Timeout;
    }
    if causes(error).any(|cause| {
        cause
            .downcast_ref::<hyper::Error>()
            .is_some_and(hyper::Error::is_parse)
    }) {
        return TransportFailure::Protocol;
    }
    if causes(error).any(|cause| cause.is::<hyper::Error>() || cause.is::<io::Error>()) {
        return TransportFailure::Reset;
    }
    TransportFailure::Protocol
}

fn causes<'e>(error: &'e reqwest::Error) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    let first: &'e (dyn Error + 'static) = error;
    std::iter::successors(Some(first), |cause: &&'e (dyn Error + 'static)| {
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
