use axum::extract::ConnectInfo;
use axum::extract::connect_info::Connected;
use axum::http::Extensions;
use axum::serve::IncomingStream;
use tokio::net::UnixListener;

use crate::engine::ActiveconnectBuilder;

/// The peer of a connection to a unix socket, for
/// `into_make_service_with_connect_info::<UnixPeer>()` and [`ActiveconnectBuilder::trust_unix_peer`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct UnixPeer;

impl Connected<IncomingStream<'_, UnixListener>> for UnixPeer {
    fn connect_info(_: IncomingStream<'_, UnixListener>) -> Self {
        Self
    }
}

impl ActiveconnectBuilder {
    /// Trusts the peers of a unix socket as [trusted proxies](ActiveconnectBuilder::trusted_proxies): the client
    /// is the last address in the [forwarded header](ActiveconnectBuilder::forwarded_header) that no trusted
    /// proxy has. Only processes that the socket's permissions let in can connect; whatever these
    /// are, they say which client they speak for.
    ///
    /// `C` is what the application serves with as axum's `ConnectInfo<C>`: [`UnixPeer`], or a type
    /// of its own for unix listeners. A request counts as such a peer's only if it bears that, so
    /// an application that listens on TCP as well trusts nothing there. Do not give a type that it
    /// serves TCP with, too.
    ///
    /// ```
    /// use axum::Router;
    /// use tokio::net::UnixListener;
    /// use tower_activeconnect::ActiveconnectBuilder;
    /// use tower_activeconnect::web::UnixPeer;
    ///
    /// fn configure(builder: ActiveconnectBuilder) -> ActiveconnectBuilder {
    ///     builder.trust_unix_peer::<UnixPeer>()
    /// }
    ///
    /// async fn serve(app: Router) -> std::io::Result<()> {
    ///     let listener = UnixListener::bind("/run/app/socket")?;
    ///     axum::serve(listener, app.into_make_service_with_connect_info::<UnixPeer>()).await
    /// }
    /// ```
    pub fn trust_unix_peer<C>(self) -> Self
    where
        C: for<'a> Connected<IncomingStream<'a, UnixListener>>,
    {
        self.unix_peer(is_connected_as::<C>)
    }
}

fn is_connected_as<C: Clone + Send + Sync + 'static>(extensions: &Extensions) -> bool {
    extensions.get::<ConnectInfo<C>>().is_some()
}
