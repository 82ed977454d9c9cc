//! Peers of unix sockets.

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
    /// Trusts the peers of a unix socket as
    /// [trusted proxies](ActiveconnectBuilder::trusted_proxies): the client is the rightmost address
    /// in the [forwarded header](ActiveconnectBuilder::forwarded_header) that is no trusted proxy.
    /// Every process that the socket's permissions allow to connect can name any client.
    ///
    /// `C` is the application's type for axum's `ConnectInfo<C>`: [`UnixPeer`], or its own type for
    /// unix listeners. Only a request with a `ConnectInfo<C>` counts as such a peer's, so an
    /// application that also listens on TCP trusts no peers there. Do not pass a type that the
    /// application uses for TCP.
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
