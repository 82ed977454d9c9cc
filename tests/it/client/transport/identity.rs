//! Ids that would split the `Authentication` header, and secrets of unusual form.

use std::sync::{Arc, Mutex};

use tower_activeconnect::Credentials;
use tower_activeconnect::client::{ClientErrorKind, CredentialsError};
use tracing::Level;

use crate::support::log_capture::LogCapture;
use crate::support::raw_server::{
    APPLICATION, RawServer, SESSION_SECRET, Step, authenticate, response,
};

const SPLITTERS: [&str; 12] = [
    ":",
    "a:b",
    "a b",
    "a\nb",
    "a\r\nX-Evil: 1",
    "a\tb",
    "a\0b",
    "\u{7f}",
    "é",
    " a",
    "a ",
    "\u{2028}",
];

#[test]
fn application_id_with_header_separator_is_rejected() {
    for id in SPLITTERS {
        let rejected = Credentials::new(id, "x".repeat(24)).unwrap_err();
        assert_eq!(rejected, CredentialsError::InvalidId, "{id:?}");
    }
    assert_eq!(Credentials::new("", "x".repeat(24)).unwrap_err(), CredentialsError::EmptyId);
    for id in [APPLICATION, "a", "!~", "a/b?c#d%"] {
        assert!(Credentials::new(id, "x".repeat(24)).is_ok(), "{id}");
    }
}

#[tokio::test]
async fn session_token_with_header_separator_is_rejected() {
    for token in SPLITTERS.into_iter().chain([""]) {
        let raw = RawServer::start(move |request| {
            let url = format!("http://{}/x", request.header("host").unwrap());
            let body = serde_json::json!({"authentication_status": {
                "authenticated": true, "status_url": url, "logout_url": url,
                "session_token": token, "session_secret": SESSION_SECRET,
            }});
            vec![Step::Send(response("202 Accepted", &[], body.to_string()))]
        })
        .await;
        let error = authenticate(&raw.client()).await.unwrap_err();
        assert_eq!(error.kind(), ClientErrorKind::InvalidResponse, "{token:?}");
    }
}

#[test]
fn secret_of_unusual_length_logs_a_warning() {
    let warnings = Arc::new(Mutex::new(Vec::new()));
    let warned = || std::mem::take(&mut *warnings.lock().unwrap());
    let log = Arc::clone(&warnings);
    let trace =
        LogCapture(Level::WARN, move |line: &str| log.lock().unwrap().push(line.to_owned()));
    tracing::subscriber::with_default(trace, || {
        for length in [24, 32] {
            assert!(Credentials::new(APPLICATION, "x".repeat(length)).is_ok());
            assert!(warned().is_empty());
        }
        for length in [1, 23, 25, 31, 33, 4_000] {
            assert!(Credentials::new(APPLICATION, "x".repeat(length)).is_ok());
            let actual = warned();
            assert_eq!(actual.len(), 1);
            assert!(actual[0].ends_with(&format!(" length={length}")), "{actual:?}");
            assert!(!actual[0].contains("xx"), "{actual:?}");
        }
        // Nothing is trimmed: 24 characters and a line end are 25.
        let padded = Credentials::new(APPLICATION, format!("{}\n", "x".repeat(24))).unwrap();
        assert_eq!(padded.application_secret().expose().len(), 25);
        assert_eq!(warned().len(), 1);
        let empty = Credentials::new(APPLICATION, "").unwrap_err();
        assert_eq!(empty, CredentialsError::EmptySecret);
    });
}
