//! One connection to one server that mends itself, and answers at once when it is down.
//!
//! While the first attempt to connect is under way callers wait for it, a moment at most; once an attempt has failed they are
//! refused at once until a later one succeeds. The dialling stops when the link is dropped.

use std::{sync::Arc, sync::Weak, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, RedisResult, Value, aio::MultiplexedConnection,
};
use tokio::{runtime::Handle, sync::watch};

use super::errors::unavailable;
use crate::ports::error::StoreError;

/// Longest time a caller waits for a connection that is being made.
const PATIENCE: Duration = Duration::from_millis(300);
/// Wait after the first failed attempt; doubles.
const BACKOFF_MIN: Duration = Duration::from_millis(20);
/// Longest wait between attempts.
const BACKOFF_MAX: Duration = Duration::from_millis(500);

/// A connection under its number, so that a late failure does not tear down its successor.
#[derive(Clone)]
pub(super) struct Wire {
    number: u64,
    pub(super) connection: MultiplexedConnection,
}

impl Wire {
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Sends a command, to a server that is not yet the one of its keys if `asking`.
    pub(super) async fn exchange(&self, command: Cmd, asking: bool) -> RedisResult<Value> {
        let mut connection = self.connection.clone();
        if !asking {
            return command.query_async(&mut connection).await;
        }
        let mut pipeline = redis::pipe();
        pipeline.cmd("ASKING").ignore().add_command(command);
        // An error of the pipeline would not tell of which kind the one of the command is.
        let answers = pipeline.ignore_errors().query_async(&mut connection);
        let answers: Vec<RedisResult<Value>> = answers.await?;
        let none = || Err((ErrorKind::Parse, "no answer behind ASKING").into());
        answers.into_iter().next().unwrap_or_else(none)
    }
}

#[derive(Clone)]
enum State {
    Up(Wire),
    Dialling,
    Down(&'static str),
}

/// See the module.
pub(super) struct Link {
    client: Client,
    timeout: Duration,
    home: Handle,
    state: watch::Sender<State>,
    number: std::sync::atomic::AtomicU64,
}

impl Link {
    /// Begins to dial.
    pub(super) fn dial(client: Client, timeout: Duration, home: Handle) -> Arc<Self> {
        let link = Arc::new(Self {
            client,
            timeout,
            home: home.clone(),
            state: watch::Sender::new(State::Dialling),
            number: std::sync::atomic::AtomicU64::new(0),
        });
        home.spawn(dialling(Arc::downgrade(&link)));
        link
    }

    /// The connection, if there is one or will be in a moment.
    pub(super) async fn wire(&self) -> Result<Wire, StoreError> {
        if let State::Up(wire) = &*self.state.borrow() {
            return Ok(wire.clone());
        }
        let mut states = self.state.subscribe();
        let settled = states.wait_for(|state| !matches!(state, State::Dialling));
        match tokio::time::timeout(PATIENCE, settled).await {
            Ok(Ok(state)) => match &*state {
                State::Up(wire) => Ok(wire.clone()),
                State::Down(why) => Err(unavailable(*why)),
                State::Dialling => Err(unavailable("redis is being connected")),
            },
            Ok(Err(_)) | Err(_) => Err(unavailable("redis is being connected")),
        }
    }

    /// Waits until the link is up, however long that takes.
    pub(super) async fn up(&self) {
        let mut states = self.state.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        let _up = states.wait_for(|state| matches!(state, State::Up(_))).await;
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(&*self.state.borrow(), State::Up(_))
    }

    /// Why the last attempt to connect failed.
    pub(super) fn complaint(&self) -> Option<&'static str> {
        match &*self.state.borrow() {
            State::Down(why) => Some(why),
            State::Up(_) | State::Dialling => None,
        }
    }

    /// Replaces a connection that has failed.
    pub(super) fn broken(self: &Arc<Self>, wire: &Wire) {
        let fell = self.state.send_if_modified(|state| {
            let current = matches!(state, State::Up(now) if now.number == wire.number);
            if current {
                *state = State::Dialling;
            }
            current
        });
        if fell {
            self.home.spawn(dialling(Arc::downgrade(self)));
        }
    }

    async fn attempt(&self) -> Result<Wire, &'static str> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.timeout));
        let connecting = self
            .client
            .get_multiplexed_async_connection_with_config(&config);
        // The library's limit covers the TCP connection only, not the greeting of a server that is stopped.
        let connected = tokio::time::timeout(self.timeout, connecting).await;
        let connection = match connected {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return Err(dial_error(&error)),
            Err(_) => return Err("redis does not answer"),
        };
        let number = self
            .number
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(Wire { number, connection })
    }
}

/// Why a server cannot be connected, in words that tell an operator what to look at.
pub(super) fn dial_error(error: &redis::RedisError) -> &'static str {
    // Neither the standard library nor the client tells some of them apart otherwise.
    let text = error.to_string();
    let told = |what| text.contains(what);
    match error.kind() {
        redis::ErrorKind::AuthenticationFailed => "redis refuses the login",
        _ if matches!(error.code(), Some("WRONGPASS" | "NOAUTH")) => "redis refuses the login",
        _ if error.is_connection_refusal() => "nothing listens at the address of redis",
        redis::ErrorKind::Io if told("failed to lookup") => "the host of redis is unknown",
        redis::ErrorKind::Io if told("invalid peer certificate") => {
            "the certificate of redis is not trusted (store.ca_file), not for this host, or out of date"
        }
        _ if error.is_connection_dropped() => {
            "redis ends connections at once: is it in protected mode, or does it expect TLS?"
        }
        _ => "redis cannot be connected",
    }
}

async fn dialling(link: Weak<Link>) {
    let mut backoff = BACKOFF_MIN;
    while let Some(link) = link.upgrade() {
        match link.attempt().await {
            Ok(wire) => {
                link.state.send_replace(State::Up(wire));
                return;
            }
            Err(why) => link.state.send_replace(State::Down(why)),
        };
        drop(link);
        tokio::time::sleep(backoff).await;
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}
