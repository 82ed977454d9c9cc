//! What strangers may cause: other methods for their logins, a budget of pushes, and a warning to the
//! user's other sessions.

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

use crate::support::{Browser, approve, builder, pass, ringing, until, with_phones};

struct Site {
    emulator: Emulator,
    ac: Activeconnect,
    url: String,
}

impl Site {
    async fn new(configure: impl FnOnce(ActiveconnectBuilder) -> ActiveconnectBuilder) -> Self {
        let emulator = Emulator::start().await.unwrap();
        let ac = configure(builder(&emulator)).build().unwrap();
        with_phones(&emulator, &ac, &["alice", "bob", "carol", "dave", "erin"]).await;
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
        until("logged in", async || (browser.status().await == "active").then_some(())).await;
        session
    }

    /// The application logs this user in.
    async fn log_in_by_application(&self, user: &str) -> (String, SessionReport) {
        let user = user.into();
        let (credential, session) = tokio::join!(self.ac.log_in(&user), approve(&self.emulator));
        (credential.unwrap().expose(), session)
    }

    /// What the bearer of this credential is told.
    async fn told(&self, credential: &str, path: &str) -> Value {
        let request = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = request.request(HttpMethod::GET, format!("{}{path}", self.url));
        let request = request.header(AUTHORIZATION, format!("Bearer {credential}"));
        request.send().await.unwrap().json().await.unwrap()
    }

    /// Until the deadline of a login the phone rings for no stranger.
    async fn next_login_may_begin(&self) {
        pass(Duration::from_secs(60), Duration::from_secs(5)).await;
    }

    fn rings(&self) -> u64 {
        self.emulator.state().calls.authenticate_user
    }
}

/// The next event that is about no start and no end of a session.
async fn next_news(events: &mut Events) -> EventKind {
    loop {
        match events.next().await.unwrap().kind {
            EventKind::Started | EventKind::UnknownBrowser | EventKind::Ended { .. } => {}
            kind => return kind,
        }
    }
}

/// T187: a phone that accepts by itself approves no stranger's login where the face is asked for.
#[tokio::test]
async fn unknown_browsers_are_asked_for_more() {
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
    assert_eq!(ringing(&site.emulator).await.methods, ["facial"], "a program");
}

/// T187: it accepts what asks for no more than that, at once, whoever began it.
#[tokio::test]
async fn phone_that_accepts_by_itself_lets_no_stranger_in() {
    let site = Site::new(|builder| {
        builder
            .methods([AuthMethod::Acceptance])
            .require_methods_of_unknown_browsers([AuthMethod::Facial])
    })
    .await;
    let known = site.browser();
    site.log_in(&known, "alice").await;
    known.form("/auth/logout", &[]).await;
    site.next_login_may_begin().await;
    let accept = || {
        for session in site.emulator.state().sessions {
            if session.status == SessionStatus::Pending && session.methods == ["acceptance"] {
                site.emulator.act_on_session(&session.session_token, Action::Approve).unwrap();
            }
        }
    };
    let stranger = site.browser();
    stranger.json("/auth/login", &json!({ "username": "alice" })).await;
    ringing(&site.emulator).await;
    for _ in 0..12 {
        accept();
        assert_eq!(stranger.status().await, "pending");
        pass(Duration::from_secs(5), Duration::from_secs(5)).await;
    }
    assert_eq!(stranger.status().await, "timeout");
    known.json("/auth/login", &json!({ "username": "alice" })).await;
    until("the user is in", async || {
        accept();
        (known.status().await == "active").then_some(())
    })
    .await;
}

/// T188: when the budget is spent, strangers see what they see otherwise, and ring nobody.
#[tokio::test]
async fn spent_budget_denies_anonymous_push() {
    let site = Site::new(|builder| builder.push_budget(5)).await;
    let mut events = site.ac.events();
    let known = site.browser();
    site.log_in(&known, "alice").await;
    known.form("/auth/logout", &[]).await;
    assert_eq!(site.ac.health().pushes_left, Some(4));
    // Names that nobody has cost the same.
    for name in ["nobody", "nobody2", "nobody3", "nobody4"] {
        let started = site.browser().json("/auth/login", &json!({ "username": name })).await;
        assert_eq!(started.status(), StatusCode::ACCEPTED);
    }
    assert_eq!(next_news(&mut events).await, EventKind::PushBudgetLow);
    until("spent", async || (site.ac.health().pushes_left == Some(0)).then_some(())).await;

    let rings = site.rings();
    for name in ["bob", "nobody5", "carol"] {
        let stranger = site.browser();
        let started = stranger.json("/auth/login", &json!({ "username": name })).await;
        assert_eq!(started.status(), StatusCode::ACCEPTED, "{name}");
        assert_eq!(stranger.status().await, "pending", "{name}");
    }
    let program = json!({ "username": "dave", "bearer": true });
    let program = site.browser().json("/auth/login", &program).await;
    assert_eq!(program.status(), StatusCode::ACCEPTED);
    assert_eq!(next_news(&mut events).await, EventKind::PushBudgetSpent);
    assert_eq!(site.rings(), rings);

    // A browser that is known, and the application, go on.
    site.log_in(&known, "alice").await;
    site.log_in_by_application("bob").await;
    assert_eq!(site.rings(), rings + 2);
    assert_eq!(site.ac.health().pushes_left, Some(0));

    site.ac.reset_push_budget();
    assert_eq!(site.ac.health().pushes_left, Some(5));
    site.log_in(&site.browser(), "erin").await;
}

#[tokio::test]
async fn budget_is_not_for_the_application() {
    let site = Site::new(|builder| builder.push_budget(1)).await;
    for _ in 0..3 {
        site.log_in_by_application("alice").await;
    }
    assert_eq!(site.ac.health().pushes_left, Some(1));
    let nobody = site.ac.log_in(&"nobody".into()).await.unwrap_err();
    assert!(matches!(nobody, LoginError::NotEnrolled));
}

/// T189: the user's other sessions are told, until the user looks or the session is over.
#[tokio::test]
async fn other_sessions_are_warned_of_an_unknown_browser() {
    let site = Site::new(|builder| builder).await;
    let (own, _) = site.log_in_by_application("alice").await;
    let (bobs, _) = site.log_in_by_application("bob").await;
    // A later one that is no stranger's.
    site.log_in_by_application("alice").await;
    site.next_login_may_begin().await;
    assert_eq!(site.told(&own, "/auth/status").await.get("warning"), None);
    let mut events = site.ac.events();
    let stranger = site.browser();
    site.log_in(&stranger, "alice").await;
    assert_eq!(events.next().await.unwrap().kind, EventKind::Started);
    let event = events.next().await.unwrap();
    assert_eq!(event.kind, EventKind::UnknownBrowser);
    assert_eq!((event.user, event.address), (Some("alice".into()), Some([127, 0, 0, 1].into())));
    assert_eq!(site.told(&own, "/auth/status").await["warning"], "unknown-browser");
    for other in [stranger.api("/auth/status").await.json().await.unwrap(), {
        site.told(&bobs, "/auth/status").await
    }] {
        let other: Value = other;
        assert_eq!((&other["status"], other.get("warning")), (&json!("active"), None));
    }

    let listed = site.told(&own, "/auth/sessions").await;
    let sessions = listed["sessions"].as_array().unwrap();
    let of_strangers = sessions.iter().filter(|session| session["unknown_browser"] == true);
    let ids: Vec<_> = of_strangers.map(|session| session["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [event.session.unwrap().to_string()]);
    assert_eq!(site.told(&own, "/auth/status").await.get("warning"), None, "the user has looked");

    // A second one is warned of again, and no more once it is over.
    site.next_login_may_begin().await;
    let second = site.browser();
    site.log_in(&second, "alice").await;
    assert_eq!(site.told(&own, "/auth/status").await["warning"], "unknown-browser");
    // Strangers look at the sessions, too: they hide nothing from the others.
    for browser in [&stranger, &second] {
        assert_eq!(browser.api("/auth/sessions").await.status(), StatusCode::OK);
    }
    assert_eq!(site.told(&own, "/auth/status").await["warning"], "unknown-browser");
    second.form("/auth/logout", &[]).await;
    assert_eq!(site.told(&own, "/auth/status").await.get("warning"), None);
}

/// T189: an answer that no person sees takes no warning away.
#[tokio::test]
async fn warning_stays_until_the_page_is_shown() {
    let site = Site::new(|builder| builder).await;
    let own = site.browser();
    site.log_in(&own, "alice").await;
    // A credential that is never presented ends its session.
    own.page("/").await;
    site.next_login_may_begin().await;
    site.log_in(&site.browser(), "alice").await;
    // The moment of a login is known to some milliseconds.
    pass(Duration::from_secs(1), Duration::from_secs(1)).await;
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
    site.next_login_may_begin().await;
    site.log_in(&site.browser(), "alice").await;
    let page = own.page("/auth/sessions").await.text().await.unwrap();
    assert_eq!(page.matches(WARNING).count(), 1, "{page}");
}
