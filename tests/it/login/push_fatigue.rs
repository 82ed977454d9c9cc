//! Defenses against push fatigue: other methods for unknown browsers, a push budget, and a warning
//! to the user's other sessions.

use std::net::SocketAddr;
use std::time::Duration;

use activeconnect_emulator::{Action, Emulator, SessionReport};
use axum::Router;
use axum::routing::get;
use http::header::AUTHORIZATION;
use http::{Method as HttpMethod, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower_activeconnect::events::{EventKind, Events};
use tower_activeconnect::login::LoginError;
use tower_activeconnect::protocol::{AuthMethod, SessionStatus};
use tower_activeconnect::{ActiveSession, Activeconnect, ActiveconnectBuilder};

use crate::support::{
    Browser, advance, approve, builder, enroll_users, pending_session, poll_until,
};

struct Site {
    emulator: Emulator,
    ac: Activeconnect,
    url: String,
}

impl Site {
    async fn new(configure: impl FnOnce(ActiveconnectBuilder) -> ActiveconnectBuilder) -> Self {
        let emulator = Emulator::start().await.unwrap();
        let ac = configure(builder(&emulator)).build().unwrap();
        enroll_users(&emulator, &ac, &["alice", "bob", "carol", "dave", "erin"]).await;
        let app = Router::new()
            .route("/", get(async |session: ActiveSession| session.user().to_string()))
            .layer(ac.layer())
            .nest("/auth", ac.routes());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = app.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async { axum::serve(listener, app).await });
        Self { emulator, ac, url }
    }

    fn browser(&self) -> Browser {
        Browser::new(&self.url)
    }

    async fn log_in(&self, browser: &Browser, name: &str) -> SessionReport {
        browser.json("/auth/login", &json!({ "username": name })).await;
        let session = approve(&self.emulator).await;
        poll_until("logged in", async || (browser.status().await == "active").then_some(())).await;
        session
    }

    /// Logs this user in through the application.
    async fn log_in_by_application(&self, user: &str) -> (String, SessionReport) {
        let user = user.into();
        let (credential, session) = tokio::join!(self.ac.log_in(&user), approve(&self.emulator));
        (credential.unwrap().expose(), session)
    }

    /// The status of this credential's session.
    async fn get_json(&self, credential: &str, path: &str) -> Value {
        let request = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = request.request(HttpMethod::GET, format!("{}{path}", self.url));
        let request = request.header(AUTHORIZATION, format!("Bearer {credential}"));
        request.send().await.unwrap().json().await.unwrap()
    }

    /// Until the deadline of a login anonymous clients cannot send a push.
    async fn wait_for_next_login(&self) {
        advance(Duration::from_secs(60), Duration::from_secs(5)).await;
    }

    fn push_count(&self) -> u64 {
        self.emulator.state().calls.authenticate_user
    }
}

/// The next event other than the start or end of a session.
async fn next_event(events: &mut Events) -> EventKind {
    loop {
        match events.next().await.unwrap().kind {
            EventKind::Started | EventKind::UnknownBrowser | EventKind::Ended { .. } => {}
            kind => return kind,
        }
    }
}

/// T187: a phone that approves automatically cannot approve an unknown browser's login that
/// requires the face.
#[tokio::test]
async fn unknown_browsers_need_more_methods() {
    let site = Site::new(|builder| {
        builder
            .methods([AuthMethod::Acceptance])
            .require_methods_of_unknown_browsers([AuthMethod::Facial])
    })
    .await;
    let browser = site.browser();
    let first = site.log_in(&browser, "alice").await;
    assert_eq!(first.methods, ["facial"]);
    let sessions = site.ac.sessions(&"alice".into()).await.unwrap();
    assert_eq!(sessions[0].methods(), [AuthMethod::Facial].into_iter().collect());

    browser.form("/auth/logout", &[]).await;
    let known = site.log_in(&browser, "alice").await;
    assert_eq!(known.methods, ["acceptance"], "the user has logged in here before");
    let (_, application) = site.log_in_by_application("bob").await;
    assert_eq!(application.methods, ["acceptance"]);

    let start = json!({ "username": "carol", "bearer": true });
    site.browser().json("/auth/login", &start).await;
    assert_eq!(pending_session(&site.emulator).await.methods, ["facial"], "a program");
}

/// T187: the phone approves requests without more methods at once, from any browser.
#[tokio::test]
async fn auto_approving_phone_rejects_unknown_browser() {
    let site = Site::new(|builder| {
        builder
            .methods([AuthMethod::Acceptance])
            .require_methods_of_unknown_browsers([AuthMethod::Facial])
    })
    .await;
    let known = site.browser();
    site.log_in(&known, "alice").await;
    known.form("/auth/logout", &[]).await;
    site.wait_for_next_login().await;
    let accept = || {
        for session in site.emulator.state().sessions {
            if session.status == SessionStatus::Pending && session.methods == ["acceptance"] {
                site.emulator.act_on_session(&session.session_token, Action::Approve).unwrap();
            }
        }
    };
    let anonymous = site.browser();
    anonymous.json("/auth/login", &json!({ "username": "alice" })).await;
    pending_session(&site.emulator).await;
    for _ in 0..12 {
        accept();
        assert_eq!(anonymous.status().await, "pending");
        advance(Duration::from_secs(5), Duration::from_secs(5)).await;
    }
    assert_eq!(anonymous.status().await, "timeout");
    known.json("/auth/login", &json!({ "username": "alice" })).await;
    poll_until("the user is in", async || {
        accept();
        (known.status().await == "active").then_some(())
    })
    .await;
}

/// T188: when the budget is spent, anonymous clients get the same responses, but send no push.
#[tokio::test]
async fn spent_budget_denies_anonymous_push() {
    let site = Site::new(|builder| builder.push_budget(5)).await;
    let mut events = site.ac.events();
    let known = site.browser();
    site.log_in(&known, "alice").await;
    known.form("/auth/logout", &[]).await;
    assert_eq!(site.ac.health().pushes_left, Some(4));
    // Unknown usernames cost the same.
    for name in ["nobody", "nobody2", "nobody3", "nobody4"] {
        let started = site.browser().json("/auth/login", &json!({ "username": name })).await;
        assert_eq!(started.status(), StatusCode::ACCEPTED);
    }
    assert_eq!(next_event(&mut events).await, EventKind::PushBudgetLow);
    poll_until("spent", async || (site.ac.health().pushes_left == Some(0)).then_some(())).await;

    let push_count = site.push_count();
    for name in ["bob", "nobody5", "carol"] {
        let anonymous = site.browser();
        let started = anonymous.json("/auth/login", &json!({ "username": name })).await;
        assert_eq!(started.status(), StatusCode::ACCEPTED, "{name}");
        assert_eq!(anonymous.status().await, "pending", "{name}");
    }
    let program = json!({ "username": "dave", "bearer": true });
    let program = site.browser().json("/auth/login", &program).await;
    assert_eq!(program.status(), StatusCode::ACCEPTED);
    assert_eq!(next_event(&mut events).await, EventKind::PushBudgetSpent);
    assert_eq!(site.push_count(), push_count);

    // Known browsers and the application can still log in.
    site.log_in(&known, "alice").await;
    site.log_in_by_application("bob").await;
    assert_eq!(site.push_count(), push_count + 2);
    assert_eq!(site.ac.health().pushes_left, Some(0));

    site.ac.reset_push_budget();
    assert_eq!(site.ac.health().pushes_left, Some(5));
    site.log_in(&site.browser(), "erin").await;
}

#[tokio::test]
async fn push_budget_excludes_application_logins() {
    let site = Site::new(|builder| builder.push_budget(1)).await;
    for _ in 0..3 {
        site.log_in_by_application("alice").await;
    }
    assert_eq!(site.ac.health().pushes_left, Some(1));
    let result = site.ac.log_in(&"nobody".into()).await.unwrap_err();
    assert!(matches!(result, LoginError::NotEnrolled));
}

/// T189: the user's other sessions get a warning until the user sees the page or the session ends.
#[tokio::test]
async fn other_sessions_get_unknown_browser_warning() {
    let site = Site::new(|builder| builder).await;
    let (own, _) = site.log_in_by_application("alice").await;
    let (bobs, _) = site.log_in_by_application("bob").await;
    // A later login from a known browser.
    site.log_in_by_application("alice").await;
    site.wait_for_next_login().await;
    assert_eq!(site.get_json(&own, "/auth/status").await.get("warning"), None);
    let mut events = site.ac.events();
    let anonymous = site.browser();
    site.log_in(&anonymous, "alice").await;
    assert_eq!(events.next().await.unwrap().kind, EventKind::Started);
    let event = events.next().await.unwrap();
    assert_eq!(event.kind, EventKind::UnknownBrowser);
    assert_eq!((event.user, event.address), (Some("alice".into()), Some([127, 0, 0, 1].into())));
    assert_eq!(site.get_json(&own, "/auth/status").await["warning"], "unknown-browser");
    for other in [anonymous.api("/auth/status").await.json().await.unwrap(), {
        site.get_json(&bobs, "/auth/status").await
    }] {
        let other: Value = other;
        assert_eq!((&other["status"], other.get("warning")), (&json!("active"), None));
    }

    let listed = site.get_json(&own, "/auth/sessions").await;
    let sessions = listed["sessions"].as_array().unwrap();
    let of_strangers = sessions.iter().filter(|session| session["unknown_browser"] == true);
    let ids: Vec<_> = of_strangers.map(|session| session["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [event.session.unwrap().to_string()]);
    assert_eq!(
        site.get_json(&own, "/auth/status").await.get("warning"),
        None,
        "the user has looked"
    );

    // A second unknown browser causes a warning again, until its session ends.
    site.wait_for_next_login().await;
    let second = site.browser();
    site.log_in(&second, "alice").await;
    assert_eq!(site.get_json(&own, "/auth/status").await["warning"], "unknown-browser");
    // An unknown browser that opens the sessions page does not clear the warning of others.
    for browser in [&anonymous, &second] {
        assert_eq!(browser.api("/auth/sessions").await.status(), StatusCode::OK);
    }
    assert_eq!(site.get_json(&own, "/auth/status").await["warning"], "unknown-browser");
    second.form("/auth/logout", &[]).await;
    assert_eq!(site.get_json(&own, "/auth/status").await.get("warning"), None);
}

/// T189: a response that is not shown does not clear the warning.
#[tokio::test]
async fn warning_stays_until_the_page_is_shown() {
    let site = Site::new(|builder| builder).await;
    let own = site.browser();
    site.log_in(&own, "alice").await;
    // A credential that is never presented ends its session.
    own.page("/").await;
    site.wait_for_next_login().await;
    site.log_in(&site.browser(), "alice").await;
    // The login time has a resolution of some milliseconds.
    advance(Duration::from_secs(1), Duration::from_secs(1)).await;
    own.send(own.head("/auth/sessions")).await;
    let prefetch = own.get("/auth/sessions");
    own.send(prefetch.header("sec-purpose", "prefetch;prerender")).await;
    let status: Value = own.api("/auth/status").await.json().await.unwrap();
    assert_eq!(status["warning"], "unknown-browser");
    own.page("/auth/sessions").await;
    let status: Value = own.api("/auth/status").await.json().await.unwrap();
    assert_eq!(status.get("warning"), None);
}

#[tokio::test]
async fn sessions_page_names_new_browsers() {
    let site = Site::new(|builder| builder).await;
    let own = site.browser();
    site.log_in(&own, "alice").await;
    const WARNING: &str = "New browser. If that was not you, end this session.";
    let page = own.page("/auth/sessions").await.text().await.unwrap();
    assert!(!page.contains(WARNING), "of the user's own no more is said: {page}");
    site.wait_for_next_login().await;
    site.log_in(&site.browser(), "alice").await;
    let page = own.page("/auth/sessions").await.text().await.unwrap();
    assert_eq!(page.matches(WARNING).count(), 1, "{page}");
}
