//! Scripts that load parts of pages: every denial for their request headers, over sockets.

use std::time::Duration;

use activeconnect_emulator::{Action, Emulator};
use axum::Router;
use axum::http::request::Parts;
use axum::routing::any;
use reqwest::Response;
use serde_json::{Value, json};
use tower_activeconnect::protocol::AuthMethod;
use tower_activeconnect::store::StoreError;
use tower_activeconnect::{Activeconnect, TokenStore, UserId, UserToken};

use crate::support::{Browser, builder, enroll_users, poll_until, serve};

const HTML: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
const PART: &str = "/part?page=2";

struct FailingStore;

impl TokenStore for FailingStore {
    async fn token(&self, _: &UserId) -> Result<Option<UserToken>, StoreError> {
        Err(StoreError::new("the store is broken"))
    }
}

fn app(ac: &Activeconnect) -> Router {
    let stepped_up = Router::new()
        .route("/stepped-up", any(async || "part"))
        .layer(ac.layer().require_methods([AuthMethod::Facial]));
    let gated = Router::new().route("/part", any(async || "part")).layer(ac.layer());
    gated.merge(stepped_up).nest("/auth", ac.routes())
}

fn second_factor(ac: &Activeconnect) -> Activeconnect {
    ac.with_user_resolver(|parts: &Parts| {
        parts.headers.get("x-test-user").map(|user| UserId::from(user.to_str().unwrap()))
    })
}

/// A denied client, its denial, and the page where its user can continue.
struct Denied {
    denial: &'static str,
    status: u16,
    browser: Browser,
    path: &'static str,
    user: Option<&'static str>,
    page: Option<&'static str>,
    /// Whether the page gets a `next` parameter.
    with_next: bool,
}

async fn all_denied(emulator: &Emulator) -> Vec<Denied> {
    let patient = builder(emulator).login_timeout(Duration::from_secs(600));
    let ac = patient.enrollment_path("/enroll").build().unwrap();
    enroll_users(emulator, &ac, &["alice", "bob", "carol"]).await;
    let site = serve(app(&ac)).await;
    let resolved = serve(app(&second_factor(&ac))).await;
    let failing = builder(emulator).token_store(FailingStore).build().unwrap();
    let failing = serve(app(&second_factor(&failing))).await;
    let [pending, suspended, ended, active] = std::array::from_fn(|_| Browser::new(&site));
    let denied = |denial, status, browser, page, with_next| Denied {
        denial,
        status,
        browser,
        path: PART,
        user: None,
        page,
        with_next,
    };
    active.log_in(emulator, "carol").await;
    for (browser, user, action, status) in
        [(&suspended, "alice", Action::WalkAway, 403), (&ended, "bob", Action::Close, 401)]
    {
        let session = browser.log_in(emulator, user).await;
        emulator.act_on_session(&session.session_token, action).unwrap();
        poll_until("denied", async || (browser.api(PART).await.status() == status).then_some(()))
            .await;
    }
    pending.json("/auth/login", &json!({ "username": "nobody" })).await;
    let login = Some("/auth/login");
    vec![
        denied("no-session", 401, Browser::new(&site), login, true),
        denied("ended", 401, ended, login, true),
        denied("pending", 401, pending, Some("/auth/waiting"), true),
        denied("suspended", 403, suspended, Some("/auth/locked"), true),
        Denied {
            path: "/stepped-up?page=2",
            ..denied("step-up", 403, active, Some("/auth/confirm?methods=facial"), true)
        },
        denied("no-identity", 401, Browser::new(&resolved), None, false),
        Denied {
            user: Some("dora"),
            ..denied("no-token", 403, Browser::new(&resolved), Some("/enroll"), false)
        },
        Denied {
            user: Some("dora"),
            ..denied("unavailable", 503, Browser::new(&failing), None, false)
        },
    ]
}

impl Denied {
    async fn send(&self, method: &str, headers: &[(&str, &str)]) -> Response {
        let request = if method == "GET" {
            self.browser.get(self.path)
        } else {
            self.browser.post(self.path).form(&[("a", "b")])
        };
        let mut request = request.header("accept", HTML);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(user) = self.user {
            request = request.header("x-test-user", user);
        }
        self.browser.send(request).await
    }

    /// The page to redirect to, with `next` to return to.
    fn page(&self, next: Option<&str>) -> Option<String> {
        let (page, next) = (self.page?, next.filter(|_| self.with_next));
        let separator = if page.contains('?') { '&' } else { '?' };
        let next = next.map(|next| next.replace('?', "%3F").replace('=', "%3D"));
        Some(next.map_or_else(|| page.to_owned(), |next| format!("{page}{separator}next={next}")))
    }

    async fn assert_problem(&self, response: Response, status: u16, context: &str) {
        assert_eq!(response.status(), status, "{context}");
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{context}");
        assert_eq!(response.headers()["cache-control"], "no-store", "{context}");
        assert!(!response.headers().contains_key("location"), "{context}");
        assert_eq!(status == 401, response.headers().contains_key("www-authenticate"), "{context}");
        let problem: Value = response.json().await.unwrap();
        let reported = (problem["denial"].as_str(), problem["status"].as_u64());
        assert_eq!(reported, (Some(self.denial), Some(status.into())), "{context}");
    }
}

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

/// Without and with fetch metadata.
const FETCHES: [&[(&str, &str)]; 2] =
    [&[], &[("sec-fetch-mode", "cors"), ("sec-fetch-site", "same-origin")]];

#[tokio::test]
async fn htmx_is_redirected_to_login_pages() {
    let emulator = Emulator::start().await.unwrap();
    for denied in all_denied(&emulator).await {
        let site = denied.browser.get("/").build().unwrap().url().to_string();
        let ours = format!("{site}mail?folder=in#top");
        for (method, headers, next) in [
            ("GET", vec![("hx-current-url", ours.as_str())], Some("/mail?folder=in")),
            ("POST", vec![("hx-current-url", ours.as_str())], Some("/mail?folder=in")),
            ("GET", vec![("hx-current-url", "https://evil.example/mail")], None),
            ("GET", vec![], None),
            ("GET", vec![("hx-current-url", &*ours), ("hx-boosted", "true")], Some(denied.path)),
            (
                "POST",
                vec![("hx-current-url", &*ours), ("hx-boosted", "true")],
                Some("/mail?folder=in"),
            ),
            ("GET", vec![("hx-history-restore-request", "true")], Some(denied.path)),
        ] {
            for fetch in FETCHES {
                let headers = [&[("hx-request", "true")], &headers[..], fetch].concat();
                let response = denied.send(method, &headers).await;
                let context = format!("{} {method} {headers:?}", denied.denial);
                let page = denied.page(next);
                assert_eq!(header(&response, "hx-redirect"), page.as_deref(), "{context}");
                let reswap = page.is_none().then_some("none");
                assert_eq!(header(&response, "hx-reswap"), reswap, "{context}");
                denied.assert_problem(response, denied.status, &context).await;
            }
        }
    }
}

#[tokio::test]
async fn inertia_is_redirected_to_login_pages() {
    let emulator = Emulator::start().await.unwrap();
    for denied in all_denied(&emulator).await {
        for (method, next) in [("GET", Some(denied.path)), ("POST", None)] {
            for fetch in FETCHES {
                let inertia = [("x-inertia", "true"), ("x-requested-with", "XMLHttpRequest")];
                let response = denied.send(method, &[&inertia, fetch].concat()).await;
                let context = format!("{} {method} {fetch:?}", denied.denial);
                let page = denied.page(next);
                assert_eq!(header(&response, "x-inertia-location"), page.as_deref(), "{context}");
                let status = if page.is_some() { 409 } else { denied.status };
                denied.assert_problem(response, status, &context).await;
            }
        }
    }
}

#[tokio::test]
async fn other_partial_requests_get_no_redirect() {
    let emulator = Emulator::start().await.unwrap();
    for denied in all_denied(&emulator).await {
        for (name, value) in [
            ("turbo-frame", "messages"),
            ("x-requested-with", "XMLHttpRequest"),
            ("x-requested-with", "xmlhttprequest"),
            ("x-up-version", "3.14.3"),
        ] {
            for (method, fetch) in ["GET", "POST"].into_iter().zip(FETCHES) {
                let response = denied.send(method, &[&[(name, value)], fetch].concat()).await;
                let context = format!("{} {method} {name} {fetch:?}", denied.denial);
                denied.assert_problem(response, denied.status, &context).await;
            }
        }
    }
}
