//! The listener, and a shutdown that open pages do not delay.

use std::future::IntoFuture as _;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::signal;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tower_activeconnect::Activeconnect;

/// The time that running requests get at shutdown.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

pub(crate) async fn bind(listen: &str) -> Result<TcpListener, String> {
    TcpListener::bind(listen).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "{listen} is in use; stop the program that listens there, or choose another port with --listen \
             (127.0.0.1:0 picks a free one)"
        ),
        _ => format!(
            "cannot listen on {listen:?}: {error}; give --listen an address of this machine and a \
             port, like 127.0.0.1:3000"
        ),
    })
}

/// Serves until Ctrl-C or SIGTERM.
pub(crate) async fn serve(
    listener: TcpListener,
    app: Router,
    ac: &Activeconnect,
) -> Result<(), String> {
    let (stop, stopped) = oneshot::channel::<()>();
    // The login limits count by client address.
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    let server = axum::serve(listener, app).with_graceful_shutdown(async {
        stopped.await.ok();
    });
    let mut server = pin!(server.into_future());
    tokio::select! {
        result = &mut server => return result.map_err(|error| format!("the server failed: {error}")),
        result = stop_signal() => {
            result.map_err(|error| format!("cannot listen for signals: {error}"))?;
        }
    }
    drop(stop);
    // Ends all streams of sessions, so that the server can finish.
    ac.shutdown().await;
    match timeout(SHUTDOWN_GRACE, server).await {
        Ok(result) => result.map_err(|error| format!("the server failed: {error}")),
        // The connections that are still open end with the process.
        Err(_) => Ok(()),
    }
}

#[cfg(unix)]
async fn stop_signal() -> io::Result<()> {
    let mut terminate = signal::unix::signal(signal::unix::SignalKind::terminate())?;
    tokio::select! {
        result = signal::ctrl_c() => result,
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
async fn stop_signal() -> io::Result<()> {
    signal::ctrl_c().await
}
