//! `X-Forwarded-For` and `Forwarded` (RFC 7239): the addresses that proxies add.
//!
//! The parser reads elements from the right, because the nearest proxy appends on the right. It
//! matches quotes from the right as well, so that a client's input, such as an open quote, does not
//! change how the proxy's element is read. A parser that starts on the left would let clients hide
//! behind the proxy's address.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use axum::http::{HeaderMap, HeaderName};

use crate::engine::ForwardedHeader;

/// The addresses in this header, the nearest hop first. `None` for an element without a readable
/// address, such as an obfuscated identifier.
pub(super) fn forwarded_addresses(
    headers: &HeaderMap,
    header: ForwardedHeader,
) -> impl Iterator<Item = Option<IpAddr>> {
    static FORWARDED: HeaderName = HeaderName::from_static("forwarded");
    static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
    let name = match header {
        ForwardedHeader::Forwarded => &FORWARDED,
        ForwardedHeader::XForwardedFor => &X_FORWARDED_FOR,
    };
    let lines: Vec<_> = headers.get_all(name).iter().collect();
    let elements = lines.into_iter().rev().flat_map(|line| split_from_right(line.as_bytes(), b','));
    elements.map(move |element| {
        let node = match header {
            ForwardedHeader::Forwarded => for_parameter(element)?,
            ForwardedHeader::XForwardedFor => unquote(element.trim_ascii())?,
        };
        parse_node(&node)
    })
}

/// The parts between separators outside quoted strings, the last part first.
fn split_from_right(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let mut is_quoted = false;
        for at in (0..text.len()).rev() {
            if text[at] == b'"' && !(is_quoted && is_escaped(text, at)) {
                is_quoted = !is_quoted;
            } else if text[at] == separator && !is_quoted {
                rest = Some(&text[..at]);
                return Some(&text[at + 1..]);
            }
        }
        rest = None;
        Some(text)
    })
}

/// Whether an odd number of backslashes precedes this position.
fn is_escaped(text: &[u8], at: usize) -> bool {
    text[..at].iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// The value of `for` in an element of `Forwarded`: parameters between semicolons, in any case and
/// order. `None` if one of them is malformed, or `for` is missing or repeated.
fn for_parameter(element: &[u8]) -> Option<Cow<'_, str>> {
    let mut found = None;
    for pair in split_from_right(element, b';') {
        let pair = pair.trim_ascii();
        if pair.is_empty() {
            continue;
        }
        let (name, value) = pair.split_at(pair.iter().position(|byte| *byte == b'=')?);
        let value = unquote(&value[1..])?;
        if name.eq_ignore_ascii_case(b"for") && found.replace(value).is_some() {
            return None;
        }
    }
    found
}

/// An unquoted value unchanged, or the content of a quoted string without its escapes.
fn unquote(value: &[u8]) -> Option<Cow<'_, str>> {
    let value = std::str::from_utf8(value).ok()?;
    let Some(quoted) = value.strip_prefix('"') else {
        let is_plain = !value.contains(['"', '\\']) && !value.contains(char::is_whitespace);
        return is_plain.then_some(Cow::Borrowed(value));
    };
    let quoted = quoted.strip_suffix('"')?;
    let mut content = String::with_capacity(quoted.len());
    let mut characters = quoted.chars();
    while let Some(character) = characters.next() {
        content.push(match character {
            '\\' => characters.next()?,
            '"' => return None,
            other => other,
        });
    }
    Some(Cow::Owned(content))
}

/// The address of a node: IPv4, or IPv6 with or without brackets, with or without a port. `None`
/// for `unknown` and for an identifier that starts with `_`.
fn parse_node(node: &str) -> Option<IpAddr> {
    let address = if let Some(bracketed) = node.strip_prefix('[') {
        let (address, port) = bracketed.split_once(']')?;
        (port.is_empty() || is_port(port.strip_prefix(':')?)).then(|| parse_ipv6(address))??
    } else if let Some(address) = parse_ipv6(node) {
        address
    } else if let Some((address, port)) = node.split_once(':') {
        is_port(port).then(|| address.parse::<Ipv4Addr>().ok())??.into()
    } else {
        node.parse::<Ipv4Addr>().ok()?.into()
    };
    Some(address.to_canonical())
}

/// An IPv6 address without its zone (`fe80::1%eth0`), which has a meaning on one machine only.
fn parse_ipv6(address: &str) -> Option<IpAddr> {
    let (address, _zone) = address.split_once('%').unwrap_or((address, ""));
    address.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}

/// At most five digits, or an obfuscated port.
fn is_port(port: &str) -> bool {
    let is_number = (1..=5).contains(&port.len()) && port.bytes().all(|b| b.is_ascii_digit());
    let is_obfuscated = port.len() > 1
        && port.starts_with('_')
        && port.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    is_number || is_obfuscated
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    const BOTH: [ForwardedHeader; 2] = [ForwardedHeader::XForwardedFor, ForwardedHeader::Forwarded];

    fn addresses(header: ForwardedHeader, lines: &[impl AsRef<[u8]>]) -> Vec<Option<IpAddr>> {
        let name = match header {
            ForwardedHeader::XForwardedFor => "x-forwarded-for",
            ForwardedHeader::Forwarded => "forwarded",
        };
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name, axum::http::HeaderValue::from_bytes(line.as_ref()).unwrap());
        }
        forwarded_addresses(&headers, header).collect()
    }

    fn texts(header: ForwardedHeader, line: &str) -> Vec<String> {
        let text = |address: Option<IpAddr>| address.map_or("-".to_owned(), |ip| ip.to_string());
        addresses(header, &[line]).into_iter().map(text).collect()
    }

    #[test]
    fn every_address_form_is_parsed() {
        for (line, expected) in [
            ("203.0.113.5", "203.0.113.5"),
            (" 203.0.113.5\t", "203.0.113.5"),
            ("203.0.113.5:4711", "203.0.113.5"),
            ("\"203.0.113.5\"", "203.0.113.5"),
            ("\"203.0.113.5:4711\"", "203.0.113.5"),
            ("203.0.113.5:_port", "203.0.113.5"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("\"2001:db8::1\"", "2001:db8::1"),
            ("\"[2001:db8::1]\"", "2001:db8::1"),
            ("\"[2001:db8::1]:4711\"", "2001:db8::1"),
            ("\"[2001:db8::1]:_a.b-c\"", "2001:db8::1"),
            ("\"\\[2001:db8\\:\\:1]\"", "2001:db8::1"),
            ("::ffff:203.0.113.5", "203.0.113.5"),
            ("\"[::ffff:203.0.113.5]:80\"", "203.0.113.5"),
            ("fe80::1%eth0", "fe80::1"),
            ("[fe80::1%25eth0]:80", "fe80::1"),
            // Obfuscated or malformed.
            ("", "-"),
            ("unknown", "-"),
            ("_hidden", "-"),
            ("\"_hidden:_port\"", "-"),
            ("203.0.113.5:", "-"),
            ("203.0.113.5:123456", "-"),
            ("203.0.113.5:x", "-"),
            ("203.0.113.005", "-"),
            ("203.0.113.5 203.0.113.6", "-"),
            ("[203.0.113.5]", "-"),
            ("[2001:db8::1", "-"),
            ("[2001:db8::1]4711", "-"),
            ("[2001:db8::1]:", "-"),
            ("\"203.0.113.5", "-"),
            ("203.0.113.5\"", "-"),
            ("\"203.0.113.5\"x", "-"),
            ("\"203.0.113.5\\\"", "-"),
            ("\\203.0.113.5", "-"),
            ("example.com", "-"),
        ] {
            assert_eq!(texts(ForwardedHeader::XForwardedFor, line), [expected], "{line}");
            let element = format!("for={}", line.trim());
            assert_eq!(texts(ForwardedHeader::Forwarded, &element), [expected], "{element}");
        }
    }

    #[test]
    fn forwarded_elements_are_read_from_the_right() {
        for (line, expected) in [
            ("for=192.0.2.43, for=\"[2001:db8::17]:47011\"", &["2001:db8::17", "192.0.2.43"][..]),
            ("For=192.0.2.60;proto=http;by=203.0.113.43", &["192.0.2.60"]),
            ("by=203.0.113.43 ; FOR=192.0.2.60", &["192.0.2.60"]),
            ("for=192.0.2.60;host=\"a,b;for=1.1.1.1\"", &["192.0.2.60"]),
            ("secret=\"a\\\",for=1.1.1.1;\\\\\";for=192.0.2.60", &["192.0.2.60"]),
            ("for=192.0.2.60;", &["192.0.2.60"]),
            ("for=_gazonk, for=192.0.2.60", &["192.0.2.60", "-"]),
            ("proto=https", &["-"]),
            ("for", &["-"]),
            ("for=192.0.2.60;proto", &["-"]),
            ("for=192.0.2.60;for=192.0.2.61", &["-"]),
            ("for=192.0.2.60;For=192.0.2.60", &["-"]),
            ("for =192.0.2.60", &["-"]),
            ("for= 192.0.2.60", &["-"]),
            ("xfor=192.0.2.60", &["-"]),
            ("192.0.2.60", &["-"]),
            ("for=192.0.2.60;a=\"b", &["-"]),
            ("for=192.0.2.60,", &["-", "192.0.2.60"]),
            // A client's open quote does not affect the proxy's element.
            ("for=1.1.1.1;a=\", for=192.0.2.60", &["192.0.2.60", "-"]),
            ("for=\"1.1.1.1\\, for=\"[2001:db8::17]\"", &["2001:db8::17", "-"]),
        ] {
            assert_eq!(texts(ForwardedHeader::Forwarded, line), expected, "{line}");
        }
    }

    /// Addresses, never IPv4-mapped, so that each has one canonical form.
    fn address() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            any::<Ipv4Addr>().prop_map(IpAddr::V4),
            any::<Ipv6Addr>().prop_map(|address| IpAddr::V6(address).to_canonical()),
        ]
    }

    /// A quoted string with this content, some of it escaped.
    fn quote(content: &str, escapes: &[bool]) -> String {
        let escapes = escapes.iter().copied().chain(std::iter::repeat(false));
        let escaped = content.chars().zip(escapes).map(|(character, escape)| {
            if escape || matches!(character, '"' | '\\') {
                format!("\\{character}")
            } else {
                character.to_string()
            }
        });
        format!("\"{}\"", escaped.collect::<String>())
    }

    /// An address, and one of its spellings.
    fn node() -> impl Strategy<Value = (IpAddr, String)> {
        let port = option::of(prop_oneof!["[0-9]{1,5}", "_[a-zA-Z0-9._-]{1,8}"]);
        (address(), port, any::<bool>(), vec(any::<bool>(), 0..20)).prop_map(
            |(address, port, quoted, escapes)| {
                let mut text = match address {
                    IpAddr::V6(address) => format!("[{address}]"),
                    IpAddr::V4(address) => address.to_string(),
                };
                if let Some(port) = port {
                    text = format!("{text}:{port}");
                }
                let text = if quoted { quote(&text, &escapes) } else { text };
                (address, text)
            },
        )
    }

    /// An element of this header; of `Forwarded` with other parameters around the address.
    fn element(header: ForwardedHeader) -> BoxedStrategy<(IpAddr, String)> {
        let name = select(vec!["for", "For", "FOR", "fOr"]);
        let other = ("(by|proto|host|x-secret)", "[ -~]{0,12}", vec(any::<bool>(), 0..12));
        let other =
            other.prop_map(|(name, value, escapes)| format!("{name}={}", quote(&value, &escapes)));
        match header {
            ForwardedHeader::XForwardedFor => node().boxed(),
            ForwardedHeader::Forwarded => (node(), name, vec(other, 0..3), any::<usize>())
                .prop_map(|((address, node), name, mut pairs, at)| {
                    pairs.insert(at % (pairs.len() + 1), format!("{name}={node}"));
                    (address, pairs.join(";"))
                })
                .boxed(),
        }
    }

    /// Bytes that a header may contain, many of them delimiters of the grammar.
    fn client_bytes() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![3 => select(b"\",;=\\ \tfor_:[].1".to_vec()), 1 => 32..127_u8,
            1 => 128..=255_u8];
        vec(byte, 0..40)
    }

    proptest! {
        /// T145: every well-formed chain is read, whatever the number of header lines.
        #[test]
        fn well_formed_chains_are_read(
            x in vec(vec(element(ForwardedHeader::XForwardedFor), 1..4), 0..4),
            rfc in vec(vec(element(ForwardedHeader::Forwarded), 1..4), 0..4),
            separator in select(vec![",", ", ", " ,\t"]),
        ) {
            for (header, chain) in BOTH.into_iter().zip([x, rfc]) {
                let join = |line: &Vec<(IpAddr, String)>| {
                    line.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join(separator)
                };
                let lines: Vec<String> = chain.iter().map(join).collect();
                let expected = chain.iter().flatten().rev().map(|(address, _)| Some(*address));
                prop_assert_eq!(addresses(header, &lines), expected.collect::<Vec<_>>());
            }
        }

        /// T003: a client's input does not change how the proxy's element is read.
        #[test]
        fn proxy_appended_element_is_read(
            sent in client_bytes(),
            x in element(ForwardedHeader::XForwardedFor),
            rfc in element(ForwardedHeader::Forwarded),
        ) {
            for (header, (address, appended)) in BOTH.into_iter().zip([x, rfc]) {
                let line = [sent.as_slice(), b", ", appended.as_bytes()].concat();
                prop_assert_eq!(addresses(header, &[line])[0], Some(address));
                prop_assert_eq!(addresses(header, &[sent.as_slice(), appended.as_bytes()])[0],
                    Some(address));
            }
        }
    }
}
