//! Which certificate authorities the client trusts.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;

use super::credentials_error::CredentialsError;
use super::error::{ClientError, ClientErrorKind};

/// The TLS settings of all connections to one server, made once: certificates are not read again,
/// and a new connection may resume the TLS session of an older one.
///
/// Without https no certificate is read, and none is trusted.
pub(super) fn client_config(
    is_https: bool,
    authorities: Option<&Arc<RootCertStore>>,
) -> Result<ClientConfig, ClientError> {
    let provider = CryptoProvider::get_default().cloned();
    let provider = provider.unwrap_or_else(|| Arc::new(aws_lc_rs::default_provider()));
    let invalid = |error| ClientError::new(ClientErrorKind::Invalid).with_source(error);
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(invalid)?;
    let mut config = match authorities {
        Some(authorities) => config.with_root_certificates(authorities.clone()),
        None if !is_https => config.with_root_certificates(RootCertStore::empty()),
        None => {
            let verifier: Arc<dyn ServerCertVerifier> =
                Arc::new(Verifier::new(provider).map_err(|error| {
                    ClientError::new(ClientErrorKind::NoCaCertificates).with_source(error)
                })?);
            config.dangerous().with_custom_certificate_verifier(verifier)
        }
    }
    .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Reads the certificates of a PEM file.
pub(super) fn read_ca_file(path: &Path) -> Result<RootCertStore, CredentialsError> {
    let shown = || path.display().to_string();
    let unreadable = |error: std::io::Error| CredentialsError::CaFileUnreadable {
        path: shown(),
        reason: error.to_string(),
    };
    let invalid = |reason: String| CredentialsError::CaFileInvalid { path: shown(), reason };
    let text = std::fs::read(path).map_err(unreadable)?;
    let mut authorities = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| invalid(error.to_string()))?;
        authorities.add(certificate).map_err(|error| invalid(error.to_string()))?;
    }
    if authorities.is_empty() {
        return Err(invalid("it holds no certificate".to_owned()));
    }
    Ok(authorities)
}
