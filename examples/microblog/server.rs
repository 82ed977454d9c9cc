//! The listener, and a shutdown that open pages do not hold up.

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

/// How long requests may take to finish once the blog was asked to stop.
const GRACE: Duration = Duration::from_secs(2);

pub(crate) async fn bind(listen: &str) -> Result<TcpListener, String> {
    TcpListener::bind(listen).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "{listen} is taken; stop what listens there, or choose another port with --listen \
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
    // The addresses of clients are what login budgets are counted by.
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    let serving = axum::serve(listener, app).with_graceful_shutdown(async {
        stopped.await.ok();
    });
    let mut serving = pin!(serving.into_future());
    tokio::select! {
        result = &mut serving => return result.map_err(|error| format!("serving ended: {error}")),
        result = asked_to_stop() => {
            result.map_err(|error| format!("cannot listen for signals: {error}"))?;
        }
    }
    drop(stop);
    // What sessions hold open ends here, so that nothing keeps the server from finishing.
    ac.shutdown().await;
    match timeout(GRACE, serving).await {
        Ok(result) => result.map_err(|error| format!("serving ended: {error}")),
        // What is still open is cut with the process.
        Err(_) => Ok(()),
    }
}

#[cfg(unix)]
async fn asked_to_stop() -> io::Result<()> {
    let mut terminate = signal::unix::signal(signal::unix::SignalKind::terminate())?;
    tokio::select! {
        result = signal::ctrl_c() => result,
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
async fn asked_to_stop() -> io::Result<()> {
    signal::ctrl_c().await
}
