//! Who has connected, as axum's `ConnectInfo` tells.

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
    /// `None` when the application does not say who is connected.
    #[cfg(feature = "axum")]
    pub(crate) fn from_extensions(
        extensions: &Extensions,
        trusted: &TrustedProxies,
    ) -> Option<Self> {
        use std::net::SocketAddr;

        use axum::extract::ConnectInfo;

        if trusted.is_unix_peer(extensions) {
            return Some(Self::UnixSocket);
        }
        let ConnectInfo(address) = extensions.get::<ConnectInfo<SocketAddr>>()?;
        Some(Self::Address(address.ip().to_canonical()))
    }

    /// Without axum nothing says who is connected.
    #[cfg(not(feature = "axum"))]
    pub(crate) fn from_extensions(_: &Extensions, _: &TrustedProxies) -> Option<Self> {
        None
    }

    pub(crate) fn is_trusted(self, trusted: &TrustedProxies) -> bool {
        match self {
            Self::Address(address) => trusted.contains(address),
            Self::UnixSocket => true,
        }
    }
}
