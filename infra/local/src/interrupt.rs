//! Ctrl-C and its kin end a command in order: its destructors run, and with them every process.

use tokio::signal::unix::{SignalKind, signal};

use crate::error::{Error, Result};

/// Runs a command until it ends or the process is asked to end.
///
/// # Errors
///
/// Returns the command's error, or [`Error::Interrupted`].
pub async fn or_interrupted<T>(command: impl Future<Output = Result<T>>) -> Result<T> {
    let (interrupt, terminate, hangup) = tokio::join!(
        wait_for(SignalKind::interrupt()),
        wait_for(SignalKind::terminate()),
        wait_for(SignalKind::hangup()),
    );
    tokio::select! {
        outcome = command => outcome,
        () = interrupt => Err(Error::Interrupted),
        () = terminate => Err(Error::Interrupted),
        () = hangup => Err(Error::Interrupted),
    }
}

/// Listens from the moment this returns; what it returns ends when the signal comes.
async fn wait_for(kind: SignalKind) -> impl Future<Output = ()> {
    let listening = signal(kind);
    async move {
        match listening {
            Ok(mut listening) => {
                listening.recv().await;
            }
            // Without a listener the signal ends the process as it always did.
            Err(_) => std::future::pending().await,
        }
    }
}
