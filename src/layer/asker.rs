//! In which tongue a client wants to be turned away.

use http::header::{ACCEPT, CONTENT_TYPE, UPGRADE};
use http::uri::PathAndQuery;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};

use super::original_uri::original_uri;

use super::lookup;

/// Who asks: what is needed to answer when the request itself is gone.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    pub(crate) tongue: Tongue,
    /// The answer must have no body.
    pub(crate) is_head: bool,
    /// The request asks to become something else than a request; this status grants it.
    pub(super) granted_by: Option<StatusCode>,
}

#[derive(Clone, Debug)]
pub(crate) enum Tongue {
    /// gRPC or grpc-web, with the request's content type.
    Grpc(HeaderValue),
    /// A browser loads this page, if it has a path.
    Page(Option<PathAndQuery>),
    /// A browser sends a form.
    Form,
    /// A script or another program.
    Api,
}

impl Asker {
    pub(crate) fn of(
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Self {
        let is_head = method == Method::HEAD;
        let reads = is_head || method == Method::GET;
        static MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
        let names = [&CONTENT_TYPE, &MODE, &ACCEPT, &UPGRADE];
        let [content_type, mode, accept, upgrade] = lookup::first(headers, names);
        let grpc = content_type.filter(|value| value.as_bytes().starts_with(b"application/grpc"));
        let tongue = if let Some(content_type) = grpc {
            Tongue::Grpc(content_type.clone())
        } else if !is_navigation(reads, mode, accept, headers) {
            Tongue::Api
        } else if reads {
            Tongue::Page(original_uri(uri, extensions).path_and_query().cloned())
        } else {
            Tongue::Form
        };
        // On HTTP/2 a WebSocket begins with CONNECT and 200 (RFC 8441).
        let granted_by = if method == Method::CONNECT {
            Some(StatusCode::OK)
        } else {
            upgrade.map(|_| StatusCode::SWITCHING_PROTOCOLS)
        };
        Self { tongue, is_head, granted_by }
    }
}

/// `Sec-Fetch-Mode: navigate`; from clients without `Sec-Fetch-*`, a GET or HEAD that prefers
/// HTML.
fn is_navigation(
    reads: bool,
    mode: Option<&HeaderValue>,
    accept: Option<&HeaderValue>,
    headers: &HeaderMap,
) -> bool {
    if let Some(mode) = mode {
        return mode == "navigate";
    }
    let has_fetch_metadata = || {
        let others = ["sec-fetch-site", "sec-fetch-dest", "sec-fetch-user"];
        others.iter().any(|name| headers.contains_key(*name))
    };
    // What most programs fail is asked first.
    reads && accept.is_some() && prefers_html(headers) && !has_fetch_metadata()
}

fn prefers_html(headers: &HeaderMap) -> bool {
    let (mut html, mut json) = (0, 0);
    for value in lookup::all(headers, &ACCEPT) {
        for range in value.to_str().unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media_type = parts.next().unwrap_or_default();
            let is =
                |names: [&str; 2]| names.iter().any(|name| media_type.eq_ignore_ascii_case(name));
            if is(["text/html", "application/xhtml+xml"]) {
                html = html.max(quality(parts));
            } else if is(["application/json", "application/problem+json"]) {
                json = json.max(quality(parts));
            }
        }
    }
    html > 0 && html >= json
}

/// The `q` of a media range in thousandths (RFC 9110, 12.4.2).
fn quality<'a>(mut parameters: impl Iterator<Item = &'a str>) -> u16 {
    let weight = parameters.find_map(|parameter| {
        parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q="))
    });
    let Some(weight) = weight else { return 1000 };
    let (whole, fraction) = weight.split_once('.').unwrap_or((weight, ""));
    let digits = whole.bytes().chain(fraction.bytes().chain(std::iter::repeat(b'0')).take(3));
    let thousandths = digits.map(|digit| match digit {
        b'0'..=b'9' => Some(u16::from(digit - b'0')),
        _ => None,
    });
    // What is no number is no preference.
    let value = thousandths
        .take(5)
        .try_fold(0_u16, |sum, digit| sum.checked_mul(10)?.checked_add(digit?))
        .unwrap_or(0);
    value.min(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tongue(method: &Method, headers: &[(&'static str, &'static str)]) -> &'static str {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        match Asker::of(method, &Uri::from_static("/page"), &map, &Extensions::new()).tongue {
            Tongue::Grpc(_) => "grpc",
            Tongue::Page(_) => "page",
            Tongue::Form => "form",
            Tongue::Api => "api",
        }
    }

    #[test]
    fn each_is_answered_in_its_tongue() {
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        for (method, headers, expected) in [
            (Method::GET, vec![("accept", browser)], "page"),
            (Method::HEAD, vec![("accept", browser)], "page"),
            (Method::POST, vec![("accept", browser)], "api"),
            (Method::POST, vec![("sec-fetch-mode", "navigate")], "form"),
            (Method::GET, vec![("sec-fetch-mode", "navigate")], "page"),
            (Method::GET, vec![("accept", browser), ("sec-fetch-mode", "cors")], "api"),
            (Method::GET, vec![("accept", browser), ("sec-fetch-site", "same-origin")], "api"),
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
            (Method::GET, vec![("accept", browser), ("content-type", "application/grpc")], "grpc"),
        ] {
            assert_eq!(tongue(&method, &headers), expected, "{headers:?}");
        }
    }
}
