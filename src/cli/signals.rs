//! Being asked to stop.

use std::future::pending;

use tokio::signal;

/// Waits until the process is interrupted (SIGINT) or asked to end (SIGTERM).
///
/// # Cancel safety
/// Safe; a signal that comes while nobody waits is not remembered. `Requests` remembers.
pub async fn interrupted() {
    Requests::listen().next().await;
}

/// The signals by which the process is asked to end, from the moment on in which this is made.
pub(super) struct Requests {
    #[cfg(unix)]
    kinds: [Option<signal::unix::Signal>; 2],
}

impl Requests {
    /// Listens from now on. A signal that cannot be listened to keeps its default action, which ends the process.
    pub(super) fn listen() -> Self {
        Self {
            #[cfg(unix)]
            kinds: [
                signal::unix::SignalKind::interrupt(),
                signal::unix::SignalKind::terminate(),
            ]
            .map(|kind| signal::unix::signal(kind).ok()),
        }
    }

    /// Waits for the next one.
    ///
    /// # Cancel safety
    /// Safe: one that comes while nobody waits is remembered.
    #[cfg(unix)]
    pub(super) async fn next(&mut self) {
        let [interrupt, terminate] = &mut self.kinds;
        tokio::select! {
            () = received(interrupt) => {}
            () = received(terminate) => {}
        }
    }

    /// Waits for the next one.
    #[cfg(not(unix))]
    pub(super) async fn next(&mut self) {
        if signal::ctrl_c().await.is_err() {
            pending::<()>().await;
        }
    }
}

#[cfg(unix)]
async fn received(signals: &mut Option<signal::unix::Signal>) {
    let came = match signals {
        Some(signals) => signals.recv().await,
        None => None,
    };
    if came.is_none() {
        pending::<()>().await;
    }
}
