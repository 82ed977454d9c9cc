use axum::body::{Bytes, to_bytes};
use axum::extract::Request;
use axum::http::header::HOST;
use axum::http::{HeaderMap, StatusCode, Uri};
use percent_encoding::percent_decode_str;

use super::error_response::ErrorResponse;

const MAX_BODY_BYTES: usize = 64 * 1024;

/// A whole request, with its URI as received, because the signature covers it.
pub(super) struct CapturedRequest {
    pub(super) headers: HeaderMap,
    pub(super) uri: Uri,
    pub(super) host: String,
    pub(super) body: Bytes,
}

impl CapturedRequest {
    pub(super) async fn read(request: Request) -> Result<Self, ErrorResponse> {
        let (parts, body) = request.into_parts();
        let host = host(&parts.headers)
            .ok_or_else(|| {
                ErrorResponse::new(StatusCode::BAD_REQUEST, "exactly one Host is needed")
            })?
            .to_owned();
        let body = to_bytes(body, MAX_BODY_BYTES).await.map_err(|_| {
            ErrorResponse::new(StatusCode::PAYLOAD_TOO_LARGE, "a body can have 64 KiB at most")
        })?;
        Ok(Self { headers: parts.headers, uri: parts.uri, host, body })
    }

    /// The URL as the client wrote it.
    pub(super) fn url(&self) -> String {
        self.own_url(self.path_and_query())
    }

    pub(super) fn path_and_query(&self) -> &str {
        self.uri.path_and_query().map_or("/", |path| path.as_str())
    }

    /// A URL of this server, with the host of the request.
    pub(super) fn own_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.host)
    }

    /// A URL of another origin: this server's port on another loopback address.
    pub(super) fn foreign_url(&self, path: &str) -> String {
        let port = self.host.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        let port: u16 = port.unwrap_or(80);
        let address = if self.host.starts_with("127.0.0.2") { "127.0.0.3" } else { "127.0.0.2" };
        format!("http://{address}:{port}{path}")
    }

    /// The decoded path segment at `index`.
    pub(super) fn segment(&self, index: usize) -> Option<String> {
        segment(&self.uri, index)
    }
}

/// The `Host` header, if there is exactly one.
pub(super) fn host(headers: &HeaderMap) -> Option<&str> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next()?;
    if hosts.next().is_some() { None } else { host.to_str().ok() }
}

/// The decoded path segment at `index`. The raw path is split first, because a decoded segment can
/// contain a slash. A plus is a space, as the SDKs encode it.
pub(super) fn segment(uri: &Uri, index: usize) -> Option<String> {
    let raw = uri.path().split('/').nth(index + 1)?.replace('+', " ");
    Some(percent_decode_str(&raw).decode_utf8().ok()?.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_split_before_they_are_decoded() {
        for (raw, decoded) in [
            ("a%2Fb", "a/b"),
            ("a+b", "a b"),
            ("a%20b", "a b"),
            ("a%2Bb", "a+b"),
            ("a%25b", "a%b"),
            ("%252F", "%2F"),
            ("%C3%A9", "é"),
            ("x%3Fy%23z", "x?y#z"),
        ] {
            let uri: Uri = format!("/one/{raw}/three?q").parse().expect("a URI");
            assert_eq!(segment(&uri, 1).as_deref(), Some(decoded));
            assert_eq!(segment(&uri, 2).as_deref(), Some("three"));
            assert_eq!(segment(&uri, 3), None);
        }
        assert_eq!(segment(&Uri::from_static("/%FF"), 0), None);
    }

    #[test]
    fn foreign_url_uses_other_loopback_address() {
        for (host, foreign) in [
            ("127.0.0.1:8099", "http://127.0.0.2:8099/a?b"),
            ("localhost:8099", "http://127.0.0.2:8099/a?b"),
            ("127.0.0.2:8099", "http://127.0.0.3:8099/a?b"),
            ("[::1]:8099", "http://127.0.0.2:8099/a?b"),
            ("[::1]", "http://127.0.0.2:80/a?b"),
            ("localhost", "http://127.0.0.2:80/a?b"),
        ] {
            let request = CapturedRequest {
                headers: HeaderMap::new(),
                uri: Uri::default(),
                host: host.to_owned(),
                body: Bytes::new(),
            };
            assert_eq!(request.foreign_url("/a?b"), foreign);
        }
    }
}
