//! What an error of Redis means for a call: try again, ask elsewhere, or one of the store's errors.
//!
//! Texts of the server are not repeated, but for script errors: a server may echo arguments, and those hold channel URIs.

use std::time::Duration;

use redis::{ErrorKind, RedisError, ServerErrorKind};

use super::options::{Address, read_address};
use crate::ports::error::StoreError;

/// What callers are told about when to come back.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Most bytes of a script error that are passed on.
const DETAIL_BYTES_MAX: usize = 160;

/// What to do about a failed command.
#[derive(Debug)]
pub(super) enum Verdict {
    /// The script is not loaded here: send its text.
    SendText,
    /// The slot has moved there for good.
    Moved(Address),
    /// The key may be there: ask once.
    Ask(Address),
    /// A script looked at a key that its server does not hold.
    Scattered,
    /// The server does not hold all of the keys while their slot is migrated: repeat soon, or ask for fewer.
    Migrating,
    /// The server works on a long script: repeat soon.
    Again,
    /// The server is not the right one any more, or not yet: look for another, fail now.
    Elsewhere(&'static str),
    /// The connection is of no use any more; the command may have been carried out.
    Broken(&'static str),
    /// Nothing that a repetition would change.
    Final(StoreError),
}

pub(super) fn unavailable(detail: impl Into<String>) -> StoreError {
    StoreError::Unavailable {
        detail: detail.into(),
        retry_after: Some(RETRY_AFTER),
    }
}

pub(super) fn damaged(detail: impl Into<String>) -> StoreError {
    StoreError::Damaged {
        detail: detail.into(),
    }
}

pub(super) fn judge(error: &RedisError) -> Verdict {
    match error.kind() {
        ErrorKind::Server(kind) => judge_known(kind, error),
        ErrorKind::Extension => judge_other(error),
        ErrorKind::Io if error.is_timeout() => Verdict::Broken("no answer in time"),
        ErrorKind::Io => Verdict::Broken("connection lost"),
        ErrorKind::AuthenticationFailed => Verdict::Final(unavailable("redis refuses the login")),
        ErrorKind::Parse => Verdict::Broken("the answer is not of redis's protocol"),
        _ => Verdict::Final(unavailable(format!("redis: {}", error.category()))),
    }
}

fn judge_known(kind: ServerErrorKind, error: &RedisError) -> Verdict {
    match kind {
        ServerErrorKind::NoScript => Verdict::SendText,
        ServerErrorKind::Moved => redirect(error).map_or_else(lost, Verdict::Moved),
        ServerErrorKind::Ask => redirect(error).map_or_else(lost, Verdict::Ask),
        ServerErrorKind::TryAgain => Verdict::Migrating,
        ServerErrorKind::ClusterDown => Verdict::Elsewhere("the redis cluster is down"),
        ServerErrorKind::MasterDown => Verdict::Elsewhere("the redis master is down"),
        ServerErrorKind::ReadOnly => Verdict::Elsewhere("the redis server is a replica"),
        ServerErrorKind::BusyLoading => Verdict::Elsewhere("redis is loading its data"),
        ServerErrorKind::NoPerm => {
            Verdict::Final(unavailable("redis: the user lacks a permission (NOPERM)"))
        }
        _ if error.detail().is_some_and(is_elsewhere) => Verdict::Scattered,
        _ => Verdict::Final(script_error(error)),
    }
}

/// What a script is told that looks at a key which its server does not hold.
fn is_elsewhere(detail: &str) -> bool {
    detail.contains("a non local key in a cluster node")
}

fn judge_other(error: &RedisError) -> Verdict {
    match error.code().unwrap_or_default() {
        "BUSY" | "UNKILLABLE" => Verdict::Again,
        "OOM" => Verdict::Final(StoreError::Full {
            detail: "redis has reached maxmemory".to_owned(),
        }),
        "MISCONF" => Verdict::Final(unavailable("redis cannot write to its disk (MISCONF)")),
        "NOREPLICAS" => Verdict::Final(unavailable("redis has too few replicas (NOREPLICAS)")),
        "NOAUTH" | "WRONGPASS" => Verdict::Final(unavailable("redis refuses the login")),
        "WRONGTYPE" => Verdict::Final(damaged("a key has another type than expected")),
        other => Verdict::Final(unavailable(format!("redis answered {other}"))),
    }
}

fn lost() -> Verdict {
    Verdict::Elsewhere("redis redirects to nowhere")
}

fn redirect(error: &RedisError) -> Option<Address> {
    let (address, _slot) = error.redirect_node()?;
    read_address(address)
}

fn script_error(error: &RedisError) -> StoreError {
    let detail = error.detail().unwrap_or_default();
    let oom = "command not allowed when used memory > 'maxmemory'";
    if detail.contains(oom) || detail.contains("OOM") {
        return StoreError::Full {
            detail: "redis has reached maxmemory".to_owned(),
        };
    }
    let cut = detail
        .char_indices()
        .map(|(at, _)| at)
        .find(|at| *at >= DETAIL_BYTES_MAX);
    let shown = if detail.contains("script") {
        &detail[..cut.unwrap_or(detail.len())]
    } else {
        ""
    };
    unavailable(
        format!("redis: {} {shown}", error.category())
            .trim_end()
            .to_owned(),
    )
}
