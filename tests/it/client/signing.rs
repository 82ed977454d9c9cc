//! The signatures of both SDKs and the documentation for the same requests.

use std::collections::BTreeMap;

use serde::Deserialize;
use tower_activeconnect::Secret;
use tower_activeconnect::protocol::{
    AUTHENTICATION_HEADER, AuthenticationHeader, Dialect, Nonce, sign,
};

#[derive(Deserialize)]
struct Vectors {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    client_id: String,
    shared_secret: String,
    request_uri: String,
    nonce: String,
    timestamp: u64,
    activeconnect_sdk_headers: BTreeMap<String, String>,
    iampass_sdk_headers: BTreeMap<String, String>,
    documented_authentication: String,
}

impl Vector {
    fn secret(&self) -> Secret {
        Secret::new(self.shared_secret.as_str())
    }

    fn signed_headers(&self, dialect: Dialect) -> BTreeMap<String, String> {
        let nonce = Nonce::from_u64(self.nonce.parse().expect("a decimal nonce"));
        sign(dialect, &self.client_id, &self.secret(), &self.request_uri, nonce, self.timestamp)
            .headers()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    /// Whether a header from other code verifies for this URL, time and secret.
    fn verifies(&self, dialect: Dialect, header: &str) -> bool {
        let presented = AuthenticationHeader::parse(header).expect("a well-formed header");
        assert_eq!(presented.client_id, self.client_id);
        assert_eq!(presented.nonce, self.nonce);
        let timestamp = self.timestamp.to_string();
        let is_accepted = |secret: &str, url: &str, timestamp: &str| {
            presented.verify(&Secret::new(secret), dialect, url, timestamp)
        };
        let url = self.request_uri.as_str();
        assert!(!is_accepted(&format!("{}x", self.shared_secret), url, &timestamp));
        assert!(!is_accepted(&self.shared_secret, &format!("{url}x"), &timestamp));
        assert!(!is_accepted(&self.shared_secret, url, &format!("{timestamp}0")));
        is_accepted(&self.shared_secret, url, &timestamp)
    }
}

fn vectors() -> Vec<Vector> {
    let Vectors { vectors } =
        serde_json::from_str(include_str!("../../vectors/signing.json")).expect("the vectors");
    assert!(!vectors.is_empty());
    vectors
}

#[test]
fn sdk_dialects_sign_like_the_sdks() {
    for vector in vectors() {
        for (dialect, headers) in [
            (Dialect::Activeconnect, &vector.activeconnect_sdk_headers),
            (Dialect::Iampass, &vector.iampass_sdk_headers),
        ] {
            assert_eq!(
                vector.signed_headers(dialect),
                *headers,
                "{dialect} {}",
                vector.request_uri
            );
            assert!(vector.verifies(dialect, &headers[AUTHENTICATION_HEADER]));
        }
    }
}

#[test]
fn documented_dialects_sign_the_scheme_as_well() {
    for vector in vectors() {
        let documented = &vector.documented_authentication;
        for dialect in [Dialect::ActiveconnectDocumented, Dialect::IampassDocumented] {
            assert_eq!(
                vector.signed_headers(dialect)[AUTHENTICATION_HEADER],
                *documented,
                "{}",
                vector.request_uri
            );
            assert!(vector.verifies(dialect, documented));
        }
    }
}

#[test]
fn sdk_and_documented_signatures_differ() {
    for vector in vectors() {
        let sdk = &vector.activeconnect_sdk_headers[AUTHENTICATION_HEADER];
        let has_scheme = vector.request_uri.contains("://");
        for (dialect, header) in [
            (Dialect::ActiveconnectDocumented, sdk),
            (Dialect::Activeconnect, &vector.documented_authentication),
        ] {
            let presented = AuthenticationHeader::parse(header).expect("a well-formed header");
            let timestamp = vector.timestamp.to_string();
            let is_accepted =
                presented.verify(&vector.secret(), dialect, &vector.request_uri, &timestamp);
            assert_eq!(is_accepted, !has_scheme);
        }
    }
}
