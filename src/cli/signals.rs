//! Being asked to stop.

use std::future::pending;

use tokio::signal;

/// Waits until the process is interrupted (SIGINT) or asked to end (SIGTERM). Another call waits for the next signal.
///
/// # Cancel safety
/// Safe; a signal that comes while nobody waits is not remembered.
pub async fn interrupted() {
    tokio::select! {
        () = interrupt() => {}
        () = terminate() => {}
    }
}

/// A signal that cannot be awaited never comes; its default action then ends the process.
async fn interrupt() {
    if signal::ctrl_c().await.is_err() {
        pending::<()>().await;
    }
}

#[cfg(unix)]
async fn terminate() {
    match signal::unix::signal(signal::unix::SignalKind::terminate()) {
        Ok(mut signals) => {
            signals.recv().await;
        }
        Err(_) => pending().await,
    }
}

#[cfg(not(unix))]
async fn terminate() {
    pending().await
}
