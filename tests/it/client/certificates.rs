//! Which certificate authorities the client trusts, also on a machine without any. A child process
//! tests environment variables, because a process cannot safely change its own.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;

use activeconnect_emulator::Emulator;
use tower_activeconnect::client::{Client, ClientErrorKind, CredentialsError};
use tower_activeconnect::setup::BuildError;
use tower_activeconnect::{Activeconnect, Credentials, MemoryTokenStore};

use super::service::Service;
use crate::support::raw_server::authenticate;

const SERVER: &str = "CERTIFICATES_TEST_SERVER";
const SECRET: &str = "CERTIFICATES_TEST_SECRET";
const ID: &str = "CERTIFICATES_TEST_ID";
const CA_FILE: &str = "CERTIFICATES_TEST_CA_FILE";
const OUTCOME: &str = "outcome: ";

/// The body of the child process; returns at once without its variables.
#[tokio::test]
async fn child_enrolls_a_user() {
    let (Ok(server), Ok(id), Ok(secret)) =
        (std::env::var(SERVER), std::env::var(ID), std::env::var(SECRET))
    else {
        return;
    };
    let mut credentials = Credentials::new(id, secret).unwrap().with_server(&server).unwrap();
    if let Ok(path) = std::env::var(CA_FILE) {
        credentials = credentials.with_ca_file(path).unwrap();
    }
    match Activeconnect::builder(credentials).token_store(MemoryTokenStore::new()).build() {
        Ok(ac) => println!("\n{OUTCOME}{:?}", ac.enroll(&"alice".into()).await),
        Err(error) => {
            let BuildError::Client(source) = &error else { panic!("{error:?}") };
            println!("\n{OUTCOME}{:?}: {error}", source.kind());
        }
    }
}

/// The result of enrolling a user in a process without CA certificates.
async fn enroll_without_certificates(credentials: &Credentials, ca_file: Option<&Path>) -> String {
    let nothing = tempfile::tempdir().unwrap();
    let output = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "client::certificates::child_enrolls_a_user", "--nocapture"])
        .env(SERVER, credentials.server_url().as_str())
        .env(ID, credentials.application_id())
        .env(SECRET, credentials.application_secret().expose())
        .envs(ca_file.map(|path| (CA_FILE, path)))
        .env("SSL_CERT_FILE", nothing.path().join("none.pem"))
        .env("SSL_CERT_DIR", nothing.path())
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let outcome = text.lines().find_map(|line| line.split_once(OUTCOME));
    outcome.unwrap_or_else(|| panic!("{text}")).1.to_owned()
}

#[tokio::test]
async fn loopback_http_needs_no_certificates() {
    let emulator = Emulator::start().await.unwrap();
    let credentials = crate::support::credentials(&emulator);
    assert_eq!(enroll_without_certificates(&credentials, None).await, "Ok(())");
}

#[tokio::test]
async fn https_without_certificates_is_rejected() {
    let service = Service::start().await;
    let outcome = enroll_without_certificates(&service.credentials(), None).await;
    assert!(outcome.starts_with("NoCaCertificates: "), "{outcome}");
    for advice in ["no CA certificates were found", "SSL_CERT_FILE", "Credentials::with_ca_file"] {
        assert!(outcome.contains(advice), "{outcome}");
    }
    assert_eq!(service.connections(), 0);
}

#[tokio::test]
async fn ca_file_replaces_the_machines_certificates() {
    let service = Service::start().await;
    let file = service.ca_file();
    let outcome = enroll_without_certificates(&service.credentials(), Some(file.path())).await;
    assert_eq!(outcome, "Ok(())");
}

#[tokio::test]
async fn other_ca_file_rejects_server() {
    let (service, other) = (Service::start().await, Service::start().await);
    let credentials = service.credentials().with_ca_file(other.ca_file().path()).unwrap();
    let error = authenticate(&Client::new(credentials).unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ClientErrorKind::Tls);
}

#[test]
fn unusable_ca_files_are_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let read = |name: &str| {
        let credentials = Credentials::new("id", "MXG9EDN581U33XTPLPFT75V2").unwrap();
        credentials.with_ca_file(folder.path().join(name)).unwrap_err()
    };
    let write = |name: &str, text: &[u8]| std::fs::write(folder.path().join(name), text).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    write("empty.pem", b"");
    write("garbage.pem", b"\0\xff not PEM at all");
    write("key.pem", key.serialize_pem().as_bytes());
    write("base64.pem", b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n");
    write("der.pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    write("cut.pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n");
    for name in ["empty.pem", "garbage.pem", "key.pem", "base64.pem", "der.pem", "cut.pem"] {
        let error = read(name);
        assert!(matches!(error, CredentialsError::CaFileInvalid { .. }), "{name}: {error:?}");
        assert!(error.to_string().contains(name) && error.to_string().contains("PEM"), "{error}");
    }
    for name in ["missing.pem", ""] {
        let error = read(name);
        assert!(matches!(error, CredentialsError::CaFileUnreadable { .. }), "{name}: {error:?}");
    }
    let source: &dyn AsRef<OsStr> = &folder.path();
    assert!(read("").to_string().contains(&*source.as_ref().to_string_lossy()));
}
