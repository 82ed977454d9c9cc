//! Which address a request comes from.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use axum::extract::ConnectInfo;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use ipnet::IpNet;

/// As many hops are looked at.
const HOPS: usize = 32;

/// The client's address: the connection's peer, or, if that is a trusted proxy, the last address in
/// `X-Forwarded-For` that is none. What strangers write there is left of it. `None` when the
/// application does not say who is connected.
pub(super) fn client(parts: &Parts, trusted: &[IpNet]) -> Option<IpAddr> {
    let ConnectInfo(peer) = parts.extensions.get::<ConnectInfo<SocketAddr>>()?;
    Some(behind(peer.ip(), &parts.headers, trusted))
}

fn behind(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: IpAddr| {
        let address = address.to_canonical();
        trusted.iter().any(|network| network.contains(&address))
    };
    static FORWARDED: HeaderName = HeaderName::from_static("x-forwarded-for");
    let lines: Vec<_> = headers.get_all(&FORWARDED).iter().collect();
    let hops = lines.iter().rev().flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    let mut address = peer;
    for hop in hops.take(HOPS) {
        if !is_trusted(address) {
            break;
        }
        // What can't be read hides who is behind it: the proxy that passed it on stands for them.
        let Some(hop) = std::str::from_utf8(hop).ok().and_then(parse) else { break };
        address = hop;
    }
    address
}

/// An address, with a port or without.
fn parse(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim();
    let address = IpAddr::from_str(hop).ok();
    address.or_else(|| Some(SocketAddr::from_str(hop).ok()?.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behind_of(peer: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        let trusted: Vec<IpNet> = trusted.iter().map(|network| network.parse().unwrap()).collect();
        behind(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn nobody_is_believed_who_is_not_trusted() {
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
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], &["10.0.0.0/8"], "10.0.0.3"),
        ] {
            assert_eq!(behind_of(peer, forwarded, trusted), address, "{forwarded:?}");
        }
    }
}
