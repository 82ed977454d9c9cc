//! CORS headers of the routes for pages of other origins.

use activeconnect_emulator::Emulator;
use axum::Router;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD,
    CONTENT_TYPE, ORIGIN, VARY,
};
use http::{HeaderMap, Method, StatusCode};
use tower_activeconnect::ActiveconnectBuilder;

use crate::support::{builder, serve};

const ALLOWED: &str = "https://www.example.com";
const OTHERS: [&str; 5] = [
    "null",
    "http://www.example.com",
    "https://www.example.com:8443",
    "https://www.example.com.evil.example",
    "https://WWW.example.com",
];
const LOGIN_ROUTES: [(Method, &str); 5] = [
    (Method::GET, "/status"),
    (Method::GET, "/events"),
    (Method::POST, "/login"),
    (Method::POST, "/confirm"),
    (Method::POST, "/logout"),
];

async fn site(configure: impl FnOnce(ActiveconnectBuilder) -> ActiveconnectBuilder) -> String {
    let emulator = Emulator::start().await.unwrap();
    let ac = configure(builder(&emulator)).build().unwrap();
    let url = serve(Router::new().nest("/auth", ac.routes())).await;
    format!("{url}/auth")
}

async fn ask(method: &Method, url: &str, origin: &str) -> (StatusCode, HeaderMap) {
    let request = reqwest::Client::new().request(method.clone(), url);
    let request = request.header(ORIGIN, origin).header("sec-fetch-site", "same-site");
    let response =
        request.header(CONTENT_TYPE, "application/json").body("{}").send().await.unwrap();
    (response.status(), response.headers().clone())
}

async fn preflight(method: &Method, url: &str, origin: &str) -> (StatusCode, HeaderMap) {
    let request = reqwest::Client::new().request(Method::OPTIONS, url);
    let request = request.header(ORIGIN, origin).header("sec-fetch-site", "same-site");
    let request = request.header(ACCESS_CONTROL_REQUEST_METHOD, method.as_str());
    let request = request.header(ACCESS_CONTROL_REQUEST_HEADERS, "content-type");
    let response = request.send().await.unwrap();
    (response.status(), response.headers().clone())
}

fn varies(headers: &HeaderMap, by: &str) -> bool {
    let values = headers.get_all(VARY).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(", ")).any(|name| name.eq_ignore_ascii_case(by))
}

/// T017, T019: exact origins, with credentials.
#[tokio::test]
async fn only_allowed_origins_may_read() {
    let url = site(|builder| builder.allow_origin(ALLOWED)).await;
    for (method, path) in &LOGIN_ROUTES {
        let url = format!("{url}{path}");
        let (status, headers) = ask(method, &url, ALLOWED).await;
        assert_ne!(status, StatusCode::FORBIDDEN, "{path}");
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_ORIGIN], ALLOWED, "{path}");
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_CREDENTIALS], "true", "{path}");
        assert!(varies(&headers, "origin") && varies(&headers, "cookie"), "{path}");
        let (status, headers) = preflight(method, &url, ALLOWED).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_ORIGIN], ALLOWED, "{path}");
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_METHODS], "GET,POST", "{path}");
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_HEADERS], "content-type", "{path}");
        for other in OTHERS {
            let (status, headers) = ask(method, &url, other).await;
            assert_eq!(status, StatusCode::FORBIDDEN, "{path} {other}");
            assert!(!headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN), "{path} {other}");
            assert!(varies(&headers, "origin"), "{path} {other}");
            let (_, headers) = preflight(method, &url, other).await;
            assert!(!headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN), "{path} {other}");
        }
    }
}

/// A proxy calls `verify` with the method of a preflight, and forwards the preflight if the status
/// is 200.
#[tokio::test]
async fn preflights_are_not_cached() {
    let url = site(|builder| builder.allow_origin(ALLOWED)).await;
    let (status, headers) = preflight(&Method::POST, &format!("{url}/verify"), ALLOWED).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert!(!headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));
    assert!(varies(&headers, "cookie"));
}

#[tokio::test]
async fn no_other_origin_may_read_by_default() {
    let url = site(|builder| builder).await;
    for (method, path) in &LOGIN_ROUTES {
        let url = format!("{url}{path}");
        assert_eq!(ask(method, &url, ALLOWED).await.0, StatusCode::FORBIDDEN, "{path}");
        let (status, headers) = preflight(method, &url, ALLOWED).await;
        assert!(!status.is_success(), "{path}");
        assert!(!headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN), "{path}");
    }
}

#[tokio::test]
async fn null_origin_cannot_be_allowed() {
    let emulator = Emulator::start().await.unwrap();
    for origin in ["null", "*", "www.example.com", "https://www.example.com/", "https://*.example"]
    {
        let error = builder(&emulator).allow_origin(origin).build().unwrap_err();
        assert!(error.to_string().contains(origin), "{error}");
    }
}
