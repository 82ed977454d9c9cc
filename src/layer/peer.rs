//! The peer of a connection, from axum's `ConnectInfo`.

use std::net::IpAddr;

use http::Extensions;

use crate::engine::TrustedProxies;

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Address(IpAddr),
    /// A trusted process on this machine, which has no address.
    UnixSocket,
}

impl Peer {
    /// `None` when the application does not provide the peer.
    pub(crate) fn from_extensions(
        extensions: &Extensions,
        trusted: &TrustedProxies,
    ) -> Option<Self> {
        if trusted.is_unix_peer(extensions) {
            return Some(Self::UnixSocket);
        }
        remote_address(extensions).map(|address| Self::Address(address.to_canonical()))
    }

    pub(crate) fn is_trusted(self, trusted: &TrustedProxies) -> bool {
        match self {
            Self::Address(address) => trusted.contains(address),
            Self::UnixSocket => true,
        }
    }
}

#[cfg(feature = "axum")]
fn remote_address(extensions: &Extensions) -> Option<IpAddr> {
    use std::net::SocketAddr;

    use axum::extract::ConnectInfo;

    extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip())
}

/// Only axum's server provides it.
#[cfg(not(feature = "axum"))]
fn remote_address(_: &Extensions) -> Option<IpAddr> {
    None
}
