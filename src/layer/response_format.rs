//! The format in which a client expects a rejection.

#[cfg(feature = "axum")]
use http::header::ACCEPT_LANGUAGE;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, UPGRADE};
use http::uri::{Authority, PathAndQuery};
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use url::Url;

use super::cross_origin::is_own_origin;
use super::header_scan;
use super::original_uri::original_uri;
use super::site_paths::{ForwardedPrefix, SitePaths, forwarded_prefix};
use crate::accept::parse_qvalue;
use crate::engine::{Config, SiteOrigins};

/// The facts of a request that its rejection needs when the request itself is gone.
#[derive(Clone, Debug)]
pub(crate) struct ClientContext {
    pub(crate) format: ResponseFormat,
    /// The response must have no body.
    pub(crate) is_head: bool,
    /// The status that completes the upgrade, if the request asks for one.
    pub(super) upgrade_status: Option<StatusCode>,
    /// The request has more cookies than are read, so that ours name nothing.
    pub(crate) has_unread_cookies: bool,
    /// The prefix that a trusted proxy has stripped from the path.
    forwarded_prefix: Option<Box<ForwardedPrefix>>,
    /// The credentials are ambiguous or not fully read. The login page has to show its form:
    /// otherwise it would redirect back here.
    pub(super) needs_login_form: bool,
    /// The languages of a page load. Boxed, because most clients are programs.
    #[cfg(feature = "axum")]
    pub(super) accept_language: Option<Box<HeaderValue>>,
}

#[derive(Clone, Debug)]
pub(crate) enum ResponseFormat {
    /// gRPC or grpc-web, with the request's content type.
    Grpc(HeaderValue),
    /// A browser loads this page, if it has a path.
    HtmlRedirect(Option<PathAndQuery>),
    /// A browser sends a form.
    HtmlForm,
    /// Set for a request of htmx, which follows `HX-Redirect`. Boxed, because most clients are
    /// others.
    Htmx(Box<HtmxPage>),
    /// The page whose data Inertia requests, if it reads one; Inertia follows `X-Inertia-Location`.
    Inertia(Option<PathAndQuery>),
    /// A script or another program.
    ProblemJson,
}

/// The page that a request of htmx belongs to.
#[derive(Clone, Debug)]
pub(crate) enum HtmxPage {
    /// The requested page: a boosted link, or a page of the history.
    Requested(Option<PathAndQuery>),
    /// The open page, from `HX-Current-URL`, and the requested host.
    Current { url: Option<HeaderValue>, host: Option<HeaderValue> },
}

static SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
static HX_REQUEST: HeaderName = HeaderName::from_static("hx-request");
static TURBO_FRAME: HeaderName = HeaderName::from_static("turbo-frame");
static X_INERTIA: HeaderName = HeaderName::from_static("x-inertia");
static X_REQUESTED_WITH: HeaderName = HeaderName::from_static("x-requested-with");
static X_UP_VERSION: HeaderName = HeaderName::from_static("x-up-version");

impl ClientContext {
    /// A program as a client, whatever its headers say.
    #[cfg(feature = "axum")]
    pub(crate) fn for_program(method: &Method) -> Self {
        Self {
            format: ResponseFormat::ProblemJson,
            is_head: method == Method::HEAD,
            upgrade_status: None,
            has_unread_cookies: false,
            forwarded_prefix: None,
            needs_login_form: false,
            accept_language: None,
        }
    }

    pub(crate) fn from_request(
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        extensions: &Extensions,
        settings: &Config,
    ) -> Self {
        let is_head = method == Method::HEAD;
        let is_safe_read = is_head || method == Method::GET;
        let names = [
            &CONTENT_TYPE,
            &SEC_FETCH_MODE,
            &ACCEPT,
            &UPGRADE,
            &HX_REQUEST,
            &X_INERTIA,
            &TURBO_FRAME,
            &X_UP_VERSION,
            &X_REQUESTED_WITH,
        ];
        let [content_type, mode, accept, upgrade, htmx, inertia, turbo, unpoly, requested_with] =
            header_scan::first_values(headers, names);
        let page = || original_uri(uri, extensions).path_and_query().cloned();
        let grpc = content_type.filter(|value| is_grpc(method, value));
        let navigates = || {
            mode.is_none()
                && accept.is_some()
                && prefers_html(headers)
                && lacks_fetch_metadata(headers)
        };
        let format = if let Some(content_type) = grpc {
            ResponseFormat::Grpc(content_type.clone())
        } else if mode.is_some_and(|mode| mode == "navigate") {
            if is_safe_read {
                ResponseFormat::HtmlRedirect(page())
            } else {
                ResponseFormat::HtmlForm
            }
        } else if inertia.is_some() {
            ResponseFormat::Inertia(page().filter(|_| is_safe_read))
        } else if htmx.is_some() {
            ResponseFormat::Htmx(Box::new(HtmxPage::from_request(method, uri, headers, page)))
        } else if turbo.is_some() || unpoly.is_some() || requested_with.is_some_and(is_ajax) {
            // A browser follows a redirect without notice to the script, which would put the login
            // page into the open page.
            ResponseFormat::ProblemJson
        } else if is_safe_read && navigates() {
            ResponseFormat::HtmlRedirect(page())
        } else if method == Method::POST && content_type.is_some_and(is_form) && navigates() {
            ResponseFormat::HtmlForm
        } else {
            ResponseFormat::ProblemJson
        };
        // On HTTP/2 a WebSocket starts with CONNECT and 200 (RFC 8441).
        let upgrade_status = if method == Method::CONNECT {
            Some(StatusCode::OK)
        } else {
            upgrade.map(|_| StatusCode::SWITCHING_PROTOCOLS)
        };
        // Set by the code that reads the credentials.
        let (has_unread_cookies, needs_login_form) = (false, false);
        let forwarded_prefix = forwarded_prefix(headers, extensions, settings);
        #[cfg(feature = "axum")]
        let accept_language = match &format {
            ResponseFormat::HtmlRedirect(_) | ResponseFormat::HtmlForm => {
                headers.get(ACCEPT_LANGUAGE).cloned().map(Box::new)
            }
            _ => None,
        };
        Self {
            format,
            is_head,
            upgrade_status,
            has_unread_cookies,
            forwarded_prefix,
            needs_login_form,
            #[cfg(feature = "axum")]
            accept_language,
        }
    }

    /// The paths of this site as this client sees them.
    pub(crate) fn paths(&self, settings: &Config) -> SitePaths {
        SitePaths::new(self.forwarded_prefix.as_deref(), settings)
    }

    pub(super) fn is_grpc(&self) -> bool {
        matches!(self.format, ResponseFormat::Grpc(_))
    }
}

/// Whether this is a gRPC call: a POST (PROTOCOL-HTTP2 of gRPC) with one of its content types. A
/// denied call is HTTP 200, so nothing else may count as one: a proxy that asks by GET whether to
/// let a request through passes the client's headers on, and takes 200 for yes.
fn is_grpc(method: &Method, content_type: &HeaderValue) -> bool {
    let Some(rest) = content_type.as_bytes().strip_prefix(b"application/grpc") else {
        return false;
    };
    let web = rest.strip_prefix(b"-web-text").or_else(|| rest.strip_prefix(b"-web"));
    let rest = web.unwrap_or(rest);
    matches!(rest.first(), None | Some(b'+' | b';' | b' ')) && method == Method::POST
}

impl HtmxPage {
    fn from_request(
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        requested: impl Fn() -> Option<PathAndQuery>,
    ) -> Self {
        let is_page = headers.contains_key("hx-boosted")
            || headers.contains_key("hx-history-restore-request");
        if method == Method::GET && is_page {
            return Self::Requested(requested());
        }
        // On HTTP/2 the host is in the URI.
        let authority = uri.authority().map(Authority::as_str);
        let authority = authority.and_then(|authority| HeaderValue::from_str(authority).ok());
        Self::Current {
            url: headers.get("hx-current-url").cloned(),
            host: authority.or_else(|| headers.get(HOST).cloned()),
        }
    }

    /// Path and query of the page as browsers see them, if they are known and of this site.
    pub(super) fn path_and_query(
        &self,
        origins: &SiteOrigins,
        paths: &SitePaths,
    ) -> Option<String> {
        match self {
            Self::Requested(page) => page.as_ref().map(|page| paths.requested(page.as_str())),
            Self::Current { url, host } => {
                let url = Url::parse(url.as_ref()?.to_str().ok()?).ok()?;
                if !matches!(url.scheme(), "http" | "https") {
                    return None;
                }
                let origin = url.origin().ascii_serialization();
                let host = host.as_ref().map(HeaderValue::as_bytes);
                is_own_origin(&origin, host, origins)
                    .then(|| url[url::Position::BeforePath..url::Position::AfterQuery].to_owned())
            }
        }
    }
}

/// `XMLHttpRequest`, as jQuery and others write it. Browsers inside Android applications write the
/// application's name there, in page loads too.
fn is_ajax(requested_with: &HeaderValue) -> bool {
    requested_with.as_bytes().eq_ignore_ascii_case(b"xmlhttprequest")
}

/// Whether this is one of the three types in which browsers send a form (HTML, "enctype").
fn is_form(content_type: &HeaderValue) -> bool {
    let essence = content_type.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    let forms: [&[u8]; 3] =
        [b"application/x-www-form-urlencoded", b"multipart/form-data", b"text/plain"];
    forms.iter().any(|form| essence.trim_ascii().eq_ignore_ascii_case(form))
}

/// Browsers omit `Sec-Fetch-*` on plain http, except on the loopback.
fn lacks_fetch_metadata(headers: &HeaderMap) -> bool {
    let names = ["sec-fetch-mode", "sec-fetch-site", "sec-fetch-dest", "sec-fetch-user"];
    !names.iter().any(|name| headers.contains_key(*name))
}

fn prefers_html(headers: &HeaderMap) -> bool {
    let (mut html, mut json) = (0, 0);
    for value in header_scan::values(headers, &ACCEPT) {
        for range in value.to_str().unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media_type = parts.next().unwrap_or_default();
            let is =
                |names: [&str; 2]| names.iter().any(|name| media_type.eq_ignore_ascii_case(name));
            if is(["text/html", "application/xhtml+xml"]) {
                html = html.max(parse_qvalue(parts));
            } else if is(["application/json", "application/problem+json"]) {
                json = json.max(parse_qvalue(parts));
            }
        }
    }
    html > 0 && html >= json
}

#[cfg(test)]
mod tests {
    use super::*;

    const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

    fn format(method: &Method, headers: &[(&'static str, &'static str)]) -> ResponseFormat {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        let uri = Uri::from_static("/page?a=b");
        ClientContext::from_request(method, &uri, &map, &Extensions::new(), &Config::default())
            .format
    }

    fn name(format: &ResponseFormat) -> &'static str {
        match format {
            ResponseFormat::Grpc(_) => "grpc",
            ResponseFormat::HtmlRedirect(_) => "page",
            ResponseFormat::HtmlForm => "form",
            ResponseFormat::Htmx(_) => "htmx",
            ResponseFormat::Inertia(_) => "inertia",
            ResponseFormat::ProblemJson => "api",
        }
    }

    #[test]
    fn format_follows_headers() {
        let form = ("content-type", "application/x-www-form-urlencoded");
        for (method, headers, expected) in [
            (Method::GET, vec![("accept", BROWSER)], "page"),
            (Method::HEAD, vec![("accept", BROWSER)], "page"),
            (Method::POST, vec![("accept", BROWSER)], "api"),
            (Method::POST, vec![("sec-fetch-mode", "navigate")], "form"),
            (Method::GET, vec![("sec-fetch-mode", "navigate")], "page"),
            (Method::GET, vec![("accept", BROWSER), ("sec-fetch-mode", "cors")], "api"),
            (Method::GET, vec![("accept", BROWSER), ("sec-fetch-site", "same-origin")], "api"),
            (Method::GET, vec![("accept", "*/*")], "api"),
            (Method::GET, vec![], "api"),
            (Method::GET, vec![("accept", "application/json, text/html;q=0.9")], "api"),
            (Method::GET, vec![("accept", "application/json;q=0.5, text/html;q=0.9")], "page"),
            (Method::GET, vec![("accept", "text/html;q=0")], "api"),
            (Method::GET, vec![("accept", "text/html;q=x")], "api"),
            (Method::GET, vec![("accept", "text/html;q=0.001")], "page"),
            (Method::GET, vec![("accept", "TEXT/HTML;Q=1.000,application/json")], "page"),
            (Method::GET, vec![("accept", "text/html;q=0.75,application/json;q=0.8")], "api"),
            (Method::POST, vec![("content-type", "application/grpc")], "grpc"),
            (Method::POST, vec![("content-type", "application/grpc-web+proto")], "grpc"),
            (Method::POST, vec![("content-type", "application/grpc-web-text")], "grpc"),
            (Method::POST, vec![("content-type", "application/grpc; charset=utf-8")], "grpc"),
            (Method::POST, vec![("content-type", "application/grpcx")], "api"),
            (Method::POST, vec![("content-type", "application/grpc-text")], "api"),
            (Method::POST, vec![("content-type", "application/grpc-webx")], "api"),
            (Method::GET, vec![("accept", BROWSER), ("content-type", "application/grpc")], "page"),
            (Method::GET, vec![("content-type", "application/grpc")], "api"),
            (Method::HEAD, vec![("content-type", "application/grpc-web")], "api"),
            (Method::PUT, vec![("content-type", "application/grpc")], "api"),
            (Method::CONNECT, vec![("content-type", "application/grpc")], "api"),
            // A form from a page on plain http.
            (Method::POST, vec![("accept", BROWSER), form], "form"),
            (
                Method::POST,
                vec![("accept", BROWSER), ("content-type", "Multipart/Form-Data; boundary=x")],
                "form",
            ),
            (
                Method::POST,
                vec![("accept", BROWSER), ("content-type", "text/plain ;charset=utf-8")],
                "form",
            ),
            (Method::POST, vec![("accept", "*/*"), form], "api"),
            (Method::POST, vec![form], "api"),
            (Method::POST, vec![("accept", "application/json, text/html;q=0.9"), form], "api"),
            (Method::POST, vec![("accept", BROWSER), ("content-type", "application/json")], "api"),
            (Method::POST, vec![("accept", BROWSER), form, ("sec-fetch-mode", "cors")], "api"),
            (
                Method::POST,
                vec![("accept", BROWSER), form, ("sec-fetch-site", "same-origin")],
                "api",
            ),
            (Method::PUT, vec![("accept", BROWSER), form], "api"),
            // Scripts that identify themselves.
            (Method::GET, vec![("accept", BROWSER), ("turbo-frame", "messages")], "api"),
            (Method::POST, vec![("accept", BROWSER), form, ("turbo-frame", "messages")], "api"),
            (Method::GET, vec![("accept", BROWSER), ("x-up-version", "3.14.3")], "api"),
            (Method::GET, vec![("accept", BROWSER), ("x-requested-with", "XMLHttpRequest")], "api"),
            (
                Method::GET,
                vec![("accept", BROWSER), ("x-requested-with", "com.example.app")],
                "page",
            ),
            (Method::GET, vec![("accept", "*/*"), ("hx-request", "true")], "htmx"),
            (Method::GET, vec![("accept", "text/html"), ("hx-request", "true")], "htmx"),
            (Method::POST, vec![form, ("hx-request", "true")], "htmx"),
            (Method::GET, vec![("hx-request", "true"), ("sec-fetch-mode", "cors")], "htmx"),
            (Method::GET, vec![("hx-request", "true"), ("sec-fetch-mode", "navigate")], "page"),
            (
                Method::GET,
                vec![("x-inertia", "true"), ("x-requested-with", "XMLHttpRequest")],
                "inertia",
            ),
            (Method::PUT, vec![("x-inertia", "true"), ("sec-fetch-mode", "cors")], "inertia"),
        ] {
            assert_eq!(name(&format(&method, &headers)), expected, "{method} {headers:?}");
        }
    }

    fn paths() -> SitePaths {
        SitePaths::new(None, &Config::default())
    }

    #[test]
    fn htmx_page_is_of_this_site() {
        let page = |method: &Method, headers: &[_]| match format(method, headers) {
            ResponseFormat::Htmx(page) => page.path_and_query(&SiteOrigins::default(), &paths()),
            other => panic!("{other:?}"),
        };
        let (htmx, host) = (("hx-request", "true"), ("host", "app.example:8080"));
        let mail = Some("/mail?folder=in");
        for (host, url, expected) in [
            (host, "http://app.example:8080/mail?folder=in#top", mail),
            (host, "http://APP.example:8080/mail?folder=in", mail),
            (host, "http://app.example:8080", Some("/")),
            (("host", "app.example"), "https://app.example/mail?folder=in", mail),
            (("host", "app.example:443"), "https://app.example/mail?folder=in", mail),
            (("host", "app.example"), "http://app.example:80/mail?folder=in", mail),
            (("host", "[::1]:80"), "http://[::1]/mail?folder=in", mail),
            (host, "http://app.example/mail", None),
            (host, "http://app.example:8081/mail", None),
            (host, "https://evil.example/mail", None),
            (host, "http://app.example:8080@evil.example/mail", None),
            (host, "//app.example:8080/mail", None),
            (host, "/mail", None),
            (host, "javascript:alert(1)", None),
            (host, "file:///mail", None),
            (host, "blob:http://app.example:8080/mail", None),
            (host, "", None),
            (("host", ""), "http://app.example/mail", None),
            (("host", "a/b"), "http://a/mail", None),
        ] {
            let found = page(&Method::GET, &[htmx, host, ("hx-current-url", url)]);
            assert_eq!(found.as_deref(), expected, "{host:?} {url:?}");
        }
        let mut proxied = SiteOrigins::default();
        proxied.public.push("https://public.example".to_owned());
        for (url, expected) in [
            ("https://public.example/mail?folder=in", mail),
            ("http://app.example:8080/mail", None),
        ] {
            let ResponseFormat::Htmx(page) =
                format(&Method::GET, &[htmx, host, ("hx-current-url", url)])
            else {
                panic!()
            };
            assert_eq!(page.path_and_query(&proxied, &paths()).as_deref(), expected, "{url}");
        }
        let current = ("hx-current-url", "http://app.example:8080/mail?folder=in");
        for header in [("hx-boosted", "true"), ("hx-history-restore-request", "true")] {
            let found = page(&Method::GET, &[htmx, host, current, header]);
            assert_eq!(found.as_deref(), Some("/page?a=b"), "{header:?}");
            let found = page(&Method::POST, &[htmx, host, current, header]);
            assert_eq!(found.as_deref(), mail, "{header:?}");
        }
    }
}
