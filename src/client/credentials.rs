use std::env::VarError;
use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use url::{Host, Url};

use super::credentials_error::CredentialsError;
use super::tls;
use crate::Secret;
use crate::protocol::Dialect;

/// Which application calls which service: id, secret, server and dialect.
///
/// ```
/// use tower_activeconnect::Credentials;
/// use tower_activeconnect::protocol::Dialect;
///
/// let credentials = Credentials::new("a4c123b1612dd272d1371c17149d4395", "MXG9EDN581U33XTPLPFT75V2")?
///     .with_dialect(Dialect::Iampass)
///     .with_server("https://iam-api.com")?;
/// assert_eq!(credentials.server_url().as_str(), "https://iam-api.com/");
/// # Ok::<(), tower_activeconnect::client::CredentialsError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Credentials {
    application_id: String,
    application_secret: Secret,
    dialect: Dialect,
    server: Option<Url>,
    /// The only authorities that are trusted; `None` for the machine's own.
    authorities: Option<Arc<RootCertStore>>,
}

/// The names of one product's environment variables.
#[derive(Clone, Copy)]
struct EnvNames {
    dialect: Dialect,
    id: &'static str,
    secret: &'static str,
    server: &'static str,
}

const ENV_NAMES: [EnvNames; 2] = [
    EnvNames {
        dialect: Dialect::Activeconnect,
        id: "ACTIVE_CONNECT_APPLICATION_ID",
        secret: "ACTIVE_CONNECT_APPLICATION_SECRET",
        server: "ACTIVE_CONNECT_SERVER",
    },
    EnvNames {
        dialect: Dialect::Iampass,
        id: "IAMPASS_APPLICATION_ID",
        secret: "IAMPASS_APPLICATION_SECRET",
        server: "IAMPASS_SERVER",
    },
];

/// The values of one product's variables.
struct EnvValues {
    names: EnvNames,
    id: Option<String>,
    secret: Option<String>,
    server: Option<String>,
}

impl EnvValues {
    fn read(
        names: EnvNames,
        read: impl Fn(&'static str) -> Result<Option<String>, CredentialsError>,
    ) -> Result<Self, CredentialsError> {
        let (id, secret, server) = (read(names.id)?, read(names.secret)?, read(names.server)?);
        Ok(Self { names, id, secret, server })
    }

    fn is_configured(&self) -> bool {
        self.id.is_some() || self.secret.is_some()
    }

    fn credentials(self, other: &Self) -> Result<Credentials, CredentialsError> {
        let missing = |name| CredentialsError::Missing { name };
        let id = self.id.ok_or_else(|| missing(self.names.id))?;
        let secret = self.secret.ok_or_else(|| missing(self.names.secret))?;
        let credentials = Credentials::new(id, secret)?.with_dialect(self.names.dialect);
        match &self.server {
            Some(server) => credentials.with_server(server),
            // Calls meant for that server must not go to the default one.
            None if other.server.is_some() => Err(CredentialsError::ConflictingEnv),
            None => Ok(credentials),
        }
    }
}

impl Credentials {
    /// The application's id and secret, speaking to the default server of the default dialect.
    ///
    /// # Errors
    ///
    /// When the id is empty or could split a header (`:`, space, control and non-ASCII
    /// characters), or the secret is empty. A secret of unusual length is taken with a warning.
    pub fn new(
        application_id: impl Into<String>,
        application_secret: impl Into<Secret>,
    ) -> Result<Self, CredentialsError> {
        let application_id = application_id.into();
        let application_secret = application_secret.into();
        if application_id.is_empty() {
            return Err(CredentialsError::EmptyId);
        }
        if !application_id.bytes().all(is_identifier_byte) {
            return Err(CredentialsError::InvalidId);
        }
        if application_secret.expose().is_empty() {
            return Err(CredentialsError::EmptySecret);
        }
        if !matches!(application_secret.expose().len(), 24 | 32) {
            tracing::warn!(
                length = application_secret.expose().len(),
                "application secrets usually have 24 characters; was this one cut or padded?"
            );
        }
        let dialect = Dialect::default();
        Ok(Self { application_id, application_secret, dialect, server: None, authorities: None })
    }

    /// Reads `ACTIVE_CONNECT_APPLICATION_ID`, `ACTIVE_CONNECT_APPLICATION_SECRET` and, if it is
    /// set, `ACTIVE_CONNECT_SERVER`; or the same three that begin with `IAMPASS_`, which also
    /// choose that dialect.
    ///
    /// # Errors
    ///
    /// When a variable is missing, both names are in use, or a value is rejected as by
    /// [`Credentials::new`] and [`Credentials::with_server`].
    pub fn from_env() -> Result<Self, CredentialsError> {
        Self::from_variables(|name| match std::env::var(name) {
            Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
            Err(VarError::NotPresent) => Ok(None),
            Err(VarError::NotUnicode(_)) => Err(CredentialsError::NotUnicode { name }),
        })
    }

    fn from_variables(
        read: impl Fn(&'static str) -> Result<Option<String>, CredentialsError>,
    ) -> Result<Self, CredentialsError> {
        let [activeconnect, iampass] = ENV_NAMES.map(|names| EnvValues::read(names, &read));
        let (activeconnect, iampass) = (activeconnect?, iampass?);
        match (activeconnect.is_configured(), iampass.is_configured()) {
            (true, true) => Err(CredentialsError::ConflictingEnv),
            (true, false) => activeconnect.credentials(&iampass),
            (false, true) => iampass.credentials(&activeconnect),
            (false, false) if iampass.server.is_some() => iampass.credentials(&activeconnect),
            (false, false) => activeconnect.credentials(&iampass),
        }
    }

    /// Speaks another dialect.
    #[must_use]
    pub fn with_dialect(mut self, dialect: Dialect) -> Self {
        self.dialect = dialect;
        self
    }

    /// Calls another server: `https://HOST[:PORT][/PREFIX]`, or plain `http` on the loopback. All calls
    /// go to this origin, to paths below the prefix: of the URLs that the service names for a session,
    /// others are rejected, so a proxy that adds the prefix has to add it to these URLs too.
    ///
    /// # Errors
    ///
    /// When this is not such a URL.
    pub fn with_server(mut self, server: &str) -> Result<Self, CredentialsError> {
        self.server = Some(parse_server(server)?);
        Ok(self)
    }

    /// Trusts the certificate authorities in this PEM file, which is read at once, and no others:
    /// for a private authority, or a machine without CA certificates (a container made from
    /// nothing).
    ///
    /// By default the machine's own are trusted; on Linux `SSL_CERT_FILE` and `SSL_CERT_DIR` take
    /// their place. A server on plain `http` needs none.
    ///
    /// ```no_run
    /// use tower_activeconnect::Credentials;
    ///
    /// let credentials = Credentials::from_env()?.with_ca_file("/etc/activeconnect/ca.pem")?;
    /// # Ok::<(), tower_activeconnect::client::CredentialsError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When the file cannot be read, holds no certificate, or holds one that cannot be trusted as
    /// an authority.
    pub fn with_ca_file(mut self, path: impl AsRef<Path>) -> Result<Self, CredentialsError> {
        self.authorities = Some(Arc::new(tls::read_ca_file(path.as_ref())?));
        Ok(self)
    }

    pub(super) fn authorities(&self) -> Option<&Arc<RootCertStore>> {
        self.authorities.as_ref()
    }

    /// The application's id.
    #[must_use]
    pub fn application_id(&self) -> &str {
        &self.application_id
    }

    /// The application's secret.
    #[must_use]
    pub fn application_secret(&self) -> &Secret {
        &self.application_secret
    }

    /// The dialect that is spoken.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The server that is called.
    ///
    /// # Panics
    ///
    /// Never: the dialects' own servers are URLs, which a test checks.
    #[must_use]
    pub fn server_url(&self) -> Url {
        self.server.clone().unwrap_or_else(|| {
            #[expect(clippy::unwrap_used, reason = "a test parses all four")]
            Url::parse(self.dialect.default_server()).unwrap()
        })
    }
}

/// Printable ASCII but `:`, which would split the `Authentication` header.
pub(crate) const fn is_identifier_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b':'
}

/// An address to trust with credentials: `https`, or plain `http` on the loopback.
pub(super) fn parse_server(server: &str) -> Result<Url, CredentialsError> {
    // The text before an `@` may be a password: it is not repeated.
    let shown = server.rsplit('@').next().unwrap_or_default().to_owned();
    let url = Url::parse(server)
        .map_err(|source| CredentialsError::ServerNotAUrl { server: shown.clone(), source })?;
    let reject = |reason| Err(CredentialsError::InvalidServer { server: shown.clone(), reason });
    if !url.username().is_empty() || url.password().is_some() {
        return reject("it carries a user name or password");
    }
    let loopback = match url.host() {
        None => return reject("it has no host"),
        Some(Host::Domain(name)) => {
            if name.ends_with('.') {
                return reject("its host ends in a dot");
            }
            name == "localhost"
        }
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
    };
    match url.scheme() {
        "https" => {}
        "http" if loopback => {}
        "http" => return reject("plain http is for the loopback only; use https"),
        _ => return reject("use https"),
    }
    if !server.is_ascii() {
        return reject("it has non-ASCII characters");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return reject("it has a query or a fragment");
    }
    if url.path().contains("://") {
        return reject("it has \"://\" in its path");
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(variables: &[(&str, &str)]) -> Result<Credentials, CredentialsError> {
        Credentials::from_variables(|name| {
            Ok(variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
        })
    }

    #[test]
    fn every_dialect_has_a_server() {
        for dialect in Dialect::ALL {
            let credentials = Credentials::new("id", "secret").unwrap().with_dialect(dialect);
            assert_eq!(credentials.server_url().scheme(), "https");
        }
    }

    #[test]
    fn names_of_the_variables_choose_the_dialect() {
        let ours = from(&[
            ("ACTIVE_CONNECT_APPLICATION_ID", "id"),
            ("ACTIVE_CONNECT_APPLICATION_SECRET", "secret"),
            ("ACTIVE_CONNECT_SERVER", "http://127.0.0.1:8099"),
        ])
        .unwrap();
        assert_eq!(ours.dialect(), Dialect::Activeconnect);
        assert_eq!(ours.server_url().as_str(), "http://127.0.0.1:8099/");
        let iampass = [("IAMPASS_APPLICATION_ID", "id"), ("IAMPASS_APPLICATION_SECRET", "secret")];
        let theirs = from(&iampass).unwrap();
        assert_eq!(theirs.dialect(), Dialect::Iampass);
        assert_eq!(theirs.server_url().as_str(), "https://iam-api.com/");
        let ours_too = ("ACTIVE_CONNECT_APPLICATION_SECRET", "secret");
        let other_server = ("ACTIVE_CONNECT_SERVER", "http://127.0.0.1:8099");
        for other in [ours_too, other_server] {
            let both = [&iampass[..], &[other]].concat();
            assert_eq!(from(&both).unwrap_err(), CredentialsError::ConflictingEnv);
        }
        // The other product's server alone, beside our own, is no mistake.
        let server = ("IAMPASS_SERVER", "http://127.0.0.1:1");
        let both = from(&[&iampass[..], &[server, other_server]].concat()).unwrap();
        assert_eq!(both.server_url().as_str(), "http://127.0.0.1:1/");
        let server = from(&[("IAMPASS_SERVER", "https://iam-api.com")]).unwrap_err().to_string();
        assert!(server.starts_with("IAMPASS_APPLICATION_ID is not set"), "{server}");
    }

    #[test]
    fn missing_or_malformed_variable_is_named() {
        let missing = from(&[("ACTIVE_CONNECT_APPLICATION_ID", "id")]).unwrap_err().to_string();
        assert!(missing.starts_with("ACTIVE_CONNECT_APPLICATION_SECRET is not set"), "{missing}");
        assert!(from(&[]).unwrap_err().to_string().contains("ACTIVE_CONNECT_APPLICATION_ID"));
        for id in ["", "a:b", "a b", "a\nb", "é"] {
            assert!(Credentials::new(id, "secret").is_err(), "{id:?}");
        }
        assert_eq!(Credentials::new("id", "").unwrap_err(), CredentialsError::EmptySecret);
    }

    #[test]
    fn servers_that_could_leak_a_signed_call_are_rejected() {
        let credentials = Credentials::new("id", "secret").unwrap();
        for server in [
            "nonsense",
            "iam-api.com",
            "ftp://iam-api.com",
            "http://iam-api.com",
            "http://10.0.0.1",
            "https://user:pw@iam-api.com",
            "http://user:pw@10.0.0.1",
            "ftp://user:pw@iam-api.com",
            "https://user:pw@iam-api.com:99999",
            "user:pw@iam-api.com",
            "https://iam-api.com./",
            "https://iam-api.com/?a=b",
            "https://iam-api.com/#a",
            "https://iam-api.com/a://b",
            "https://\u{e9}.com",
            "unix:/tmp/socket",
        ] {
            let error = credentials.clone().with_server(server).unwrap_err().to_string();
            assert!(!error.contains("pw"), "{error}");
        }
        for server in
            ["http://localhost:1", "http://127.0.0.1", "http://[::1]:8099", "https://h/prefix"]
        {
            assert!(credentials.clone().with_server(server).is_ok(), "{server}");
        }
    }
}
