//! Signatures, version 1: HMAC-SHA-256 cut to 128 bits (protocol.md, "Signing").

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::Dialect;
use crate::Secret;
use crate::rng_error::RngError;

/// The value of every version header.
pub const API_VERSION: &str = "1";

/// The header that carries identity and signature. Not `Authorization`: HTTP clients that strip
/// credentials on a redirect do not know this one, so no redirect may be followed.
pub const AUTHENTICATION_HEADER: &str = "Authentication";

/// A number used once. Neither `Clone` nor kept by anything: a retry draws a new one.
#[derive(Debug, PartialEq, Eq)]
pub struct Nonce(u64);

impl Nonce {
    /// Draws from the operating system's generator.
    ///
    /// # Errors
    ///
    /// When the operating system has no randomness to give.
    pub fn random() -> Result<Self, RngError> {
        getrandom::u64().map(Self).map_err(RngError::new)
    }

    /// A chosen number, for test vectors and for signing by hand.
    #[must_use]
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }
}

/// The signed headers of one request: three, valid for one URL and one moment.
pub struct SignedHeaders {
    dialect: Dialect,
    authentication: String,
    timestamp: String,
}

impl SignedHeaders {
    /// The headers as name and value. The first value is a credential: mark it sensitive.
    #[must_use]
    pub fn headers(&self) -> [(&'static str, &str); 3] {
        [
            (AUTHENTICATION_HEADER, &self.authentication),
            (self.dialect.timestamp_header(), &self.timestamp),
            (self.dialect.version_header(), API_VERSION),
        ]
    }
}

impl fmt::Debug for SignedHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signed")
            .field("dialect", &self.dialect)
            .field("timestamp", &self.timestamp)
            .finish_non_exhaustive()
    }
}

/// Signs `url` (scheme included, byte for byte as it will be sent) for `client_id`.
///
/// ```
/// use tower_activeconnect::Secret;
/// use tower_activeconnect::protocol::{Dialect, Nonce, sign};
///
/// let signed = sign(
///     Dialect::Activeconnect,
///     "a4c123b1612dd272d1371c17149d4395",
///     &Secret::new("MXG9EDN581U33XTPLPFT75V2"),
///     "http://127.0.0.1:8099/authentication/session_status/5DNSIPZZ5FK2Z9RI19R0WYOJFLJOOA5L",
///     Nonce::from_u64(0),
///     1_605_970_000,
/// );
/// assert_eq!(
///     signed.headers()[0].1,
///     "hmac a4c123b1612dd272d1371c17149d4395:0:4HwNsMLCRsI29XQOIOXAug==",
/// );
/// ```
#[must_use]
#[expect(clippy::needless_pass_by_value, reason = "a nonce is used up by the signature it is for")]
pub fn sign(
    dialect: Dialect,
    client_id: &str,
    secret: &Secret,
    url: &str,
    nonce: Nonce,
    unix_seconds: u64,
) -> SignedHeaders {
    let nonce = nonce.0.to_string();
    let timestamp = unix_seconds.to_string();
    let mac = mac(secret, &nonce, dialect.signed_part(url), &timestamp);
    let signature = STANDARD.encode(mac);
    SignedHeaders {
        dialect,
        authentication: format!("hmac {client_id}:{nonce}:{signature}"),
        timestamp,
    }
}

fn mac(secret: &Secret, nonce: &str, signed_part: &str, timestamp: &str) -> [u8; 16] {
    let token = Sha256::new().chain_update(nonce).chain_update(secret.expose()).finalize();
    // HMAC takes keys of every length, so this never fails.
    let mut mac = Hmac::<Sha256>::new_from_slice(&token[..16]).unwrap_or_else(|_| unreachable!());
    mac.update(nonce.as_bytes());
    mac.update(signed_part.as_bytes());
    mac.update(timestamp.as_bytes());
    let full = mac.finalize().into_bytes();
    let mut short = [0; 16];
    short.copy_from_slice(&full[..16]);
    short
}

/// The parts of a received `Authentication` header, for code that plays the service.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthenticationHeader<'a> {
    /// The application id, or the session token on session calls.
    pub client_id: &'a str,
    /// The nonce in decimal, as it was sent.
    pub nonce: &'a str,
    signature: [u8; 16],
}

impl fmt::Debug for AuthenticationHeader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presented").field("nonce", &self.nonce).finish_non_exhaustive()
    }
}

impl<'a> AuthenticationHeader<'a> {
    /// Reads `hmac CLIENT_ID:NONCE:SIGNATURE`; anything else is `None`.
    #[must_use]
    pub fn parse(header: &'a str) -> Option<Self> {
        let mut parts = header.strip_prefix("hmac ")?.split(':');
        let (client_id, nonce, signature) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || client_id.is_empty() {
            return None;
        }
        // "written in decimal without padding"
        if nonce.parse::<u64>().ok()?.to_string() != nonce {
            return None;
        }
        let signature = STANDARD.decode(signature).ok()?.try_into().ok()?;
        Some(Self { client_id, nonce, signature })
    }

    /// Whether the holder of `secret` signed `url` at `timestamp` (the header's own text).
    #[must_use]
    pub fn verify(&self, secret: &Secret, dialect: Dialect, url: &str, timestamp: &str) -> bool {
        let expected = mac(secret, self.nonce, dialect.signed_part(url), timestamp);
        expected.ct_eq(&self.signature).into()
    }
}
