use axum::http::HeaderMap;
use tower_activeconnect::Secret;
use tower_activeconnect::protocol::Dialect;
use tower_activeconnect::protocol::{API_VERSION, AUTHENTICATION_HEADER, AuthenticationHeader};

use super::AcceptedDialects;

/// A signature that fits. Time and nonce are still to be judged.
pub(super) struct Verified {
    pub(super) nonce: u64,
    pub(super) signed_at: u64,
}

/// Whether `client_id`, who knows `secret`, signed `url`; the error says what is wrong.
pub(super) fn verify(
    headers: &HeaderMap,
    accepted: AcceptedDialects,
    client_id: &str,
    secret: &Secret,
    url: &str,
) -> Result<Verified, &'static str> {
    let presented = single_header(headers, AUTHENTICATION_HEADER)
        .and_then(AuthenticationHeader::parse)
        .ok_or("the Authentication header is missing or malformed")?;
    let (dialect, timestamp) = detect_dialect(headers, accepted)?;
    let signed_at = decimal(timestamp).ok_or("the timestamp is not a decimal number of seconds")?;
    if presented.client_id != client_id {
        return Err("the client id is not the one of this call");
    }
    if !presented.verify(secret, dialect, url, timestamp) {
        return Err("the signature does not fit");
    }
    let nonce = decimal(presented.nonce).ok_or("the nonce is not a decimal number")?;
    Ok(Verified { nonce, signed_at })
}

/// The one dialect whose two headers the request bears, and its timestamp.
fn detect_dialect(
    headers: &HeaderMap,
    accepted: AcceptedDialects,
) -> Result<(Dialect, &str), &'static str> {
    let mut spoken = accepted.dialects().iter().filter_map(|dialect| {
        let version = single_header(headers, dialect.version_header())?;
        let timestamp = single_header(headers, dialect.timestamp_header())?;
        (version == API_VERSION).then_some((*dialect, timestamp))
    });
    let one = spoken.next().ok_or("no timestamp and version headers of an accepted dialect")?;
    if spoken.next().is_some() { Err("headers of more than one dialect") } else { Ok(one) }
}

/// The header's value if it stands there exactly once.
fn single_header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() { None } else { value.to_str().ok() }
}

/// Decimal without sign or padding, so that one number has one text.
fn decimal(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}
