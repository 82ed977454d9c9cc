use axum::http::HeaderMap;
use tower_activeconnect::Secret;
use tower_activeconnect::protocol::Dialect;
use tower_activeconnect::protocol::{API_VERSION, AUTHENTICATION_HEADER, AuthenticationHeader};

use super::AcceptedDialects;

/// A valid signature, with the time and the nonce to check next.
pub(super) struct Verified {
    pub(super) nonce: u64,
    pub(super) signed_at: u64,
}

/// Verifies the signature of `client_id` with `secret` over `url`. The error is the reason.
pub(super) fn verify(
    headers: &HeaderMap,
    accepted: AcceptedDialects,
    client_id: &str,
    secret: &Secret,
    url: &str,
) -> Result<Verified, &'static str> {
    let header = single_header(headers, AUTHENTICATION_HEADER)
        .and_then(AuthenticationHeader::parse)
        .ok_or("the Authentication header is missing or malformed")?;
    let (dialect, timestamp) = detect_dialect(headers, accepted)?;
    let signed_at = decimal(timestamp).ok_or("the timestamp is not a decimal number of seconds")?;
    if header.client_id != client_id {
        return Err("the client id does not match the call");
    }
    if !header.verify(secret, dialect, url, timestamp) {
        return Err("the signature does not fit");
    }
    let nonce = decimal(header.nonce).ok_or("the nonce is not a decimal number")?;
    Ok(Verified { nonce, signed_at })
}

/// The dialect whose headers the request has, and its timestamp.
fn detect_dialect(
    headers: &HeaderMap,
    accepted: AcceptedDialects,
) -> Result<(Dialect, &str), &'static str> {
    let mut detected = accepted.dialects().iter().filter_map(|dialect| {
        let version = single_header(headers, dialect.version_header())?;
        let timestamp = single_header(headers, dialect.timestamp_header())?;
        (version == API_VERSION).then_some((*dialect, timestamp))
    });
    let dialect =
        detected.next().ok_or("no timestamp and version headers of an accepted dialect")?;
    if detected.next().is_some() { Err("headers of more than one dialect") } else { Ok(dialect) }
}

/// The header's value, if the header occurs exactly once.
fn single_header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() { None } else { value.to_str().ok() }
}

/// A decimal number without sign or padding, so that each number has one text.
fn decimal(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}
