use std::net::IpAddr;

use http::Extensions;
use ipnet::IpNet;

/// The header in which a trusted proxy names the client; for
/// [`ActiveconnectBuilder::forwarded_header`](crate::ActiveconnectBuilder::forwarded_header).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`: addresses, each with a port or without, bracketed or quoted or neither.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239): the parameter `for` of each element.
    Forwarded,
}

/// The proxies in front of the application, and the header in which they name the client.
#[derive(Debug, Default)]
pub(crate) struct TrustedProxies {
    networks: Vec<IpNet>,
    /// Whether the request came over a unix socket whose peers are trusted.
    pub(crate) unix_peer: Option<fn(&Extensions) -> bool>,
    pub(crate) header: ForwardedHeader,
}

impl TrustedProxies {
    pub(crate) fn set_networks(&mut self, networks: impl IntoIterator<Item = IpNet>) {
        self.networks = networks.into_iter().collect();
    }

    /// Whether no proxy is trusted.
    pub(crate) fn is_empty(&self) -> bool {
        self.networks.is_empty() && self.unix_peer.is_none()
    }

    pub(crate) fn is_unix_peer(&self, extensions: &Extensions) -> bool {
        self.unix_peer.is_some_and(|is_unix_peer| is_unix_peer(extensions))
    }

    /// Whether this is a trusted proxy's address. An IPv4 address and its IPv4-mapped IPv6 form
    /// (`::ffff:10.0.0.1`) are the same address, on both sides.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| match (network, address) {
            (IpNet::V6(network), IpAddr::V4(address)) => {
                network.contains(&address.to_ipv6_mapped())
            }
            (network, address) => network.contains(&address),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_and_plain_addresses_are_the_same() {
        for (network, address, expected) in [
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("10.0.0.0/8", "11.1.2.3", false),
            ("::ffff:10.0.0.0/104", "10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "::ffff:10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "11.1.2.3", false),
            ("::ffff:10.0.0.1/128", "10.0.0.1", true),
            ("::ffff:10.0.0.1/128", "10.0.0.2", false),
            ("::ffff:0:0/96", "192.0.2.1", true),
            ("::ffff:0:0/96", "2001:db8::1", false),
            ("2001:db8::/32", "2001:db8::1", true),
            ("2001:db8::/32", "10.0.0.1", false),
            ("fd00::/8", "fd00::1", true),
        ] {
            let mut proxies = TrustedProxies::default();
            proxies.set_networks([network.parse().unwrap()]);
            let contained = proxies.contains(address.parse().unwrap());
            assert_eq!(contained, expected, "{address} in {network}");
        }
    }
}
