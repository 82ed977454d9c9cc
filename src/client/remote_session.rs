use std::fmt;

use percent_encoding::percent_decode_str;
#[cfg(feature = "layer")]
use url::Position;
use url::Url;

use super::credentials::is_identifier_byte;
use super::error::{ClientError, ClientErrorKind};
use crate::Secret;
use crate::protocol::messages::AuthenticationStatus;

/// A session as the service returns it: its token, its secret and its URLs.
#[derive(Clone)]
pub struct RemoteSession {
    token: Box<str>,
    secret: Secret,
    status_url: Url,
    logout_url: Url,
}

impl RemoteSession {
    /// Reads the response to `authenticate_user`; the URLs must have the origin of `server` and be
    /// below its path.
    pub(super) fn from_response(
        server: &Url,
        status: AuthenticationStatus,
    ) -> Result<Self, ClientError> {
        let missing = |what: &'static str| {
            ClientError::new(ClientErrorKind::InvalidResponse).detail(format!("{what} is missing"))
        };
        let token = status.session_token.ok_or_else(|| missing("session_token"))?;
        let secret = Secret::new(status.session_secret.ok_or_else(|| missing("session_secret"))?);
        if token.is_empty() || !token.bytes().all(is_identifier_byte) {
            return Err(ClientError::new(ClientErrorKind::InvalidResponse)
                .detail("session_token could split a header"));
        }
        if secret.expose().is_empty() {
            return Err(missing("session_secret"));
        }
        let status_url = status.status_url.ok_or_else(|| missing("status_url"))?;
        let logout_url = status.logout_url.ok_or_else(|| missing("logout_url"))?;
        Ok(Self {
            token: token.into(),
            secret,
            status_url: parse_same_origin_url(server, &status_url)?,
            logout_url: parse_same_origin_url(server, &logout_url)?,
        })
    }

    /// A session that was kept: its URLs are these paths at `server`.
    #[cfg(feature = "layer")]
    pub(super) fn restore(
        server: &Url,
        token: &str,
        secret: &str,
        status_path: &str,
        logout_path: &str,
    ) -> Result<Self, ClientError> {
        Ok(Self {
            token: token.into(),
            secret: Secret::new(secret),
            status_url: join_path(server, status_path)?,
            logout_url: join_path(server, logout_path)?,
        })
    }

    /// The session's name at the service.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    pub(crate) fn secret(&self) -> &Secret {
        &self.secret
    }

    /// The part of the status and the logout URL that is not the service's origin.
    #[cfg(feature = "layer")]
    pub(crate) fn url_paths(&self) -> [&str; 2] {
        [&self.status_url, &self.logout_url].map(|url| &url[Position::BeforePath..])
    }

    pub(crate) fn status_url(&self) -> &Url {
        &self.status_url
    }

    pub(super) fn logout_url(&self) -> &Url {
        &self.logout_url
    }
}

impl fmt::Debug for RemoteSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URLs may hold the token, and the token would name the session to readers of a log.
        f.debug_struct("RemoteSession").finish_non_exhaustive()
    }
}

/// The URL of a call whose path was stored.
#[cfg(feature = "layer")]
pub(super) fn join_path(server: &Url, path: &str) -> Result<Url, ClientError> {
    parse_same_origin_url(server, &[&server.origin().ascii_serialization(), path].concat())
}

/// Reads a URL that the service named and that signed calls will go to.
fn parse_same_origin_url(server: &Url, text: &str) -> Result<Url, ClientError> {
    let rejected = || ClientError::new(ClientErrorKind::OriginMismatch);
    let url = Url::parse(text)
        .map_err(|error| ClientError::new(ClientErrorKind::InvalidResponse).with_source(error))?;
    check_origin(server, &url)?;
    // A text that two parsers may read differently, or that would not be signed, is rejected.
    let plain = authority_is_canonical(text, &url)
        && url.fragment().is_none()
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
        && !url.path().contains("://")
        && !url.query().unwrap_or_default().contains("://");
    if plain { Ok(url) } else { Err(rejected()) }
}

/// Whether the text has exactly the host and port that were parsed from it, and no user: the parser
/// also accepts `0x7f.1` for `127.0.0.1`, and leaves out slashes.
fn authority_is_canonical(text: &str, url: &Url) -> bool {
    let (Some((_, rest)), Some(host), Some(port)) =
        (text.split_once("://"), url.host_str(), url.port_or_known_default())
    else {
        return false;
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let spelled = |expected: &str| authority.eq_ignore_ascii_case(expected);
    spelled(host) || spelled(&format!("{host}:{port}"))
}

/// Exactly the configured scheme, host and port, and a path below the configured one; checked again
/// at each use.
pub(super) fn check_origin(server: &Url, url: &Url) -> Result<(), ClientError> {
    let same = url.scheme() == server.scheme()
        && url.host() == server.host()
        && url.port_or_known_default() == server.port_or_known_default()
        && is_below(server.path(), url.path());
    if same { Ok(()) } else { Err(ClientError::new(ClientErrorKind::OriginMismatch)) }
}

/// Whether a path is below the server's own, also to a server that decodes it before it follows `..`.
fn is_below(server: &str, path: &str) -> bool {
    let rest = path.strip_prefix(server.trim_end_matches('/'));
    let decoded: Vec<u8> = percent_decode_str(path).collect();
    let climbs = decoded.split(|byte| matches!(byte, b'/' | b'\\')).any(|segment| segment == b"..");
    rest.is_some_and(|rest| rest.starts_with('/')) && !climbs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_another_origin_or_with_tricks_are_rejected() {
        let server = Url::parse("https://iam-api.com").unwrap();
        for text in [
            "http://iam-api.com/s",
            "https://iam-api.com:8443/s",
            "https://evil.com/s",
            "https://iam-api.com.evil.com/s",
            "https://iam-api.com@evil.com/s",
            "https://user@iam-api.com/s",
            "https://iam-api.com./s",
            "https://iam-api.com\\@evil.com/",
            "https://iam-\tapi.com/s",
            "https://iam-api.com/s#f",
            "https://@iam-api.com/s",
            "https://iam-api.com:/s",
            "https://iam-api.com:0443/s",
            "https:iam-api.com/s",
            "https:///iam-api.com/s",
            "https://iam%2Dapi.com/s",
            "https://iam-api.com/s?u=http://x",
            "https://iam-api.com/http://x",
            "//iam-api.com/s",
            "/s",
            "",
            "https://\u{ff49}am-api.com/s",
        ] {
            assert!(parse_same_origin_url(&server, text).is_err(), "{text}");
        }
        for text in
            ["https://iam-api.com/s", "https://iam-api.com:443/s?a=b", "https://IAM-API.com/s"]
        {
            assert!(parse_same_origin_url(&server, text).is_ok(), "{text}");
        }
    }

    #[test]
    fn urls_beside_the_servers_path_are_rejected() {
        for server in ["https://h/a", "https://h/a/"] {
            let server = Url::parse(server).unwrap();
            for path in [
                "/b/s",
                "/s",
                "/",
                "",
                "/a",
                "/ab/s",
                "/A/s",
                "//a/s",
                "/a/../b/s",
                "/a/%2e%2e/b/s",
                "/a/..%2fb/s",
                "/a/%2E%2E%5Cb/s",
                "/%61/s",
            ] {
                assert!(
                    parse_same_origin_url(&server, &format!("https://h{path}")).is_err(),
                    "{path}"
                );
            }
            for path in ["/a/s", "/a/b/../s", "/a/..s", "/a/s?next=/../b", "/a/"] {
                assert!(
                    parse_same_origin_url(&server, &format!("https://h{path}")).is_ok(),
                    "{path}"
                );
            }
        }
    }
}
