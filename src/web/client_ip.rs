//! The address of the client that sends a request.

use std::net::{IpAddr, Ipv4Addr};

use axum::http::HeaderMap;
use axum::http::request::Parts;

use super::forwarded::forwarded_addresses;
use crate::engine::TrustedProxies;
use crate::layer::Peer;

/// The most forwarded addresses that the gate follows.
const MAX_HOPS: usize = 32;
/// The shared address of all clients for which a proxy on a unix socket names no address.
const UNIX_SOCKET: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// The client's address: the connection's peer or, if the peer is a trusted proxy, the rightmost
/// forwarded address that is no trusted proxy. Addresses that clients write into the header are left
/// of it. `None` when the application does not provide the peer's address.
pub(super) fn client_ip(parts: &Parts, proxies: &TrustedProxies) -> Option<IpAddr> {
    let peer = Peer::from_extensions(&parts.extensions, proxies)?;
    Some(resolve_forwarded(peer, &parts.headers, proxies))
}

fn resolve_forwarded(peer: Peer, headers: &HeaderMap, proxies: &TrustedProxies) -> IpAddr {
    let mut last = peer;
    for forwarded in forwarded_addresses(headers, proxies.header).take(MAX_HOPS) {
        if !last.is_trusted(proxies) {
            break;
        }
        // An unreadable element hides the client: the address of the proxy that sent it counts.
        let Some(forwarded) = forwarded else { break };
        last = Peer::Address(forwarded);
    }
    match last {
        Peer::Address(address) => address,
        Peer::UnixSocket => UNIX_SOCKET,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ForwardedHeader;

    fn resolve(peer: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        let mut proxies = TrustedProxies::default();
        proxies.set_networks(trusted.iter().map(|network| network.parse().unwrap()));
        resolve_forwarded(Peer::Address(peer.parse().unwrap()), &headers, &proxies).to_string()
    }

    #[test]
    fn untrusted_peer_headers_are_ignored() {
        for (peer, forwarded, trusted, address) in [
            ("198.51.100.7", &["203.0.113.5"][..], &[][..], "198.51.100.7"),
            ("198.51.100.7", &["203.0.113.5"], &["10.0.0.0/8"], "198.51.100.7"),
            ("10.0.0.1", &[], &["10.0.0.0/8"], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.5"], &["10.0.0.0/8"], "203.0.113.5"),
            ("10.0.0.1", &["1.1.1.1, 203.0.113.5"], &["10.0.0.0/8"], "203.0.113.5"),
            ("10.0.0.1", &["1.1.1.1", "203.0.113.5"], &["10.0.0.0/8"], "203.0.113.5"),
            ("10.0.0.1", &["1.1.1.1, 203.0.113.5, 10.0.0.2"], &["10.0.0.0/8"], "203.0.113.5"),
            ("10.0.0.1", &["203.0.113.5:4711"], &["10.0.0.0/8"], "203.0.113.5"),
            ("10.0.0.1", &["[2001:db8::1]:4711"], &["10.0.0.0/8"], "2001:db8::1"),
            ("10.0.0.1", &["1.1.1.1, unknown"], &["10.0.0.0/8"], "10.0.0.1"),
            ("10.0.0.1", &["1.1.1.1, , 10.0.0.2"], &["10.0.0.0/8"], "10.0.0.2"),
            ("::ffff:10.0.0.1", &["203.0.113.5"], &["10.0.0.0/8"], "203.0.113.5"),
            ("10.0.0.1", &["203.0.113.5"], &["::ffff:10.0.0.0/104"], "203.0.113.5"),
            ("10.0.0.1", &["203.0.113.5, ::ffff:10.0.0.2"], &["10.0.0.0/8"], "203.0.113.5"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], &["10.0.0.0/8"], "10.0.0.3"),
        ] {
            assert_eq!(resolve(peer, forwarded, trusted), address, "{forwarded:?}");
        }
    }

    #[test]
    fn only_the_configured_header_is_read() {
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", "203.0.113.5".parse().unwrap());
        headers.append("forwarded", "for=203.0.113.6".parse().unwrap());
        let mut proxies = TrustedProxies::default();
        proxies.set_networks(["10.0.0.0/8".parse().unwrap()]);
        let peer = Peer::Address("10.0.0.1".parse().unwrap());
        assert_eq!(resolve_forwarded(peer, &headers, &proxies).to_string(), "203.0.113.5");
        proxies.header = ForwardedHeader::Forwarded;
        assert_eq!(resolve_forwarded(peer, &headers, &proxies).to_string(), "203.0.113.6");
    }
}
