//! Invalid input gets a clear response.

use std::time::Duration;

use activeconnect_emulator::Emulator;
use axum::Router;
use axum::routing::get;
use serde_json::{Value, json};
use tower_activeconnect::setup::BuildError;
use tower_activeconnect::{ActiveSession, Activeconnect, MemoryTokenStore};

use crate::support::{Browser, builder, credentials, enroll_users, serve};

async fn site() -> (Emulator, Activeconnect, String) {
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    enroll_users(&emulator, &ac, &["alice"]).await;
    let app = Router::new()
        .route("/", get(|s: ActiveSession| async move { s.user().to_string() }))
        .layer(ac.layer())
        .route("/ungated", get(async |_: ActiveSession| "never"))
        .route("/ungated/perhaps", get(async |_: Option<ActiveSession>| "never"))
        .nest("/auth", ac.routes());
    (emulator, ac, serve(app).await)
}

#[tokio::test]
async fn malformed_login_is_rejected_without_push() {
    let (emulator, _ac, url) = site().await;
    let browser = Browser::new(&url);
    let too_long = "x".repeat(257);
    for name in ["", &too_long, "a\nb", "a\0b"] {
        let json = browser.json("/auth/login", &json!({ "username": name })).await;
        assert_eq!(json.status(), 422, "{name:?}");
        assert_eq!(json.headers()["content-type"], "application/problem+json");
        let problem: Value = json.json().await.unwrap();
        assert!(problem["detail"].as_str().unwrap().starts_with("The user name"), "{problem}");
        let form = browser.form("/auth/login", &[("username", name)]).await;
        assert_eq!(form.status(), 422, "{name:?}");
        assert!(form.text().await.unwrap().contains("The user name"));
    }
    for body in
        ["", "{", "[]", "{\"username\":1}", "{\"username\":\"a\",\"username\":\"b\"}", "nonsense"]
    {
        let request = browser.post("/auth/login").header("content-type", "application/json");
        let response = browser.send(request.body(body)).await;
        assert!(matches!(response.status().as_u16(), 400 | 422), "{body}: {}", response.status());
        assert_eq!(response.headers()["content-type"], "application/problem+json");
    }
    let huge = json!({"username": "alice", "next": "x".repeat(100_000)});
    assert_eq!(browser.json("/auth/login", &huge).await.status(), 413);
    let plain = browser.post("/auth/login").header("content-type", "text/plain").body("alice");
    assert_eq!(browser.send(plain).await.status(), 415);
    assert_eq!(browser.api("/auth/logout").await.status(), 405);
    assert_eq!(emulator.state().calls.authenticate_user, 0);
}

#[tokio::test]
async fn cross_origin_unsafe_methods_are_rejected() {
    let (emulator, _ac, url) = site().await;
    let browser = Browser::new(&url);
    browser.log_in(&emulator, "alice").await;
    for path in ["/auth/login", "/auth/logout"] {
        for (name, value) in [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("origin", "https://evil.example"),
            ("origin", "null"),
        ] {
            let request = browser.post(path).header(name, value).form(&[("username", "alice")]);
            assert_eq!(browser.send(request).await.status(), 403, "{path} {name}: {value}");
        }
    }
    assert_eq!(browser.api("/").await.status(), 200);
    assert_eq!(emulator.state().calls.authenticate_user, 1);
}

#[tokio::test]
async fn unknown_and_ambiguous_cookies_are_ignored() {
    let (emulator, ac, url) = site().await;
    enroll_users(&emulator, &ac, &["bob"]).await;
    let browser = Browser::new(&url);
    browser.log_in(&emulator, "alice").await;
    let own = browser.cookie("__Host-activeconnect").unwrap();
    let of_bob = Browser::new(&url);
    of_bob.log_in(&emulator, "bob").await;
    let other = of_bob.cookie("__Host-activeconnect").unwrap();
    let unknown = "A".repeat(43);
    let http = reqwest::Client::new();
    for cookies in [
        format!("__Host-activeconnect={unknown}"),
        "__Host-activeconnect=nonsense".to_owned(),
        "__Host-activeconnect=".to_owned(),
        format!("__Host-activeconnect={own}; __Host-activeconnect={other}"),
        format!("__Host-activeconnect={other}; __Host-activeconnect={own}"),
    ] {
        let response = http.get(format!("{url}/")).header("cookie", &cookies).send().await.unwrap();
        assert_eq!(response.status(), 401, "{cookies}");
        assert!(response.headers()["www-authenticate"].to_str().unwrap().contains("/auth/login"));
        assert!(!response.headers().contains_key("set-cookie"));
        let status = http.get(format!("{url}/auth/status")).header("cookie", &cookies);
        assert_eq!(status.send().await.unwrap().text().await.unwrap(), r#"{"status":"none"}"#);
    }
    let twice = format!("__Host-activeconnect={own}; a=b; __Host-activeconnect={own}");
    let response = http.get(format!("{url}/")).header("cookie", twice).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(browser.api("/").await.status(), 200);
}

#[tokio::test]
async fn unknown_names_get_the_same_response() {
    let (emulator, _ac, url) = site().await;
    let shape = async |name: &str| {
        let browser = Browser::new(&url);
        let response = browser.json("/auth/login", &json!({ "username": name })).await;
        let mut headers: Vec<String> = response.headers().keys().map(ToString::to_string).collect();
        headers.sort();
        let status = response.status();
        (status, headers, response.text().await.unwrap(), browser.status().await)
    };
    assert_eq!(shape("alice").await, shape("nobody").await);
    // While one attempt is pending, other browsers get the same 429 for both names.
    for name in ["alice", "nobody"] {
        let other = Browser::new(&url);
        let busy = other.json("/auth/login", &json!({ "username": name })).await;
        assert_eq!(busy.status(), 429, "{name}");
        assert!(busy.headers().contains_key("retry-after"));
    }
    assert_eq!(emulator.state().calls.authenticate_user, 1);
}

#[tokio::test]
async fn route_without_layer_explains_the_mistake() {
    let (_emulator, _ac, url) = site().await;
    for path in ["/ungated", "/ungated/perhaps"] {
        let response = Browser::new(&url).api(path).await;
        assert_eq!(response.status(), 500, "{path}");
        assert!(response.text().await.unwrap().contains("no ActiveconnectLayer wraps it"));
    }
}

#[tokio::test]
async fn builder_errors_explain_the_remedy() {
    let emulator = Emulator::start().await.unwrap();
    let builder =
        || Activeconnect::builder(credentials(&emulator)).token_store(MemoryTokenStore::new());
    let s = Duration::from_secs;
    for (built, expected_text) in [
        (Activeconnect::builder(credentials(&emulator)).build(), "token_store"),
        (builder().poll_interval(s(0)).build(), "poll_interval is 0ns; choose 100ms to 3600s"),
        (builder().poll_interval(s(20)).build(), "max_staleness is 15s; choose 24s"),
        (builder().max_staleness(Duration::MAX).build(), "max_staleness"),
        (builder().login_timeout(s(1)).build(), "login_timeout"),
        (builder().session_duration(s(86_400)).build(), "session_duration"),
        (builder().idle_timeout(Duration::from_millis(999)).build(), "idle_timeout"),
        (builder().idle_timeout(s(43_201)).build(), "idle_timeout"),
        (builder().auth_path("auth").build(), "plain path"),
        (builder().auth_path("//evil").build(), "plain path"),
        (builder().auth_path("/auth/").build(), "plain path"),
        (builder().auth_path("/a//b").build(), "plain path"),
        (builder().mount_prefix("/a/../b").build(), "plain path"),
        (builder().login_page("/./login").build(), "plain path"),
        (builder().enrollment_path("/enroll\r\n").build(), "plain path"),
        (builder().allow_origin("www.example").build(), "is no origin"),
        (builder().allow_origin("https://www.example/").build(), "is no origin"),
        (builder().allow_origin("https://www.example:443").build(), "is no origin"),
        (builder().allow_origin("ftp://www.example").build(), "is no origin"),
    ] {
        let error = built.unwrap_err().to_string();
        assert!(error.contains(expected_text), "{error}");
    }
    let builder = builder();
    let outside = std::thread::spawn(move || builder.build().unwrap_err()).join().unwrap();
    assert!(matches!(outside, BuildError::NoRuntime));
}
